"""Images of more than 8 bits are never crushed: one scale for all of a data set, from the values that are there."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from search.data import Dataset
from search.data.decode import decode_square
from search.data.depth import Extent, Scale, scale_of

Read = Callable[..., Dataset]
_RAMP = np.linspace(0, 1, 32 * 32).reshape(32, 32)
_WANTED = np.rint(_RAMP * 255)


def _bytes(image: Image.Image, form: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


def _grey(values: NDArray[np.generic], form: str) -> bytes:
    return _bytes(Image.fromarray(values), form)


def _png_16(values: NDArray[np.uint16]) -> bytes:
    """16-bit colour, or grey or colour with alpha (h, w, 3, 2 or 4), which Pillow does not write."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values.reshape(height, -1))
    head = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def _tiff(values: NDArray[np.generic], *, order: str = "<", white_is_zero: bool = False, packed: bool = False) -> bytes:
    """Grey (h, w, 1) or colour (h, w, 3), unsigned or floating-point: one strip, deflated where `packed`."""
    height, width, channels = values.shape
    bits, form = values.dtype.itemsize * 8, 3 if values.dtype.kind == "f" else 1
    pixels = values.astype(values.dtype.newbyteorder(order)).tobytes()  # type: ignore[arg-type]
    strip = zlib.compress(pixels) if packed else pixels
    tags = {256: width, 257: height, 258: bits, 259: 8 if packed else 1, 262: 2 if channels == 3 else not white_is_zero}
    tags |= {273: 0, 277: channels, 278: height, 279: len(strip), 339: form}
    lists_at = 8 + 2 + 12 * len(tags) + 4
    lists = b""
    rows = b""
    for tag, value in sorted(tags.items()):
        if tag in (258, 339):
            entry = struct.pack(f"{order}HHI", tag, 3, channels)
            numbers = struct.pack(f"{order}{channels}H", *[value] * channels)
            rows += entry + (
                numbers.ljust(4, b"\0") if channels < 3 else struct.pack(f"{order}I", lists_at + len(lists))
            )
            lists += numbers if channels == 3 else b""
        else:
            value = lists_at + 12 * (channels == 3) if tag == 273 else value
            rows += struct.pack(f"{order}HHII", tag, 4, 1, value)
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(f"{order}IH", 8, len(tags)) + rows + b"\0\0\0\0" + lists + strip


def _colour(bits: int) -> NDArray[np.uint16]:
    return np.rint(np.stack([_RAMP, _RAMP[::-1], _RAMP], axis=2) * (2**bits - 1)).astype(np.uint16)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM", "JPEG2000", "32-bit TIFF"])
def test_grey_of_any_bits_in_a_wider_file_fills_8_bits(bits: int, form: str) -> None:
    values = np.rint(_RAMP * (2**bits - 1)).astype(np.int32 if form == "32-bit TIFF" else np.uint16)
    assert np.abs(decode_square(_grey(values, form.split()[-1]), 32)[..., 1] - _WANTED).max() <= 1


@pytest.mark.parametrize("bits", [10, 12, 16])
@pytest.mark.parametrize(
    "write",
    [
        _png_16,
        _tiff,
        lambda values: _tiff(values, order=">"),
        lambda values: _tiff(values, packed=True),
        lambda values: _tiff(values, order=">", packed=True),
    ],
    ids=["PNG", "TIFF", "TIFF big-endian", "TIFF deflated", "TIFF big-endian deflated"],
)
def test_16_bit_colour_keeps_its_lower_bits(bits: int, write: Callable[[NDArray[np.uint16]], bytes]) -> None:
    pixels = decode_square(write(_colour(bits)), 32)
    assert np.abs(pixels[..., 0] - _WANTED).max() <= 1
    assert np.abs(pixels[..., 1] - _WANTED[::-1]).max() <= 1


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_16_bit_grey_with_transparency_keeps_its_lower_bits(bits: int) -> None:
    grey = _colour(bits)[..., :1]
    pixels = decode_square(_png_16(np.concatenate([grey, np.full_like(grey, 65535)], 2)), 32)
    assert np.abs(pixels - _WANTED[..., None]).max() <= 1
    clear = decode_square(_png_16(np.concatenate([grey, np.zeros_like(grey)], 2)), 32)
    assert (clear == 255).all()


def test_the_alpha_of_16_bit_colour_lays_it_on_white() -> None:
    values = np.concatenate([_colour(12), np.full((32, 32, 1), 65535, np.uint16)], axis=2)
    values[:16, :, 3] = 0
    pixels = decode_square(_png_16(values), 32)
    assert (pixels[:16] == 255).all()
    assert np.abs(pixels[16:, :, 0] - _WANTED[16:]).max() <= 1


@pytest.mark.parametrize("top", [1.0, 255.0, 4095.0, 65535.0, 1e6, 0.01])
@pytest.mark.parametrize("form", ["TIFF", "PPM"])
def test_floating_point_grey_fills_8_bits(top: float, form: str) -> None:
    assert np.abs(decode_square(_grey((_RAMP * top).astype(np.float32), form), 32)[..., 0] - _WANTED).max() <= 2


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf, 1e30, -1e30])
def test_a_single_odd_value_darkens_no_image(odd: float) -> None:
    values = np.tile(_RAMP, (2, 2)).astype(np.float32)
    values[0, 0] = odd
    assert np.abs(decode_square(_grey(values, "TIFF"), 64)[1:, 1:, 0] - np.tile(_WANTED, (2, 2))[1:, 1:]).max() <= 1


def test_a_flat_image_keeps_its_brightness() -> None:
    assert (decode_square(_grey(np.full((9, 9), 0.2, np.float32), "TIFF"), 9) == 51).all()
    assert (decode_square(_grey(np.full((9, 9), 32896, np.uint16), "TIFF"), 9) == 128).all()


def test_an_inverted_16_bit_grey_is_turned() -> None:
    values = np.rint(_RAMP * 65535).astype(np.uint16)[..., None]
    assert np.abs(decode_square(_tiff(values, white_is_zero=True), 32)[..., 0] - (255 - _WANTED)).max() <= 1


def test_values_below_zero_keep_their_order() -> None:
    assert scale_of([Extent("whole", -1024, 3071)]) == Scale(-1024, 3071)
    assert scale_of([Extent("floating-point", -0.98, 1.0)]) == Scale(-1, 1)
    assert scale_of([Extent("floating-point", -0.01, 1.01)]) == Scale(0, 1)


def _save(root: Path, label: str, values: list[NDArray[np.generic]], form: str = "TIFF") -> None:
    (root / label).mkdir(parents=True, exist_ok=True)
    for index, each in enumerate(values):
        (root / label / f"{form}{index}.{form[:4].lower()}").write_bytes(_grey(each, form))


def test_one_scale_for_all_images_keeps_dark_classes_dark_and_is_told(tmp_path: Path, read: Read) -> None:
    rng = np.random.default_rng(0)
    _save(tmp_path / "x", "dark", [rng.integers(0, 800, (8, 8)).astype(np.uint16) for _ in range(20)])
    _save(tmp_path / "x", "light", [rng.integers(3000, 4000, (8, 8)).astype(np.uint16) for _ in range(20)])
    told = "40 images of more than 8 bits (whole numbers): 0 to 4095 are scaled to 0 to 255, alike in all of them"
    for _ in range(2):  # the second from the cache
        dataset = read(tmp_path / "x")
        for part in (dataset.train, dataset.validation, dataset.open_test()):
            means = part.pixels.mean(axis=(1, 2, 3))
            assert means[part.labels == 0].max() < 40
            assert means[part.labels == 1].min() > 200
        assert any(note.startswith(told) for note in dataset.notes)


def test_each_kind_of_values_has_its_own_scale_beside_8_bit_images(tmp_path: Path, read: Read) -> None:
    for label, level in (("a", 0.25), ("b", 0.75)):
        noise = np.random.default_rng(int(level * 4)).uniform(-0.05, 0.05, (3, 10, 8, 8)) + level
        _save(tmp_path / "x", label, [*(noise[0] * 4095).astype(np.uint16)], "PNG")
        _save(tmp_path / "x", label, [*noise[1].astype(np.float32)])
        _save(tmp_path / "x", label, [*(noise[2] * 255).astype(np.uint8)], "BMP")
    dataset = read(tmp_path / "x")
    assert np.abs(dataset.train.pixels.mean(axis=(1, 2, 3)) - np.where(dataset.train.labels, 191, 64)).max() < 8
    assert [note.split(":")[0] for note in dataset.notes if "of more than 8 bits" in note] == [
        "20 images of more than 8 bits (floating-point)",
        "20 images of more than 8 bits (whole numbers)",
    ]


def test_8_bit_images_are_told_nothing_about_scales(corpus: Callable[..., Path], read: Read) -> None:
    assert not any("bits" in note for note in read(corpus({"a": 10, "b": 10})).notes)


def test_a_corrupt_deep_image_is_named_and_skipped(tmp_path: Path, read: Read) -> None:
    rng = np.random.default_rng(0)
    for label in "ab":
        _save(tmp_path / "x", label, [rng.integers(0, 4000, (8, 8)).astype(np.uint16) for _ in range(100)], "PNG")
    path = tmp_path / "x" / "a" / "PNG3.png"
    path.write_bytes(path.read_bytes()[:-40])
    dataset = read(tmp_path / "x")
    assert dataset.skipped == ("a/PNG3.png",)
    assert any(note.startswith("1 corrupt image skipped: a/PNG3.png") for note in dataset.notes)


def test_floating_point_colour_is_not_called_corrupt(tmp_path: Path, corpus: Callable[..., Path], read: Read) -> None:
    root = corpus({"a": 100, "b": 100})
    (root / "a" / "deep.tif").write_bytes(_tiff(np.stack([_RAMP] * 3, axis=2).astype(np.float32)))
    dataset = read(root)
    assert dataset.skipped == ("a/deep.tif",)
    (note,) = (note for note in dataset.notes if "deep.tif" in note)
    assert note.startswith("1 image left out, not read here: a/deep.tif (a TIFF of a kind that is not read")
    assert "corrupt" not in note
