"""A template grown or shrunk by compound scaling: by a phi, or to a target cost."""

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from scaling.formula import LARGEST_FACTOR, LARGEST_RESOLUTION, Coefficients, Factors
from searchspace.errors import InvalidArgument, InvalidSpec
from searchspace.spec import NetworkSpec
from searchspace.template import Template

BAND = 0.02  # a network grown to a target costs at most this share less
RESOLUTION_STEP = 8  # px; a network grown to a target takes a multiple of it
_PHI_PRECISION = 1e-3  # of the phi at which the formula's own network meets the target
_PHI_REACH = 1.5  # how far from that the phi of a dimension may be
_PLACES = 24  # on either side within that reach
_COST_DOUBT = 0.05  # how far a network's cost may be from its estimate, relative
_MOST_TRIED = 100

Cost = Callable[[NetworkSpec], float]


class Grown(NamedTuple):
    """A grown network, with the multipliers of its base that made it."""

    phi: float
    factors: Factors
    spec: NetworkSpec


def grow(template: Template, *, phi: float, coefficients: Coefficients, resolution_step: int = 1) -> Grown:
    """The template grown by the formula, its resolution rounded to a multiple of `resolution_step` px.

    Raises InvalidArgument for a phi out of bounds, one that leaves fewer pixels than the total stride, and one that
    leaves a layer less than half a channel.
    """
    return _Grower(template, coefficients, resolution_step).by_phi(phi)


def grow_to(
    template: Template,
    *,
    cost: Cost,
    target: float,
    coefficients: Coefficients,
    resolution_step: int = RESOLUTION_STEP,
    unit: Callable[[float], str] = "{:g}".format,
    one_way: bool = False,
) -> Grown:
    """A network that costs at most `target`, and at most 2 % less where layers, channels and resolution steps allow.

    The formula's cost jumps where a layer is added to every stage or eight channels to some. So near the phi at which
    it crosses the target, depth, width and resolution may each have a phi of their own: of the networks within 2 %
    below the target, the one whose three phis agree best is taken, else the most expensive below it. The phi of the
    result is where depth x width^2 x resolution^2 is the rule's; its factors give the network by `Template.expand`.

    Args:
        template: What grows.
        cost: Of a network, in the unit of `target`.
        target: The most that the network may cost.
        coefficients: The rule.
        resolution_step: The resolution is a multiple of this many pixels.
        unit: Writes a cost in errors.
        one_way: No dimension may shrink so that another grows further, even where that leaves more than 2 %.

    Raises:
        InvalidArgument: The target is below the smallest network's cost or beyond the largest one's.
    """
    grower = _Grower(template, coefficients, resolution_step)
    low, high = grower.phi_range()
    for end, sign, which in ((low, 1, "smallest"), (high, -1, "largest")):
        one = grower.by_phi(end)
        value = cost(one.spec)
        if sign * value > sign * target:
            raise InvalidArgument(
                f"the target must be within reach, got {unit(target)}: the {which} network of this base and rule "
                f"(phi = {end:.3g}, {one.spec.resolution} px) takes {unit(value)}; give another target or another base"
            )
    while high - low > _PHI_PRECISION:
        middle = (low + high) / 2
        low, high = (middle, high) if cost(grower.by_phi(middle).spec) <= target else (low, middle)
    best, best_cost = grower.by_phi(low), -math.inf
    for candidate in itertools.islice(grower.near(low, cost, target, one_way=one_way), _MOST_TRIED):
        value = cost(candidate.spec)
        if (1 - BAND) * target <= value <= target:
            return candidate
        if best_cost < value <= target:
            best, best_cost = candidate, value
    return best


def by_dimension(template: Template, grown: Grown) -> dict[str, Grown]:
    """What each dimension does alone: the base with only its layers, its channels or its pixels multiplied."""
    base = Factors(1.0, 1.0, template.resolution)
    alone = {name: base._replace(**{name: value}) for name, value in grown.factors._asdict().items()}
    return {name: Grown(grown.phi, factors, _expand(template, factors, grown.phi)) for name, factors in alone.items()}


class _Option(NamedTuple):
    """A multiplier (or the pixels) of one dimension.

    `share`: layers, channels or pixels that come of it, as a multiple of the base's. `phi`: where the formula has that
    multiple, None for a base of 1.
    """

    value: float
    share: float
    phi: float | None


@dataclass(frozen=True)
class _Grower:
    template: Template
    coefficients: Coefficients
    step: int  # px

    @cached_property
    def base(self) -> NetworkSpec:
        return self.template.expand()

    @cached_property
    def narrowest(self) -> tuple[str, int]:
        """The place and the output channels of the narrowest block."""
        widths = [(block.channels_after(0), place) for place, _, block in self.base.walk() if not block.is_head]
        channels, place = min(((c, place) for c, place in widths if c), default=(self.base.in_channels, "the input"))
        return place, channels

    def by_phi(self, phi: float) -> Grown:
        """See `grow`."""
        pixels = self.template.resolution
        factors = self.coefficients.factors(phi, base_resolution=pixels)
        if self.coefficients.gamma > 1:
            exact = pixels * self.coefficients.gamma**phi
            rounded = max(self.step, math.floor(exact / self.step + 0.5) * self.step)
            factors = factors._replace(resolution=min(rounded, self.most_pixels or rounded))
        if factors.resolution < self.base.total_stride:
            raise InvalidArgument(
                f"the resolution must be at least the network's total stride of {self.base.total_stride} px, but --phi "
                f"{phi:g} makes it {pixels} x {self.coefficients.gamma:g}^{phi:g} = {factors.resolution} px: give a "
                "larger --phi"
            )
        if factors.resolution > LARGEST_RESOLUTION:
            raise InvalidArgument(
                f"the resolution may be at most {LARGEST_RESOLUTION} px, but in steps of {self.step} px it becomes "
                f"{factors.resolution}: give a smaller --resolution-step or --phi"
            )
        place, channels = self.narrowest
        if channels * factors.width < 0.5:
            raise InvalidArgument(
                f"no layer may round to nothing, but --phi {phi:g} leaves {place}, of {channels} channels, "
                f"{channels} x {factors.width:.3g} = {channels * factors.width:.2g}: give a larger --phi"
            )
        return Grown(phi, factors, _expand(self.template, factors, phi))

    def phi_range(self) -> tuple[float, float]:
        """The phis between which `by_phi` makes a network."""
        least, most = self.fewest_pixels, LARGEST_RESOLUTION // self.step * self.step
        alpha, beta, gamma = self.coefficients.alpha, self.coefficients.beta, self.coefficients.gamma
        if gamma > 1 and least > most:
            raise InvalidArgument(
                f"a resolution must lie between this base's total stride of {self.base.total_stride} px and "
                f"{LARGEST_RESOLUTION} px, and no multiple of {self.step} px does: give a smaller --resolution-step"
            )
        pixels, smallest = self.template.resolution, 1 / LARGEST_FACTOR
        low, high = -math.inf, math.inf
        for base, lower, upper in (
            (alpha, smallest, LARGEST_FACTOR),
            (beta, max(smallest, 0.5 / self.narrowest[1]), LARGEST_FACTOR),
            (gamma, max(smallest, least / pixels), min(LARGEST_FACTOR, most / pixels)),
        ):
            if base > 1:
                low = max(low, math.log(min(1.0, lower)) / math.log(base))
                high = min(high, math.log(upper) / math.log(base))
        if not math.isfinite(high):
            raise InvalidArgument(
                "a target needs a dimension that grows, got alpha, beta and gamma of 1: give one of them more than 1"
            )
        # A hair inside, so that rounding does not carry an end out of bounds.
        return low + 1e-9 * abs(low), high - 1e-9 * abs(high)

    @cached_property
    def most_pixels(self) -> int | None:
        """The most pixels that the template grows to, in whole steps and not below its own; None: it has no limit."""
        most = self.template.largest_resolution
        return max(most // self.step * self.step, self.template.resolution) if most else None

    @cached_property
    def fewest_pixels(self) -> int:
        """The smallest multiple of the step that the network takes: its total stride, more with unpadded kernels."""
        size = -(-self.base.total_stride // self.step) * self.step
        while size < self.template.resolution:
            with suppress(InvalidSpec):
                return self.template.expand(resolution=size).resolution
            size += self.step
        return size

    def near(self, phi: float, cost: Cost, target: float, *, one_way: bool) -> Iterator[Grown]:
        """Networks near the formula's at `phi` that should cost about the target.

        Those whose three dimensions agree best on one phi come first. Those that shrink a dimension to grow another
        come last, or with `one_way` not at all. A network's cost is estimated: the formula's, times what changing
        each dimension alone does to that.
        """
        dimensions = self.options(phi)
        middle = tuple(min(options, key=lambda one: abs((one.phi or 0.0) - phi)) for options in dimensions)
        about = cost(self.by_options(middle).spec)
        # Not by the sign of phi: where one more layer a stage passes the target, phi stays a hair below 0.
        grows = target >= cost(self.base)
        relative = [
            {one: cost(self.by_options((*middle[:at], one, *middle[at + 1 :])).spec) / about for one in options}
            for at, options in enumerate(dimensions)
        ]
        wanted: dict[tuple[float, ...], tuple[_Option, ...]] = {}
        for options in sorted(
            itertools.product(*dimensions), key=lambda options: (_backwards(options, grows), _disagreement(options))
        ):
            if one_way and _backwards(options, grows):
                break  # so are all that follow
            changes = tuple(known[one] for known, one in zip(relative, options, strict=True))
            if abs(about * math.prod(changes) / ((1 - BAND / 2) * target) - 1) <= _COST_DOUBT:
                wanted.setdefault(changes, options)  # what changes no cost (pixels no parameters) is tried once
        return map(self.by_options, wanted.values())

    def by_options(self, options: tuple[_Option, ...]) -> Grown:
        depth, width, pixels = options
        factors = Factors(depth.value, width.value, int(pixels.value))
        cost_factor = depth.share * (width.share * pixels.share) ** 2
        phi = math.log(cost_factor) / math.log(self.coefficients.cost_factor)
        return Grown(phi, factors, _expand(self.template, factors, phi))

    def options(self, phi: float) -> tuple[list[_Option], ...]:
        """What depth, width and resolution may be within reach of the formula at `phi`."""
        phis = [phi + _PHI_REACH * place / _PLACES for place in range(-_PLACES, _PLACES + 1)]
        depths = _multipliers(self.coefficients.alpha, phis, self.layers)
        return depths, _multipliers(self.coefficients.beta, phis, float), self.pixels(phis)

    def layers(self, depth: float) -> float:
        """Layers at a depth multiplier as a multiple of the base's, in the stages that grow deeper."""
        growing = [index for index, stage in enumerate(self.template.stages) if stage.rows[-1].grows_deeper]
        deep = self.template.expand(depth=depth)
        layers, base = (sum(len(one.stages[index].blocks) for index in growing) for one in (deep, self.base))
        return layers / base if base else 1.0

    def pixels(self, phis: list[float]) -> list[_Option]:
        """Resolutions between the formula's at the least and the greatest phi, in steps, and the base's own."""
        base, gamma = self.template.resolution, self.coefficients.gamma
        if gamma == 1:
            return [_Option(base, 1.0, None)]
        first, last = base * gamma ** min(phis), base * gamma ** max(phis)
        multiples = range(math.ceil(first / self.step) * self.step, math.floor(last) + 1, self.step)
        most = self.most_pixels or LARGEST_RESOLUTION
        sizes = {base} | {size for size in multiples if self.fewest_pixels <= size <= most}
        return [_Option(size, size / base, math.log(size / base) / math.log(gamma)) for size in sorted(sizes)]


def _multipliers(base: float, phis: list[float], share: Callable[[float], float]) -> list[_Option]:
    """Powers of `base` that make different shares; 1 itself is always among them."""
    options = {1.0: _Option(1.0, 1.0, None if base == 1 else 0.0)}
    for phi in phis if base > 1 else ():
        found = share(base**phi)
        if found not in options:
            options[found] = _Option(round(base**phi, 12), found, math.log(found) / math.log(base))
    return list(options.values())


def _backwards(options: tuple[_Option, ...], grows: bool) -> int:
    """How many dimensions shrink in a growth, or grow where the network shrinks."""
    return sum(option.share < 1 if grows else option.share > 1 for option in options)


def _disagreement(options: tuple[_Option, ...]) -> float:
    """Between the largest and the smallest phi of the dimensions that grow."""
    phis = [option.phi for option in options if option.phi is not None]
    return max(phis) - min(phis)


def _expand(template: Template, factors: Factors, phi: float) -> NetworkSpec:
    """Raises InvalidArgument where the scaled rows do not fit together."""
    depth, width, resolution = factors
    name = f"{template.name}_phi{phi:.4g}"
    try:
        return template.expand(width=width, depth=depth, resolution=resolution, name=name)
    except InvalidSpec as error:
        raise InvalidArgument(
            f"--phi {phi:g} makes no network of {template.name}: {error}; give another --phi"
        ) from None
