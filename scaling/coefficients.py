"""Compound scaling's formula: how much deeper, wider and finer a network becomes for a coefficient phi."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from searchspace.errors import InvalidArgument

LARGEST_FACTOR = 100.0
LARGEST_RESOLUTION = 8192
# A step of phi multiplies MACs by about alpha x beta^2 x gamma^2; further than this from 2 is worth a word.
USUAL_COST_FACTOR = (1.8, 2.2)


class Factors(NamedTuple):
    """Multipliers of layers and of channels, and the input size in pixels."""

    depth: float
    width: float
    resolution: int


@dataclass(frozen=True, slots=True)
class Coefficients:
    """The bases of the formula, found by the paper with a grid search at phi = 1 on EfficientNet-B0.

    Source: EfficientNet, arXiv:1905.11946, equation 3: depth d = alpha^phi, width w = beta^phi, resolution
    r = gamma^phi, with alpha x beta^2 x gamma^2 close to 2 and alpha, beta, gamma >= 1. Raises InvalidArgument for
    a value below 1 or not finite.
    """

    alpha: float = 1.2
    beta: float = 1.1
    gamma: float = 1.15

    def __post_init__(self) -> None:
        for name in ("alpha", "beta", "gamma"):
            value = getattr(self, name)
            if not 1 <= value < math.inf:
                raise InvalidArgument(
                    f"--{name} must be a finite number of at least 1, got {value:g}: 1 leaves that dimension as it "
                    "is; to shrink a network give a negative --phi"
                )

    @property
    def cost_factor(self) -> float:
        """alpha x beta^2 x gamma^2: MACs of one step of phi, about, since MACs go with depth x width^2 x size^2."""
        return self.alpha * (self.beta * self.gamma) ** 2

    def warning(self) -> str | None:
        """What to know if a step of phi does not about double the MACs, as the paper's condition asks."""
        low, high = USUAL_COST_FACTOR
        if low <= self.cost_factor <= high:
            return None
        return (
            f"alpha x beta^2 x gamma^2 is {self.cost_factor:.3g}, not close to 2 (arXiv:1905.11946, equation 3): "
            f"each step of phi multiplies MACs by about {self.cost_factor:.3g}"
        )

    def factors(self, phi: float, *, base_resolution: int) -> Factors:
        """depth = alpha^phi, width = beta^phi, resolution = base_resolution x gamma^phi to the nearest pixel.

        phi may be any real number; a negative one shrinks. The paper states no rule for rounding the resolution, and
        the released factors follow none: the nearest pixel is taken. Raises InvalidArgument for a phi that is not
        finite, and for one that multiplies or divides a dimension by more than 100 or goes beyond 8192 pixels.
        """
        if not math.isfinite(phi):
            raise InvalidArgument(f"--phi must be a finite number, got {phi:g}: for example --phi 3")
        for name, what in (("alpha", "layers"), ("beta", "channels"), ("gamma", "pixels")):
            base = getattr(self, name)
            if abs(phi) * math.log(base) > math.log(LARGEST_FACTOR):
                most = math.log(LARGEST_FACTOR) / math.log(base)
                raise InvalidArgument(
                    f"{what} may grow or shrink by {LARGEST_FACTOR:g} times at most, got --phi {phi:g} with --{name} "
                    f"{base:g} ({base:g}^{phi:g}): give a phi from {-most:.3g} to {most:.3g}"
                )
        depth, width, scale = (round(base**phi, 12) for base in (self.alpha, self.beta, self.gamma))
        if base_resolution > LARGEST_RESOLUTION / scale:
            raise InvalidArgument(
                f"the resolution may be at most {LARGEST_RESOLUTION} px, but --phi {phi:g} makes it "
                f"{base_resolution} x {self.gamma:g}^{phi:g} px: give a smaller --phi or --gamma, or a network for "
                "smaller images"
            )
        return Factors(depth, width, math.floor(base_resolution * scale + 0.5))
