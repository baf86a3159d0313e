"""Preprocessing: how pixels become a network's input. It belongs to the weights and goes with them."""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from searchspace.errors import InvalidSpec
from searchspace.strict_json import checked, listed, text_of

INTERPOLATIONS = ("bilinear", "bicubic")
_LARGEST_PIXELS = 999_999

Triple = tuple[float, float, float]
"""One number for each of red, green and blue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """How RGB pixels from 0 to 255 become the input that weights were trained with: (pixel / 255 - mean) / std.

    mean, std: of pixels as fractions, from 0 to 1.
    interpolation: by which images were resized where the published accuracy was tested: "bilinear" or "bicubic".
    pixels: the published test size; None where nothing was published.
    """

    mean: Triple
    std: Triple
    interpolation: str = "bicubic"
    pixels: int | None = None

    def __post_init__(self) -> None:
        for field, values in (("mean", self.mean), ("std", self.std)):
            if type(values) is not tuple or len(values) != 3 or not all(map(_is_number, values)):
                raise InvalidSpec(f"Preprocessing.{field} must be three numbers, got {values!r}")
        if not all(0 < value < math.inf for value in self.std):
            raise InvalidSpec(f"Preprocessing.std must be above 0, got {self.std!r}")
        if self.interpolation not in INTERPOLATIONS:
            known = " or ".join(map(repr, INTERPOLATIONS))
            raise InvalidSpec(f"Preprocessing.interpolation must be {known}, got {self.interpolation!r}")
        if self.pixels is not None and (type(self.pixels) is not int or not 1 <= self.pixels <= _LARGEST_PIXELS):
            raise InvalidSpec(
                f"Preprocessing.pixels must be an integer from 1 to {_LARGEST_PIXELS:,} or None, got {self.pixels!r}"
            )

    @property
    def centre(self) -> Triple:
        """What is taken from a pixel from 0 to 255."""
        red, green, blue = self.mean
        return 255 * red, 255 * green, 255 * blue

    @property
    def scale(self) -> Triple:
        """What the rest is divided by."""
        red, green, blue = self.std
        return 255 * red, 255 * green, 255 * blue

    def sentence(self) -> str:
        """How to feed an image, in one line."""
        return f"RGB, float32, {_per_channel('pixel', self)} with pixels from 0 to 255"

    def to_dict(self) -> dict[str, Any]:
        """Of JSON types."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, data: object, where: str = "preprocessing") -> Self:
        """What `to_dict` gave; InvalidSpec names what is unknown, missing or out of range."""
        known = {field.name: field.name in ("mean", "std") for field in fields(cls)}
        data = checked(data, known, where)
        mean, std = (tuple(map(_as_float, listed(data[name], f"{where}.{name}"))) for name in ("mean", "std"))
        interpolation = text_of(data.get("interpolation", "bicubic"), f"{where}.interpolation")
        try:
            return cls(mean=mean, std=std, interpolation=interpolation, pixels=data.get("pixels"))  # type: ignore[arg-type]
        except InvalidSpec as error:
            raise InvalidSpec(f"{where}: {error}") from None


def _is_number(value: object) -> bool:
    return type(value) is float and math.isfinite(value)


def _as_float(value: object) -> object:
    return float(value) if type(value) is int else value


def _per_channel(pixel: str, how: Preprocessing) -> str:
    def text(values: Triple) -> str:
        shown = [f"{value:.5g}" for value in values]
        return shown[0] if len(set(values)) == 1 else f"({', '.join(shown)})"

    return f"({pixel} - {text(how.centre)}) / {text(how.scale)}"


OWN = Preprocessing(mean=(0.5, 0.5, 0.5), std=(64 / 255, 64 / 255, 64 / 255))
"""One fixed scale for all that is trained from scratch here, so that nothing of the images need be known."""
