"""A template grown (or shrunk) by compound scaling: for a phi, or to what a budget allows."""

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

from scaling.coefficients import LARGEST_FACTOR, LARGEST_RESOLUTION, Coefficients, Factors
from searchspace.errors import InvalidArgument, InvalidSpec
from searchspace.spec import NetworkSpec
from searchspace.template import Template

BAND = 0.02  # a network grown to a target costs at most this share less
RESOLUTION_STEP = 8  # px; what a network grown to a target takes multiples of
_FINEST = 1e-3  # in phi: how closely the formula's own solution is sought
_REACH = 1.5  # in phi: how far a dimension may be from that
_PLACES = 24  # on either side within that reach
_DOUBT = 0.05  # how far a network may cost from what it should
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
    factors = coefficients.factors(phi, base_resolution=template.resolution)
    base = template.expand()
    factors = factors._replace(resolution=_resolution(template, coefficients, phi, resolution_step))
    if factors.resolution < base.total_stride:
        raise InvalidArgument(
            f"the resolution must be at least the network's total stride of {base.total_stride} px, but --phi {phi:g} "
            f"makes it {template.resolution} x {coefficients.gamma:g}^{phi:g} = {factors.resolution} px: give a "
            "larger --phi"
        )
    if factors.resolution > LARGEST_RESOLUTION:
        raise InvalidArgument(
            f"the resolution may be at most {LARGEST_RESOLUTION} px, but in steps of {resolution_step} px it becomes "
            f"{factors.resolution}: give a smaller --resolution-step or --phi"
        )
    place, narrowest = _narrowest(base)
    if narrowest * factors.width < 0.5:
        raise InvalidArgument(
            f"no layer may round to nothing, but --phi {phi:g} leaves {place}, of {narrowest} channels, "
            f"{narrowest} x {factors.width:.3g} = {narrowest * factors.width:.2g}: give a larger --phi"
        )
    return Grown(phi, factors, _expand(template, factors, phi))


def _resolution(template: Template, coefficients: Coefficients, phi: float, step: int) -> int:
    """The formula's resolution to the nearest step; a rule that leaves the pixels alone leaves them as they are."""
    if coefficients.gamma == 1:
        return template.resolution
    exact: float = template.resolution * coefficients.gamma**phi
    return max(step, math.floor(exact / step + 0.5) * step)


def _expand(template: Template, factors: Factors, phi: float) -> NetworkSpec:
    """Raises InvalidArgument where the scaled rows do not fit together."""
    try:
        return template.expand(
            width=factors.width,
            depth=factors.depth,
            resolution=factors.resolution,
            name=f"{template.name}_phi{phi:.4g}",
        )
    except InvalidSpec as error:
        raise InvalidArgument(
            f"--phi {phi:g} makes no network of {template.name}: {error}; give another --phi"
        ) from None


def _narrowest(spec: NetworkSpec) -> tuple[str, int]:
    """The place and the output channels of the narrowest block."""
    widths = [(block.channels_after(0), place) for place, _, block in spec.walk() if not block.is_head]
    channels, place = min(((c, place) for c, place in widths if c), default=(spec.in_channels, "the input"))
    return place, channels


def by_dimension(template: Template, grown: Grown) -> dict[str, Grown]:
    """What each dimension does alone: the base with only its layers, its channels or its pixels multiplied."""
    depth, width, resolution = grown.factors
    alone = {
        "depth": Factors(depth, 1.0, template.resolution),
        "width": Factors(1.0, width, template.resolution),
        "resolution": Factors(1.0, 1.0, resolution),
    }
    return {name: Grown(grown.phi, own, _expand(template, own, grown.phi)) for name, own in alone.items()}


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
    it crosses the target, depth, width and resolution may each be those of a phi of their own: of the networks within 2
    % below the target, the one whose three agree best is taken, else the most expensive below it. The phi of the
    result is where depth x width^2 x resolution^2 is the rule's; its factors give the network by `Template.expand`.
    `one_way`: no dimension may shrink so that another grows further, even where that leaves more than 2 %.
    `unit` writes a cost in errors. Raises InvalidArgument for a target below the smallest network's cost or beyond
    the largest one's.
    """

    def network(phi: float) -> Grown:
        return grow(template, phi=phi, coefficients=coefficients, resolution_step=resolution_step)

    low, high = _range(template, coefficients, resolution_step)
    for end, sign, which in ((low, 1, "smallest"), (high, -1, "largest")):
        one = network(end)
        value = cost(one.spec)
        if sign * value > sign * target:
            raise InvalidArgument(
                f"the target must be within reach, got {unit(target)}: the {which} network of this base and rule "
                f"(phi = {end:.3g}, {one.spec.resolution} px) takes {unit(value)}; give another target or another base"
            )
    while high - low > _FINEST:
        middle = (low + high) / 2
        low, high = (middle, high) if cost(network(middle).spec) <= target else (low, middle)
    best, best_cost = network(low), -math.inf
    near = _near(template, low, coefficients, resolution_step, cost, target, one_way=one_way)
    for candidate in itertools.islice(near, _MOST_TRIED):
        value = cost(candidate.spec)
        if (1 - BAND) * target <= value <= target:
            return candidate
        if best_cost < value <= target:
            best, best_cost = candidate, value
    return best


def _range(template: Template, coefficients: Coefficients, resolution_step: int) -> tuple[float, float]:
    """The phis between which `grow` makes a network."""
    base = template.expand()
    least = _fewest_pixels(template, resolution_step)
    _, narrowest = _narrowest(base)
    most = LARGEST_RESOLUTION // resolution_step * resolution_step
    if coefficients.gamma > 1 and least > most:
        raise InvalidArgument(
            f"a resolution must lie between this base's total stride of {base.total_stride} px and "
            f"{LARGEST_RESOLUTION} px, and no multiple of {resolution_step} px does: give a smaller --resolution-step"
        )
    low, high = -math.inf, math.inf
    for value, smallest, largest in (
        (coefficients.alpha, 1 / LARGEST_FACTOR, LARGEST_FACTOR),
        (coefficients.beta, max(1 / LARGEST_FACTOR, 0.5 / narrowest), LARGEST_FACTOR),
        (
            coefficients.gamma,
            max(1 / LARGEST_FACTOR, least / template.resolution),
            min(LARGEST_FACTOR, most / template.resolution),
        ),
    ):
        if value > 1:
            low = max(low, math.log(min(1.0, smallest)) / math.log(value))
            high = min(high, math.log(largest) / math.log(value))
    if not math.isfinite(high):
        raise InvalidArgument(
            "a target needs a dimension that grows, got alpha, beta and gamma of 1: give one of them more than 1"
        )
    # A hair inside, so that rounding does not carry an end out of bounds.
    return low + 1e-9 * abs(low), high - 1e-9 * abs(high)


class _Option(NamedTuple):
    """A multiplier (or the pixels) of one dimension, and by how much it multiplies: layers, channels or pixels that
    come of it, as a share of the base's. `phi`: where the formula has that share, None for a base of 1."""

    value: float
    share: float
    phi: float | None


def _fewest_pixels(template: Template, step: int) -> int:
    """The smallest multiple of `step` px that the network takes: its total stride, more with unpadded kernels."""
    size = -(-template.expand().total_stride // step) * step
    while size < template.resolution:
        with suppress(InvalidSpec):
            return template.expand(resolution=size).resolution
        size += step
    return size


def _near(
    template: Template, phi: float, coefficients: Coefficients, step: int, cost: Cost, target: float, *, one_way: bool
) -> Iterator[Grown]:
    """Networks near the formula's at `phi` that should cost about the target, those first whose three dimensions agree
    best on one phi; those that shrink a dimension to grow another come last, or with `one_way` not at all.

    What a network should cost: the formula's, times what changing each dimension alone does to that.
    """
    phis = [phi + _REACH * place / _PLACES for place in range(-_PLACES, _PLACES + 1)]
    dimensions = (
        _multipliers(coefficients.alpha, phis, lambda value: _layers(template, template.expand(depth=value))),
        _multipliers(coefficients.beta, phis, lambda value: value),
        _pixels(template, coefficients, phis, step),
    )
    middle = tuple(min(options, key=lambda one: abs((one.phi or 0.0) - phi)) for options in dimensions)

    def grown(options: tuple[_Option, ...]) -> Grown:
        depth, width, pixels = options
        factors = Factors(depth.value, width.value, int(pixels.value))
        own = math.log(depth.share * (width.share * pixels.share) ** 2) / math.log(coefficients.cost_factor)
        return Grown(own, factors, _expand(template, factors, own))

    about = cost(grown(middle).spec)
    # Not by the sign of phi: where one more layer a stage passes the target, phi stays a hair below 0.
    grows = target >= cost(template.expand())
    relative = [
        {one: cost(grown((*middle[:place], one, *middle[place + 1 :])).spec) / about for one in options}
        for place, options in enumerate(dimensions)
    ]
    wanted: dict[tuple[float, ...], tuple[_Option, ...]] = {}
    for options in sorted(
        itertools.product(*dimensions), key=lambda options: (_backwards(options, grows), _disagreement(options))
    ):
        if one_way and _backwards(options, grows):
            break  # so are all that follow
        changes = tuple(known[one] for known, one in zip(relative, options, strict=True))
        if abs(about * math.prod(changes) / ((1 - BAND / 2) * target) - 1) <= _DOUBT:
            wanted.setdefault(changes, options)  # what changes no cost (pixels no parameters) is tried once
    return map(grown, wanted.values())


def _multipliers(base: float, phis: list[float], share: Callable[[float], float]) -> list[_Option]:
    """Powers of `base` that make different shares; 1 itself is always among them."""
    options = {1.0: _Option(1.0, 1.0, None if base == 1 else 0.0)}
    for phi in phis if base > 1 else ():
        value = base**phi
        found = share(value)
        if found not in options:
            options[found] = _Option(round(value, 12), found, math.log(found) / math.log(base))
    return list(options.values())


def _layers(template: Template, spec: NetworkSpec) -> float:
    """Layers of a depth-scaled network as a share of the template's own, in the stages that grow deeper."""
    growing = [index for index, stage in enumerate(template.stages) if stage.rows[-1].grows_deeper]
    own, base = (sum(len(one.stages[index].blocks) for index in growing) for one in (spec, template.expand()))
    return own / base if base else 1.0


def _pixels(template: Template, coefficients: Coefficients, phis: list[float], step: int) -> list[_Option]:
    """Resolutions between the formula's at the least and the greatest phi, in steps, and the template's own."""
    base, gamma = template.resolution, coefficients.gamma
    sizes = {base}
    if gamma > 1:
        ends = (base * gamma ** min(phis), base * gamma ** max(phis))
        multiples = range(math.ceil(ends[0] / step) * step, math.floor(ends[1]) + 1, step)
        least = _fewest_pixels(template, step)
        sizes |= {size for size in multiples if least <= size <= LARGEST_RESOLUTION}
    log = math.log(gamma) or math.nan
    return [_Option(size, size / base, None if gamma == 1 else math.log(size / base) / log) for size in sorted(sizes)]


def _backwards(options: tuple[_Option, ...], grows: bool) -> int:
    """How many dimensions shrink in a growth, or grow where the network shrinks."""
    return sum(option.share < 1 if grows else option.share > 1 for option in options)


def _disagreement(options: tuple[_Option, ...]) -> float:
    """Between the largest and the smallest phi of the dimensions that grow."""
    phis = [option.phi for option in options if option.phi is not None]
    return max(phis) - min(phis)
