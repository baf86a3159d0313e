"""From a file's bytes to a square uint8 image.

Shorter side to the resolution, then the centre: the field's standard for evaluation (ResNet, EfficientNet), which
keeps the aspect ratio. Both are one bicubic, antialiased resampling of the largest centred square.
"""

import io
import threading
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from search.data.depth import Scaling, deep_values, extent_of, is_deep, is_inverted, own_scale
from search.data.source import TooLarge, one_line

if TYPE_CHECKING:
    from PIL import Image

# Named, because some of Pillow's other readers start programs (EPS) or take almost anything (TGA).
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF")
_ORIENTATION = 0x0112  # EXIF
_LARGE_PIXELS = 2**25  # such images are decoded one at a time: each takes hundreds of MB
_LARGE = threading.Lock()
# By what a file begins with: images that are not read here, and what is none.
_OTHER_IMAGES = {
    b"8BPS": "Photoshop",
    b"%PDF": "PDF",
    b"%!PS": "PostScript",
    b"\x93NUMPY": "a NumPy array",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"v/1\x01": "OpenEXR",
}
_NO_IMAGES = {
    b"pk\3\4": "a zip archive",
    b"version https://git-lfs": "a pointer of Git LFS (git lfs pull)",
    b"<!doctype html": "a web page",
    b"<html": "a web page",
}
_HEIC = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# By EXIF orientation: what makes the image upright.
_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
_SIDEWAYS = (5, 6, 7, 8)  # height and width change places


class Remark(StrEnum):
    """What an image has and loses."""

    TRANSPARENT = "partly transparent"
    FRAMES = "several frames"


def decode_square(
    data: bytes,
    resolution: int,
    *,
    scaling: Scaling = own_scale,
    remark: Callable[[Remark], None] = lambda remark: None,
) -> NDArray[np.uint8]:
    """The image's largest centred square as (resolution, resolution, 3) RGB, upright by its EXIF orientation.

    Of several frames the first is taken. Transparency lies on white. Palettes, CMYK and LAB become RGB. More than 8
    bits become 8 on the scale that `scaling` gives for the values. `remark` is called with what the image loses.
    Raises whatever Pillow raises on a corrupt file, and what `why_unsupported` knows.
    """
    with open_image(data) as image:
        return square_of(image, data, resolution, scaling=scaling, remark=remark)


def square_of(
    image: "Image.Image", data: bytes, resolution: int, *, scaling: Scaling, remark: Callable[[Remark], None]
) -> NDArray[np.uint8]:
    """As `decode_square`, of an image opened from `data`."""
    if image.format == "JPEG":
        # Decode at 1/2, 1/4 or 1/8 where that is still twice the size wanted.
        image.draft(None, (2 * resolution, 2 * resolution))
    with _LARGE if image.width * image.height > _LARGE_PIXELS else nullcontext():
        rgb = _eight_bit_rgb(image, data, scaling, remark)
        square = _square(rgb, resolution)
        return np.asarray(_turned(square, _orientation(image)))


def decode_whole(
    data: bytes,
    *,
    longer: int | None = None,
    upright: bool = True,
    scaling: Scaling = own_scale,
    remark: Callable[[Remark], None] = lambda remark: None,
) -> NDArray[np.uint8]:
    """The whole image as (height, width, 3) RGB; all else as `decode_square`.

    longer: pixels that the longer side needs: a JPEG of at least twice as many is reduced. upright: turn it by EXIF.
    """
    with open_image(data) as image:
        if image.format == "JPEG" and longer is not None:
            wanted = [max(1, side * longer // max(image.size)) for side in image.size]
            image.draft(None, (wanted[0], wanted[1]))
        with _LARGE if image.width * image.height > _LARGE_PIXELS else nullcontext():
            rgb = _eight_bit_rgb(image, data, scaling, remark)
            return np.asarray(_turned(rgb, _orientation(image)) if upright else rgb)


def sizes_of(data: bytes) -> tuple[tuple[int, int], tuple[int, int]]:
    """Height and width from the header: as stored, and upright by EXIF. Raises as `decode_square`."""
    with open_image(data) as image:
        stored = (image.height, image.width)
        return stored, stored[::-1] if _orientation(image) in _SIDEWAYS else stored


def open_image(data: bytes) -> "Image.Image":
    """The image with its header read and its pixels not yet. Raises as `decode_square`."""
    from PIL import Image

    return Image.open(io.BytesIO(data), formats=_formats())


def why_unsupported(error: Exception, data: bytes | Exception) -> str | None:
    """Why a file that may be whole is not read, from the error that it raised; None for a corrupt one."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, Image.DecompressionBombError):
        return f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels: make it smaller"
    if isinstance(error, UnidentifiedImageError) and isinstance(data, bytes):
        if data.startswith(_TIFF):
            return "a TIFF of a kind that is not read, such as floating-point colour: write it with 8 or 16 bits"
        other = _begins(data, _OTHER_IMAGES)
        other = "HEIC" if data[4:8] == b"ftyp" and data[8:12] in _HEIC else other
        other = "SVG" if b"<svg" in data[:1024] else other
        return other and f"{other}, whatever its name: save it as .jpg or .png"
    return str(error) if isinstance(error, TooLarge) else None


def why_corrupt(error: Exception, data: bytes | Exception) -> str:
    """Why a file is no image, in one line."""
    from PIL import UnidentifiedImageError

    if not isinstance(error, UnidentifiedImageError):
        return one_line(error)
    known = _begins(data.lstrip()[:64].lower(), _NO_IMAGES) if isinstance(data, bytes) else None
    return f"no image of a known format{f' but {known}' if known else ''}"


def _begins(data: bytes, kinds: Mapping[bytes, str]) -> str | None:
    return next((what for start, what in kinds.items() if data.startswith(start)), None)


def shorter_side(data: bytes) -> int | None:
    """An image's pixels along its shorter side, from its header alone; None where the beginning is no image's."""
    try:
        with open_image(data) as image:
            return min(image.size)
    except Exception:  # Pillow's readers raise almost any type on a corrupt file
        return None


@cache
def _formats() -> tuple[str, ...]:
    """Those of FORMATS that this build of Pillow reads."""
    from PIL import Image

    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _orientation(image: "Image.Image") -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # odd metadata makes no image corrupt
        return 1


def _has_frames(image: "Image.Image") -> bool:
    """Whether there are frames or pages behind the first. A camera's second one in a JPEG (MPO) is a preview."""
    try:
        return image.format in ("GIF", "PNG", "WEBP", "TIFF", "AVIF") and bool(getattr(image, "is_animated", False))
    except Exception:  # a damaged second frame leaves the first whole
        return True


def _eight_bits(image: "Image.Image", data: bytes, scaling: Scaling) -> "Image.Image":
    """A deep image on the scale of its values, with its 8-bit alpha where it has one."""
    from PIL import Image

    kind, values = deep_values(image, data)
    scaled = scaling(extent_of(kind, values)).eight_bits(values)
    if is_inverted(image):
        scaled = 255 - scaled
    whole = Image.fromarray(scaled[..., 0] if scaled.shape[2] == 1 else scaled)
    if image.mode == "RGBA":
        whole.putalpha(image.getchannel("A"))
    return whole


def _on_white(image: "Image.Image", remark: Callable[[Remark], None]) -> "Image.Image":
    from PIL import Image

    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        transparent = image.convert("RGBA")
        if np.asarray(transparent)[..., 3].min() < 255:
            remark(Remark.TRANSPARENT)
        white = Image.new("RGBA", transparent.size, "white")
        return Image.alpha_composite(white, transparent).convert("RGB")
    return image.convert("RGB")


def _eight_bit_rgb(
    image: "Image.Image", data: bytes, scaling: Scaling, remark: Callable[[Remark], None]
) -> "Image.Image":
    if _has_frames(image):
        remark(Remark.FRAMES)
    return _on_white(_eight_bits(image, data, scaling) if is_deep(image) else image, remark)


def _turned(image: "Image.Image", orientation: int) -> "Image.Image":
    from PIL import Image

    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(Image.Transpose[turn])


def _square(rgb: "Image.Image", resolution: int) -> "Image.Image":
    from PIL import Image

    if rgb.size == (resolution, resolution):
        return rgb
    side = min(rgb.size)
    left, top = (rgb.width - side) / 2, (rgb.height - side) / 2
    box = (left, top, left + side, top + side)
    return rgb.resize((resolution, resolution), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)
