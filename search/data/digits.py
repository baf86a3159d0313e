"""`digits`: the embedded task, real handwriting in clutter, at any resolution and as many images as asked.

Each image shows one whole digit of scikit-learn's `load_digits` (1,797 digits of 8 x 8 pixels by 13 writers, UCI
optdigits) at a random place, scale, rotation, slant and colour, among fragments of other digits, on a textured
canvas. The label is the whole digit. Train, validation and test draw on digits of their own. Everything about image i
is a function of (seed, split, i, resolution), so the first images do not depend on how many there are.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.data.source import PARTS, Part
from searchspace.errors import InvalidArgument

Floats = NDArray[np.float32]

CLASSES = tuple("0123456789")
DEFAULT_COUNTS: dict[Part, int] = {"train": 5000, "validation": 6000, "test": 3000}
DEFAULT_PROXY_RESOLUTION = 48

# How hard the task is. Lengths are fractions of the canvas, angles radians, colours 0 to 1.
SIZE = (0.77, 0.95)  # side of the digit's box
ROTATION = 0.15
SLANT = 0.15
FRAGMENTS = 2
FRAGMENT_CELLS = 4  # a fragment is this many of the 8 x 8 cells wide and high
FRAGMENT_SIZE = (0.3, 0.5)  # side of the box that the fragment's whole digit would fill
CANVAS = (0.05, 0.35)  # each channel of the canvas; ink is always brighter
INK = (0.55, 1.0)
TEXTURE = 0.05  # strength of the canvas's two textures
NOISE = 0.08  # half range of a pixel's noise

_CELLS = 8
_SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}  # of the 1,797 digits
_FULL_CHUNK = 100  # images drawn together; a multiple of 10, so that every chunk is balanced


def generate(*, split: Part, count: int, resolution: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """`count` images of a split: pixels (count, resolution, resolution, 3) uint8 and labels (count,) int64.

    Every ten images in a row hold each class once. The first images are the same whatever `count` is.
    Raises InvalidArgument for an unknown split, a count below 1, a resolution below 16 or a negative seed.
    """
    rules = (
        ("split", split, split in PARTS, "train, validation or test"),
        ("count", count, count >= 1, "at least 1"),
        ("resolution", resolution, resolution >= 16, "at least 16 px"),
        ("seed", seed, seed >= 0, "0 or more"),
    )
    for name, value, holds, rule in rules:
        if not holds:
            raise InvalidArgument(f"digits: {name} must be {rule}, got {value!r}")
    pixels = np.empty((count, resolution, resolution, 3), np.uint8)
    labels = np.empty(count, np.int64)
    chunk = chunk_images(resolution)
    for start in range(0, count, chunk):
        drawn, drawn_labels = _chunk(split, start // chunk, chunk, resolution, seed)
        pixels[start : start + chunk] = drawn[: count - start]
        labels[start : start + chunk] = drawn_labels[: count - start]
    return pixels, labels


def chunk_images(resolution: int) -> int:
    """Images that are drawn together: 100, fewer above 128 px to bound the memory."""
    return max(10, min(_FULL_CHUNK, _FULL_CHUNK * 128**2 // resolution**2 // 10 * 10))


@lru_cache(maxsize=1)
def handwriting() -> tuple[Floats, NDArray[np.int64]]:
    """All digits: ink (1797, 8, 8) from 0 to 1, labels (1797,)."""
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    return (bunch.images / 16).astype(np.float32), bunch.target.astype(np.int64)


@lru_cache(maxsize=1)
def source_digits() -> dict[Part, tuple[NDArray[np.int64], ...]]:
    """The digits that each split draws on: for every class their rows in `load_digits`; disjoint, the same always."""
    _, labels = handwriting()
    rng = np.random.default_rng(20181)
    rows: dict[Part, list[NDArray[np.int64]]] = {split: [] for split in PARTS}
    for label in range(len(CLASSES)):
        members = rng.permutation(np.flatnonzero(labels == label))
        ends = np.cumsum([round(share * len(members)) for share in _SHARES.values()])[:-1]
        for split, part in zip(rows, np.split(members, ends), strict=True):
            rows[split].append(part)
    return {split: tuple(parts) for split, parts in rows.items()}


def _chunk(
    split: Part, number: int, images: int, resolution: int, seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    rng = np.random.default_rng([seed, PARTS.index(split), number])
    ink, _ = handwriting()
    by_class = source_digits()[split]
    labels = np.argsort(rng.random((images // 10, 10)), axis=1).ravel()
    sizes = np.array([len(rows) for rows in by_class])
    table = np.zeros((10, sizes.max()), np.int64)
    for label, rows in enumerate(by_class):
        table[label, : len(rows)] = rows

    def draw(wanted: NDArray[np.int64]) -> Floats:
        which = (rng.random(len(wanted)) * sizes[wanted]).astype(np.int64)
        drawn: Floats = ink[table[wanted, which]]
        return drawn

    canvas = textured(rng, images, resolution)
    for _ in range(FRAGMENTS):
        piece = fragment(rng, draw(rng.integers(0, 10, images)))
        _paint(rng, canvas, piece, FRAGMENT_SIZE, turn=np.pi, reach=FRAGMENT_CELLS / _CELLS)
    _paint(rng, canvas, draw(labels), SIZE, turn=ROTATION, reach=1.0)
    return with_noise(rng, canvas), labels


def with_noise(rng: np.random.Generator, canvas: Floats) -> NDArray[np.uint8]:
    """Painted canvases (images, 3, resolution, resolution), changed in place, as noisy images with channels last."""
    images, _, resolution, _ = canvas.shape
    noise = rng.integers(0, 256, (images, 1, resolution, resolution), np.uint8).astype(np.float32)
    noise -= 127.5
    noise *= 2 * NOISE
    canvas *= 255
    canvas += noise
    np.clip(canvas, 0, 255, out=canvas)
    return canvas.astype(np.uint8).transpose(0, 2, 3, 1)


def uniform(rng: np.random.Generator, low: float, high: float, *shape: int) -> Floats:
    """Random numbers from `low` to `high`."""
    return rng.random(shape, np.float32) * np.float32(high - low) + np.float32(low)


def _enlarging(coarse: int, fine: int) -> Floats:
    """The matrix (fine, coarse) that enlarges `coarse` cells to `fine` pixels, linear between centres."""
    at = (np.arange(fine, dtype=np.float32) + 0.5) * coarse / fine - 0.5
    weights = 1 - np.abs(at[:, None] - np.arange(coarse, dtype=np.float32))
    matrix: Floats = np.clip(weights, 0, None).astype(np.float32)
    return matrix


def textured(rng: np.random.Generator, images: int, resolution: int) -> Floats:
    """Textured canvases (images, 3, resolution, resolution)."""
    # Clouds: random coarse grids, enlarged; stripes: a plane wave of random direction, length and colour.
    clouds = np.zeros((images, resolution, resolution), np.float32)
    for cells in (4, 9):
        wide = _enlarging(cells, resolution)
        clouds += wide @ uniform(rng, -1, 1, images, cells, cells) @ wide.T
    angle, waves, phase = (uniform(rng, 0, high, images, 1) for high in (np.pi, 8.0, 2 * np.pi))
    at = np.linspace(0, 2 * np.pi, resolution, dtype=np.float32)
    stripes_x, stripes_y = waves * np.cos(angle) * at, waves * np.sin(angle) * at + phase
    # sin(x + y) by the addition theorem: rows times columns in place of a sine for each pixel.
    stripes = np.sin(stripes_y)[:, :, None] * np.cos(stripes_x)[:, None, :]
    stripes += np.cos(stripes_y)[:, :, None] * np.sin(stripes_x)[:, None, :]
    layers = np.stack([clouds.reshape(images, -1), stripes.reshape(images, -1)], axis=1)
    tints = uniform(rng, -TEXTURE, TEXTURE, images, 3, 2)
    canvas: Floats = (tints @ layers).reshape(images, 3, resolution, resolution)
    canvas += uniform(rng, *CANVAS, images, 3, 1, 1)
    return canvas


def fragment(rng: np.random.Generator, digits: Floats) -> Floats:
    """Pieces of digits (n, 8, 8), each moved to the middle of an empty box."""
    count = len(digits)
    corner = rng.integers(0, _CELLS - FRAGMENT_CELLS + 1, (2, count, 1))
    cells = np.arange(FRAGMENT_CELLS)
    rows, columns = corner[0] + cells, corner[1] + cells
    result = np.zeros_like(digits)
    start = (_CELLS - FRAGMENT_CELLS) // 2
    middle = slice(start, start + FRAGMENT_CELLS)
    result[:, middle, middle] = digits[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return result


def _paint(
    rng: np.random.Generator, canvas: Floats, ink: Floats, size: tuple[float, float], *, turn: float, reach: float
) -> None:
    """Paint one digit or piece (n, 8, 8) onto each canvas, in place, all of it inside.

    turn: largest rotation; reach: the side of what is drawn, as a fraction of its box.
    """
    images, _, _, resolution = canvas.shape
    side = uniform(rng, *size, images) * resolution
    margin = np.minimum(side * reach, resolution) / 2
    centre = margin + rng.random((2, images), np.float32) * (resolution - 2 * margin)
    # Only a square window of the canvas is looked at, wide enough for what is turned by 45 degrees.
    window = min(resolution, math.ceil(size[1] * resolution * reach * 1.5))
    corner = np.clip(np.round(centre - window / 2), 0, resolution - window).astype(np.int64)
    stamp = enlarge(ink, max(32, int(size[1] * resolution)))
    turns, slants = uniform(rng, -turn, turn, images), uniform(rng, -SLANT, SLANT, images)
    cover = warp(stamp, centre - corner, side, turns, slants, window)
    colour = uniform(rng, *INK, images, 3, 1, 1)
    along = np.arange(window)
    rows, columns = (corner[1, :, None] + along)[:, None, :, None], (corner[0, :, None] + along)[:, None, None, :]
    where = (np.arange(images)[:, None, None, None], np.arange(3)[:, None, None], rows, columns)
    under = canvas if window == resolution else canvas[where]
    under += cover[:, None] * (colour - under)
    if window < resolution:
        canvas[where] = under


def enlarge(ink: Floats, fine: int) -> Floats:
    """Strokes with crisp edges (n, fine + 2, fine + 2) from cells (n, 8, 8), with an empty border."""
    wide = _enlarging(_CELLS, fine)
    smooth = wide @ ink @ wide.T
    result = np.zeros((len(ink), fine + 2, fine + 2), np.float32)
    result[:, 1:-1, 1:-1] = np.clip(2.5 * smooth - 0.75, 0, 1)
    return result


def warp(stamp: Floats, centre: Floats, side: Floats, turn: Floats, slant: Floats, window: int) -> Floats:
    """Stamps (n, s, s), turned and slanted, at `centre` (x, y in pixels) of empty windows (n, window, window)."""
    images, extent = stamp.shape[:2]
    scale = (extent - 2) / side
    cosine, sine = np.cos(turn) * scale, np.sin(turn) * scale
    at = np.arange(window, dtype=np.float32)[None] + 0.5
    x, y = at - centre[0, :, None], at - centre[1, :, None]
    middle = extent / 2

    def source(along_x: Floats, along_y: Floats) -> NDArray[np.int32]:
        place = (along_y[:, None] * y + middle)[:, :, None] + (along_x[:, None] * x)[:, None, :]
        np.clip(place, 0, extent - 1, out=place)
        index: NDArray[np.int32] = place.astype(np.int32)
        return index

    index = source(sine, cosine)
    index *= extent
    index += source(cosine + slant * sine, slant * cosine - sine)
    index += (np.arange(images, dtype=np.int32) * extent**2)[:, None, None]
    return stamp.ravel().take(index)
