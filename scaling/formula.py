"""Compound scaling's formula: how much deeper, wider and finer a network becomes for a coefficient phi."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from searchspace.errors import InvalidArgument
from searchspace.files import read_json

LARGEST_FACTOR = 100.0
LARGEST_RESOLUTION = 8192
USUAL_COST_FACTOR = (1.8, 2.2)  # of MACs for one step of phi; outside of these a warning is given
BASES = ("alpha", "beta", "gamma")


class Factors(NamedTuple):
    """Multipliers of layers and of channels, and the input size in pixels."""

    depth: float
    width: float
    resolution: int


@dataclass(frozen=True, slots=True)
class Coefficients:
    """The bases of the formula. The defaults are the paper's, from a grid search at phi = 1 on EfficientNet-B0.

    Source: EfficientNet, arXiv:1905.11946, equation 3: depth d = alpha^phi, width w = beta^phi, resolution
    r = gamma^phi, with alpha x beta^2 x gamma^2 close to 2 and alpha, beta, gamma >= 1. Raises InvalidArgument for
    a value below 1 or not finite.
    """

    alpha: float = 1.2
    beta: float = 1.1
    gamma: float = 1.15

    def __post_init__(self) -> None:
        for name in BASES:
            value = getattr(self, name)
            if not 1 <= value < math.inf:
                raise InvalidArgument(
                    f"--{name} must be a finite number of at least 1, got {value:g}: 1 leaves that dimension as it "
                    "is; to shrink a network give a negative --phi"
                )

    @property
    def cost_factor(self) -> float:
        """About what one step of phi multiplies MACs by, which go with depth x width^2 x resolution^2."""
        return self.alpha * (self.beta * self.gamma) ** 2

    def warning(self) -> str | None:
        """A sentence where a step of phi does not about double the MACs, as the paper's condition asks; else None."""
        low, high = USUAL_COST_FACTOR
        if low <= self.cost_factor <= high:
            return None
        return (
            f"alpha x beta^2 x gamma^2 is {self.cost_factor:.3g}, not close to 2 (arXiv:1905.11946, equation 3): "
            f"each step of phi multiplies MACs by about {self.cost_factor:.3g}"
        )

    def factors(self, phi: float, *, base_resolution: int) -> Factors:
        """Layers x alpha^phi, channels x beta^phi, and base_resolution x gamma^phi to the nearest pixel.

        phi may be any real number; a negative one shrinks. The paper states no rule for rounding the resolution, and
        the released factors follow none: the nearest pixel is taken. Raises InvalidArgument for a phi that is not
        finite, and for one that multiplies or divides a dimension by more than 100 or goes beyond 8192 pixels.
        """
        if not math.isfinite(phi):
            raise InvalidArgument(f"--phi must be a finite number, got {phi:g}: for example --phi 3")
        for name, what in zip(BASES, ("layers", "channels", "pixels"), strict=True):
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


class Rule(NamedTuple):
    """A way to share a growth among the dimensions: its bases, and what to say of it."""

    about: str
    source: str
    coefficients: Coefficients


def exponents(depth: float, width: float, resolution: float) -> Coefficients:
    """The bases of a rule that says which share of the cost each dimension takes. Shares sum to 1.

    Depth grows by 2^depth a step, width by sqrt(2)^width and resolution by sqrt(2)^resolution, so that MACs double.
    Source: arXiv:2103.06877, section 3 (their e_d, e_w, e_r).
    """
    return Coefficients(2.0**depth, 2.0 ** (width / 2), 2.0 ** (resolution / 2))


_FAST = 0.8  # arXiv:2103.06877, Table 4: "alpha = 0.8 results in an excellent tradeoff between speed and accuracy"
RULES: dict[str, Rule] = {
    "compound": Rule("all three, by the paper's grid search", "arXiv:1905.11946, section 3.3", Coefficients()),
    "uniform": Rule("all three, a third of the cost each", "arXiv:2103.06877, dwr", exponents(1 / 3, 1 / 3, 1 / 3)),
    "fast": Rule(
        "width most: few activations, so fast where memory is the limit",
        "arXiv:2103.06877, dWr, alpha = 0.8",
        exponents((1 - _FAST) / 2, _FAST, (1 - _FAST) / 2),
    ),
    "depth": Rule("layers only", "arXiv:1905.11946, figure 8", exponents(1, 0, 0)),
    "width": Rule("channels only", "arXiv:1905.11946, figure 8", exponents(0, 1, 0)),
    "resolution": Rule("pixels only", "arXiv:1905.11946, figure 8", exponents(0, 0, 1)),
}


def read_coefficients(path: Path) -> Coefficients:
    """The bases in a JSON file with alpha, beta and gamma, as `python -m scaling.coefficients fit` writes it.

    Raises StorageError for a file that cannot be read, InvalidArgument for one that holds no coefficients.
    """
    data = read_json(path)
    values: list[Any] = [data.get(name) for name in BASES] if isinstance(data, dict) else [None]
    if not all(type(value) in (int, float) for value in values):
        raise InvalidArgument(
            f"--coefficients must be a JSON file with the numbers alpha, beta and gamma, such as "
            f"{json.dumps(asdict(Coefficients()))}; {path} is not: write one with python -m scaling.coefficients fit"
        )
    try:
        return Coefficients(*map(float, values))
    except (OverflowError, InvalidArgument) as error:
        raise InvalidArgument(f"{path}: alpha, beta and gamma must be finite numbers of at least 1: {error}") from None
