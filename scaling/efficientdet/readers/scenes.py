"""The embedded task: several handwritten digits with boxes in one image, drawn as `search.data.digits` draws one.

Each scene has digits of many sizes at random places, rotated, slanted and coloured, some over another's edge, among
fragments of other digits on a textured canvas. Train, validation and test draw on writing of their own. Everything
about scene i is a function of (seed, split, i, resolution), and a scene is drawn when its pixels are first asked for.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from scaling.efficientdet.examples import Boxes, DetectionData, Example, Image, Labels
from search.data import digits
from search.data.source import PARTS, Part, digest_of
from searchspace.errors import InvalidArgument, InvalidData

DEFAULT_COUNTS: dict[Part, int] = {"train": 2000, "validation": 500, "test": 500}
DEFAULT_RESOLUTION = 160  # its smallest digits are as large as they were written, 8 cells of 2 pixels
SMALLEST, LARGEST = 64, 1024  # px
# How hard the task is; lengths are fractions of the canvas.
OBJECTS = (2, 9)
SIZE = (0.1, 0.45)  # side of a digit's box
FRAGMENTS = (3, 8)
FRAGMENT_SIZE = (0.1, 0.35)
LARGEST_COVER = 0.25  # share of the smaller of two boxes that may lie in the other
_LEAST_PX = 14  # a smaller digit cannot be read
_TRIES = 20  # places looked at for a digit
FEWEST, MOST = 20, 1_000_000
_VERSION = 1  # stands for what is drawn; change it with any change of a pixel or a box
_KEPT_BYTES = 2**28  # of drawn images of a split: drawing takes a tenth of a training step
_VISIBLE = 0.5  # of a pixel's ink, where a digit's box begins


def load_scenes(source: str | None, *, seed: int, resolution: int = DEFAULT_RESOLUTION) -> DetectionData:
    """The embedded task from None, "digits" or "digits:N". Raises InvalidData, InvalidArgument."""
    _, colon, number = (source or "").partition(":")
    if colon and not (number.isdecimal() and FEWEST <= int(number) <= MOST):
        raise InvalidData(
            f"digits:N draws N training scenes, a whole number from {FEWEST} to {MOST}, got {source!r}: for example "
            "--data digits:500"
        )
    train = int(number) if colon else DEFAULT_COUNTS["train"]
    counts = {part: count * train // DEFAULT_COUNTS["train"] for part, count in DEFAULT_COUNTS.items()}
    parts = {part: Scenes(part, count=counts[part], resolution=resolution, seed=seed) for part in PARTS}
    return DetectionData(
        name="digits",
        classes=digits.CLASSES,
        train=parts["train"],
        validation=parts["validation"],
        test=parts["test"],
        notes=("scenes of handwritten digits in clutter; each split draws on writing of its own",),
        fingerprint=digest_of("embedded:digit-scenes", _VERSION, seed, resolution, counts),
        mirrors=False,
        sizes=(0.8, 1.25),
    )


class _Mark(NamedTuple):
    """A digit or a fragment to be painted: cells (8, 8), centre (x, y) and side in pixels, turn, slant, colour."""

    ink: digits.Floats
    centre: NDArray[np.float32]
    side: float
    turn: float
    slant: float
    colour: digits.Floats


class _Stamp(NamedTuple):
    """What a mark covers: its share of each pixel of a window, and the window's corner (y, x)."""

    cover: digits.Floats
    corner: tuple[int, int]


class Scenes(Sequence[Example]):
    """`count` scenes of a split, square, drawn at `resolution` pixels. Raises InvalidArgument."""

    def __init__(self, split: Part, *, count: int, resolution: int, seed: int) -> None:
        if not SMALLEST <= resolution <= LARGEST:
            raise InvalidArgument(f"scenes of digits are drawn at {SMALLEST} to {LARGEST} px, got {resolution}")
        self.split, self.resolution, self.seed = split, resolution, seed
        self._length = count
        self._drawn: dict[int, Example] = {}

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, at: int) -> Example: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Example]: ...
    def __getitem__(self, at: int | slice) -> Example | Sequence[Example]:
        if isinstance(at, slice):
            return [self._example(each) for each in range(*at.indices(self._length))]
        if not -self._length <= at < self._length:
            raise IndexError(f"scene {at} of {self._length}")
        return self._example(at % self._length)

    def _example(self, at: int) -> Example:
        if at in self._drawn:
            return self._drawn[at]
        rng = self._random(at, 0)
        marks, labels = _layout(rng, self.split, self.resolution)
        stamps = [_stamp(mark, self.resolution) for mark in marks]
        boxes = np.array([_box(stamp) for stamp in stamps], np.float32).reshape(-1, 4)

        def image(longer: int) -> Image:
            drawn = _drawn(self._random(at, 1), marks, stamps, self.split, self.resolution)
            if (1 + len(self._drawn)) * drawn.nbytes <= _KEPT_BYTES:
                self._drawn[at] = Example(drawn, boxes, labels, name)
            return drawn

        name, size = f"{self.split}/{at:06d}", (self.resolution, self.resolution)
        return Example(image, boxes, labels, name, size)

    def _random(self, at: int, what: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, 20200, PARTS.index(self.split), at, what])


def _layout(rng: np.random.Generator, split: Part, resolution: int) -> tuple[list[_Mark], Labels]:
    """Digits, largest first, that do not cover each other much, and their labels."""
    least = max(SIZE[0], _LEAST_PX / resolution)
    count = rng.integers(*OBJECTS)
    sides = np.sort(np.exp(rng.uniform(math.log(least), math.log(SIZE[1]), count)))[::-1] * resolution
    by_class = digits.source_digits()[split]
    ink, _ = digits.handwriting()
    marks: list[_Mark] = []
    labels: list[int] = []
    for side in sides:
        label = int(rng.integers(len(by_class)))
        row = rng.choice(by_class[label])
        centre = _place(rng, side, marks, resolution)
        turn, slant = rng.uniform(-1, 1, 2) * (digits.ROTATION, digits.SLANT)
        colour = digits.uniform(rng, *digits.INK, 3, 1, 1)
        if centre is not None:
            marks.append(_Mark(ink[row], centre, float(side), turn, slant, colour))
            labels.append(label)
    return marks, np.array(labels, np.int64)


def _place(
    rng: np.random.Generator, side: float, marks: Sequence[_Mark], resolution: int
) -> NDArray[np.float32] | None:
    """A centre at which a digit covers no other one much; None where none is found."""
    for _ in range(_TRIES):
        centre = rng.uniform(side / 2, resolution - side / 2, 2).astype(np.float32)
        if all(_covered(centre, side, mark) <= LARGEST_COVER for mark in marks):
            return centre
    return None


def _covered(centre: NDArray[np.float32], side: float, mark: _Mark) -> float:
    apart = np.abs(centre - mark.centre)
    common = np.clip((side + mark.side) / 2 - apart, 0, min(side, mark.side))
    return float(common.prod() / min(side, mark.side) ** 2)


def _stamp(mark: _Mark, resolution: int) -> _Stamp:
    window = min(resolution, math.ceil(mark.side * 1.5))
    corner = np.clip(np.round(mark.centre - window / 2), 0, resolution - window).astype(np.int64)
    wide = digits.enlarge(mark.ink[None], max(32, int(mark.side)))
    side, turn, slant = (np.array([value], np.float32) for value in (mark.side, mark.turn, mark.slant))
    cover = digits.warp(wide, (mark.centre - corner).astype(np.float32)[:, None], side, turn, slant, window)[0]
    return _Stamp(cover, (int(corner[1]), int(corner[0])))


def _box(stamp: _Stamp) -> Boxes:
    visible = stamp.cover > _VISIBLE
    rows, columns = np.flatnonzero(visible.any(1)), np.flatnonzero(visible.any(0))
    edges = np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])
    box: Boxes = (edges + np.tile(stamp.corner, 2)).astype(np.float32)
    return box


def _drawn(
    rng: np.random.Generator, marks: Sequence[_Mark], stamps: Sequence[_Stamp], split: Part, resolution: int
) -> Image:
    canvas = digits.textured(rng, 1, resolution)
    for mark in _fragments(rng, split, resolution):
        _paint(canvas[0], mark, _stamp(mark, resolution))
    for mark, stamp in zip(marks, stamps, strict=True):
        _paint(canvas[0], mark, stamp)
    return np.ascontiguousarray(digits.with_noise(rng, canvas)[0])


def _fragments(rng: np.random.Generator, split: Part, resolution: int) -> list[_Mark]:
    ink, _ = digits.handwriting()
    rows = np.concatenate(digits.source_digits()[split])
    count = int(rng.integers(*FRAGMENTS))
    pieces = digits.fragment(rng, ink[rng.choice(rows, count)])
    centres = rng.uniform(0, resolution, (count, 2)).astype(np.float32)
    sides = rng.uniform(*FRAGMENT_SIZE, count) * resolution
    turns = rng.uniform(-np.pi, np.pi, count)
    slants = rng.uniform(-digits.SLANT, digits.SLANT, count)
    colours = digits.uniform(rng, *digits.INK, count, 3, 1, 1)
    return [_Mark(pieces[at], centres[at], sides[at], turns[at], slants[at], colours[at]) for at in range(count)]


def _paint(canvas: digits.Floats, mark: _Mark, stamp: _Stamp) -> None:
    top, left = stamp.corner
    height, width = stamp.cover.shape
    under = canvas[:, top : top + height, left : left + width]
    under += stamp.cover * (mark.colour - under)
