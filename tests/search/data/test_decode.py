"""Every kind of image becomes upright 8-bit RGB, square, about its centre."""

import io
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from search.data.decode import decode_square, decode_whole, sizes_of

_GREY_OF_HALF = 128


def _bytes(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def _gradient(width: int, height: int) -> Image.Image:
    """Red grows to the right, green downwards."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, np.full_like(x, 60)], axis=2).astype(np.uint8))


@pytest.mark.parametrize("size", [(64, 64), (640, 480), (30, 90), (1, 7), (5, 5), (16, 16)])
def test_any_shape_becomes_a_square_of_the_resolution(size: tuple[int, int]) -> None:
    pixels = decode_square(_bytes(_gradient(*size)), 16)
    assert pixels.shape == (16, 16, 3)
    assert pixels.dtype == np.uint8


def test_the_centre_is_kept_and_the_aspect_ratio_too() -> None:
    wide = np.zeros((100, 300, 3), np.uint8)
    wide[:, 100:200] = 200  # exactly the centred square
    assert (decode_square(_bytes(Image.fromarray(wide)), 10)[:, 1:-1] > 180).all()


def test_an_image_of_the_resolution_is_kept_bit_by_bit() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    np.testing.assert_array_equal(decode_square(_bytes(Image.fromarray(pixels)), 24), pixels)


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_shrinking_is_antialiased(form: str) -> None:
    """A checkerboard finer than the result is grey, not black and white; also where JPEG decodes at a fraction."""
    board = np.indices((512, 512)).sum(axis=0) % 2 * 255
    data = _bytes(Image.fromarray(board.astype(np.uint8)), form)
    assert np.abs(decode_square(data, 16).astype(int) - 127.5).max() < 8


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("size", [(120, 80), (81, 120), (600, 401)])
def test_a_turned_photograph_is_set_upright(orientation: int, form: str, size: tuple[int, int]) -> None:
    upright = _gradient(*size)
    inverse: dict[int, Image.Transpose] = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(inverse[orientation]) if orientation in inverse else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"quality": 95} if form == "JPEG" else {"compress_level": 1}
    got = decode_square(_bytes(stored, form, exif=exif, **options), 32)
    wanted = decode_square(_bytes(upright, compress_level=1), 32)
    assert np.abs(got.astype(int) - wanted).max() <= 6


def _modes() -> dict[str, bytes]:
    """The same half-bright grey in every mode."""
    grey = Image.new("L", (20, 20), _GREY_OF_HALF)
    palette = grey.convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE)
    sixteen = Image.fromarray(np.full((20, 20), _GREY_OF_HALF * 257, np.uint16))
    stretched = np.full((20, 20), 0.5, np.float32)
    stretched[0, 0], stretched[0, 1] = 0.0, 1.0
    whole = (stretched * 1_000_000).astype(np.int32)
    return {
        "L": _bytes(grey),
        "L JPEG": _bytes(grey, "JPEG"),
        "LA": _bytes(grey.convert("LA")),
        "RGBA": _bytes(grey.convert("RGBA")),
        "P": _bytes(palette),
        "P GIF": _bytes(palette, "GIF"),
        "P with transparency": _bytes(palette, transparency=255),
        "CMYK JPEG": _bytes(Image.new("CMYK", (20, 20), (0, 0, 0, 127)), "JPEG"),
        "CMYK TIFF": _bytes(Image.new("CMYK", (20, 20), (0, 0, 0, 127)), "TIFF"),
        "LAB TIFF": _bytes(Image.frombytes("LAB", (20, 20), bytes([137, 0, 0]) * 400), "TIFF"),
        "YCbCr": _bytes(grey.convert("RGB").convert("YCbCr"), "JPEG"),
        "16-bit PNG": _bytes(sixteen),
        "16-bit TIFF": _bytes(sixteen, "TIFF"),
        "16-bit PGM": _bytes(sixteen, "PPM"),
        "32-bit TIFF": _bytes(Image.fromarray(whole), "TIFF"),
        "float TIFF": _bytes(Image.fromarray(stretched), "TIFF"),
        "WebP": _bytes(grey.convert("RGB"), "WEBP"),
        "BMP": _bytes(grey, "BMP"),
    }


@pytest.mark.parametrize("mode", _modes())
def test_every_mode_and_depth_becomes_8_bit_rgb(mode: str) -> None:
    middle = decode_square(_modes()[mode], 20)[5:-5, 5:-5].astype(int)
    assert np.abs(middle - _GREY_OF_HALF).max() <= 3


def test_one_bit_images_become_black_and_white() -> None:
    board: NDArray[np.bool_] = np.indices((16, 16)).sum(axis=0) % 2 == 0
    assert set(np.unique(decode_square(_bytes(Image.fromarray(board)), 16))) == {0, 255}


def test_transparency_lies_on_white() -> None:
    assert (decode_square(_bytes(Image.new("RGBA", (9, 9), (200, 0, 0, 0))), 9) == 255).all()
    palette = Image.new("P", (9, 9), 0)
    palette.putpalette([200, 0, 0])
    assert (decode_square(_bytes(palette, transparency=0), 9) == 255).all()


def test_the_first_of_several_frames_is_taken() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = _bytes(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (decode_square(data, 8)[..., 0] > 200).all()


@pytest.mark.parametrize("cut", [10, 60, 300])
@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_a_truncated_image_is_corrupt(cut: int, form: str, encoded: Callable[..., bytes]) -> None:
    with pytest.raises((OSError, SyntaxError)):  # Pillow's own types differ by format
        decode_square(encoded(0, form=form)[:cut], 16)


def test_a_giant_image_is_refused_before_its_pixels_exist() -> None:
    header = bytearray(_bytes(Image.new("1", (8, 8))))
    header[16:24] = (60_000).to_bytes(4, "big") * 2  # the PNG header's width and height
    header[29:33] = zlib.crc32(header[12:29]).to_bytes(4, "big")
    with pytest.raises(Image.DecompressionBombError):
        decode_square(bytes(header), 16)


def test_postscript_is_no_image_here() -> None:
    with pytest.raises(UnidentifiedImageError):
        decode_square(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", 16)


def test_a_whole_image_keeps_its_shape_and_a_jpeg_is_reduced_where_that_is_enough() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (90, 160, 3), np.uint8)
    np.testing.assert_array_equal(decode_whole(_bytes(Image.fromarray(pixels), "PNG")), pixels)
    jpeg = _bytes(Image.fromarray(pixels), "JPEG")
    assert [decode_whole(jpeg, longer=pixel).shape[:2] for pixel in (160, 81, 80, 20, 1)] == [
        (90, 160),
        (90, 160),
        (45, 80),
        (12, 20),
        (12, 20),
    ]


def test_a_whole_image_is_upright_unless_it_shall_lie_as_it_is_stored() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (4, 6, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 8
    data = _bytes(Image.fromarray(pixels), "PNG", exif=exif)
    assert sizes_of(data) == ((4, 6), (6, 4))
    np.testing.assert_array_equal(decode_whole(data), np.rot90(pixels))
    np.testing.assert_array_equal(decode_whole(data, upright=False), pixels)
