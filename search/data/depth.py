"""Images of more than 8 bits a channel: their values, and the one scale by which a data set's become 8 bits.

Files do not say how many of their bits a camera used: 12-bit values in a 16-bit file would be almost black by the
file's own range. One range from all training images, and not one from each image, keeps bright and dark images apart.
"""

import io
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

Kind = Literal["whole", "floating-point"]
Values = NDArray[np.float32]
"""The values of an image's channels, (height, width, 1 or 3)."""

_WHOLE_BOUNDS = tuple(2**bits - 1 for bits in (8, 10, 12, 14, 16))
_DIM = 1 / 16  # floating-point values below this share of 1 are not meant to reach 1
_OVERSHOOT = 0.05  # beyond 0, 1 or -1: resampling leaves some
_QUANTILE = 0.001  # of floating-point values at each end, where single ones mean nothing
_MEASURED_VALUES = 2**20
# Pillow keeps the upper byte of 16-bit colour, and of grey with transparency. Read in the other byte order, the "upper"
# byte is the lower one.
_SWAPPED = {";16B": ";16L", ";16L": ";16B", ";16N": ";16B" if sys.byteorder == "little" else ";16L"}
_GREY_RAW = "RGBA"  # the four bytes of a pixel of grey with transparency, as they lie; Pillow gives it as RGBA
_RAW = {
    **{colour + ending: colour + other for colour in ("RGB", "RGBX", "RGBA") for ending, other in _SWAPPED.items()},
    "LA;16B": _GREY_RAW,
}
_WHITE_IS_ZERO = (262, 0)  # TIFF's tag of what a grey value means, and its value


class Extent(NamedTuple):
    """The least and the largest value of an image, and whether its values are whole numbers."""

    kind: Kind
    low: float
    high: float


class Scale(NamedTuple):
    """The values that become 0 and 255."""

    low: float
    high: float

    def eight_bits(self, values: Values) -> NDArray[np.uint8]:
        """The values on this scale, clipped; what is no number is dark."""
        whole = np.nan_to_num(values, nan=self.low, posinf=self.high, neginf=self.low)
        scaled = (np.clip(whole, self.low, self.high) - self.low) * (255 / max(self.high - self.low, 1e-30))
        return np.asarray(np.rint(scaled), np.uint8)


Scaling = Callable[[Extent], Scale]


def is_deep(image: "Image.Image") -> bool:
    """Whether an opened image has more than 8 bits a channel that can be had here."""
    return image.mode.startswith("I") or image.mode == "F" or _swapped(image) is not None


def deep_values(image: "Image.Image", data: bytes) -> tuple[Kind, Values]:
    """The values of a deep image, opened from `data` and not yet loaded. Raises whatever Pillow raises."""
    from PIL import Image

    kind: Kind = "floating-point" if image.mode == "F" else "whole"
    tiles = _swapped(image)
    if tiles is None:
        return kind, np.asarray(image)[..., None].astype(np.float32)
    with Image.open(io.BytesIO(data), formats=(image.format or "",)) as lower:
        lower.tile = cast("Any", tiles)
        other_bytes = np.asarray(lower)[..., :3].astype(np.float32)
    if tiles[0][3] == _GREY_RAW:
        return kind, other_bytes[..., :1] * 256 + other_bytes[..., 1:2]
    return kind, np.asarray(image)[..., :3].astype(np.float32) * 256 + other_bytes


def is_inverted(image: "Image.Image") -> bool:
    """Whether an image's 0 is white; Pillow turns only those of 8 bits."""
    tag, white = _WHITE_IS_ZERO
    return getattr(image, "tag_v2", {}).get(tag) == white


def extent_of(kind: Kind, values: Values) -> Extent:
    """What the values reach from and to; of floating-point ones all but 1 in 1,000 at each end."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return Extent(kind, 0.0, 0.0)
    if kind == "whole":
        return Extent(kind, float(finite.min()), float(finite.max()))
    some = finite[:: -(-finite.size // _MEASURED_VALUES)]
    low, high = np.quantile(some, (_QUANTILE, 1 - _QUANTILE))
    return Extent(kind, float(low), float(high))


def scale_of(extents: Iterable[Extent]) -> Scale:
    """The scale of images of one kind.

    Whole numbers from 0 to the largest of the fewest bits (8, 10, 12, 14, 16) that hold them all; floating-point ones
    from 0 or -1 to 1 where they lie there, else as whole numbers. All others from the least to the largest value.
    """
    kinds, lows, highs = zip(*extents, strict=True)
    low, high = min(lows), max(highs)
    floating = "floating-point" in kinds
    slack = _OVERSHOOT if floating else 0.0
    if low < -slack:
        fits = floating and low >= -1 - slack and high <= 1 + slack
        return Scale(-1.0, 1.0) if fits else Scale(low, high)
    if floating and high <= 1 + slack:
        return Scale(0.0, 1.0 if high > _DIM or high <= 0 else high)
    return Scale(0.0, next((float(bound) for bound in _WHOLE_BOUNDS if high <= bound), high))


def own_scale(extent: Extent) -> Scale:
    """The scale of an image that stands alone."""
    return scale_of([extent])


def _swapped(image: "Image.Image") -> list[tuple[object, ...]] | None:
    """Where an image's pieces are, with the byte order of 16-bit colour swapped; None for all other images."""
    if image.mode not in ("RGB", "RGBA") or image.format not in ("PNG", "TIFF"):
        return None
    swapped = []
    for tile in getattr(image, "tile", ()):
        codec, box, offset, args = tile
        raw, *others = args if isinstance(args, tuple) else (args,)
        if raw not in _RAW:
            return None
        raw = _RAW[raw]
        make = getattr(type(tile), "_make", tuple)  # a named tuple from Pillow 11 on
        swapped.append(make((codec, box, offset, (raw, *others) if isinstance(args, tuple) else raw)))
    return swapped or None
