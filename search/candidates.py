"""Candidates of a search: points of the search space with everything that is known before training."""

import math
from contextlib import suppress
from typing import NamedTuple

from search.budget import DEFAULT_CONFIDENCE, CostModel
from search.sizes import NO_LIMITS, SizeLimits, Sizes, sizes_of
from searchspace import zoo
from searchspace.cost import costs
from searchspace.errors import InfeasibleBudget, InvalidChoice
from searchspace.graph import lower
from searchspace.spaces.encode import encode
from searchspace.spaces.mnasnet import KNOWN
from searchspace.spaces.space import RESOLUTION, Choices, SearchSpace
from searchspace.spec import NetworkSpec


class Candidate(NamedTuple):
    """One point of the space, or a published network (without choices), priced.

    latency_ms: the table's prediction. latency_upper_ms: the same, or more where kernels are estimated; it is compared
    with `LatencyBudget.prediction_limit_ms`. sizes: what it takes as it is deployed.
    """

    choices: Choices
    spec: NetworkSpec
    fingerprint: str
    params: int
    macs: int
    latency_ms: float
    latency_upper_ms: float
    sizes: Sizes


class PricedSpace:
    """A search space whose points are priced by a cost model, each worked out once.

    limits: on what networks take beside time, a value of weights and activations having `value_bytes` bytes.
    """

    def __init__(
        self,
        space: SearchSpace,
        cost_model: CostModel,
        *,
        confidence: float = DEFAULT_CONFIDENCE,
        limits: SizeLimits = NO_LIMITS,
        value_bytes: int = 4,
    ) -> None:
        self.space, self.limits, self._value_bytes = space, limits, value_bytes
        self._cost_model, self._confidence = cost_model, confidence
        self._known: dict[tuple[tuple[str, object], ...] | str, Candidate] = {}

    def price(self, choices: Choices) -> Candidate:
        """The candidate that `choices` mean. Raises InvalidChoice or MissingLatency."""
        canonical = self.space.canonical(choices)
        key = tuple(canonical.items())
        if key not in self._known:
            self._known[key] = self._priced(canonical, self.space.spec(canonical))
        return self._known[key]

    def price_spec(self, spec: NetworkSpec) -> Candidate:
        """A network that need be no point of the space, priced; without choices. Raises MissingLatency."""
        key = spec.fingerprint()
        if key not in self._known:
            self._known[key] = self._priced({}, spec)
        return self._known[key]

    def counted_ms(self, spec: NetworkSpec) -> float:
        """What a network counts against a limit in ms; infinite over a size limit. Raises MissingLatency."""
        candidate = self.price_spec(spec)
        return candidate.latency_upper_ms if self.limits.share(candidate.sizes) <= 1 else math.inf

    def is_within(self, spec: NetworkSpec, limit_ms: float) -> bool:
        """Whether a network counts at most `limit_ms` and keeps the limits; worked out anew each time."""
        graph = lower(spec)
        keeps = not self.limits.given or self.limits.share(sizes_of(graph, self._value_bytes)) <= 1
        return keeps and self._cost_model.cost_and_upper(graph, self._confidence)[1] <= limit_ms

    def share(self, candidate: Candidate, limit_ms: float) -> float:
        """The largest share of `limit_ms` and of the size limits that a candidate takes: up to 1 within all of them."""
        return max(candidate.latency_upper_ms / limit_ms, self.limits.share(candidate.sizes))

    def _priced(self, choices: Choices, spec: NetworkSpec) -> Candidate:
        graph = lower(spec)
        cost = costs(graph)
        latency_ms, upper_ms = self._cost_model.cost_and_upper(graph, self._confidence)
        sizes = sizes_of(graph, self._value_bytes)
        return Candidate(choices, spec, spec.fingerprint(), cost.params, cost.macs, latency_ms, upper_ms, sizes)

    def fastest(self) -> Candidate:
        """The network with the lowest latency of those that keep the limits, by descent over neighbours.

        It starts from the smallest corner, or where that is over a limit from what is nearest to the limits. Each step
        takes the best neighbour and there are finitely many, so it ends; with a latency that is a sum over kernels it
        ends at (or next to) the fastest of the space. Where nothing keeps the limits it gives what is nearest to them.
        """
        return self._fastest(self.limits)

    def _fastest(self, limits: SizeLimits) -> Candidate:
        best = self.price(self.space.corner("smallest"))
        while True:
            around = map(self.price, self.space.neighbours(best.choices))
            nearest = min(around, key=lambda c: _by_limits(c, limits), default=best)
            if _by_limits(nearest, limits) >= _by_limits(best, limits):
                return best
            best = nearest

    def fastest_within(self, limit_ms: float) -> Candidate:
        """The fastest candidate. Raises InfeasibleBudget, naming it, if even that is over a limit.

        Of limits that exclude each other the fewest are named.
        """
        fastest = self.fastest()
        if self.share(fastest, limit_ms) <= 1:
            return fastest
        free = self._fastest(NO_LIMITS) if self.limits.given else fastest
        if free.latency_upper_ms > limit_ms:
            upper_ms = free.latency_upper_ms
            surely = "" if free.latency_ms > limit_ms else f" and, by estimated kernels, counts {upper_ms:.2f}"
            raise InfeasibleBudget(
                f"no network of the space {self.space.name!r} meets a budget of {limit_ms:g} ms at "
                f"{free.spec.resolution} px: the fastest one ({free.macs / 1e6:.0f} M MACs, fingerprint "
                f"{free.fingerprint}) is predicted at {free.latency_ms:.2f} ms{surely}. Raise the budget above "
                f"that, lower --resolution, or widen the space (--space) towards fewer channels and layers"
            )
        raise InfeasibleBudget(self._excluded(limit_ms))

    def _excluded(self, limit_ms: float) -> str:
        """Which limits no network keeps together."""
        for part in self.limits.parts():
            nearest = self._fastest(part)
            takes = f"{part.text(nearest.sizes)} at {nearest.latency_ms:.2f} ms, fingerprint {nearest.fingerprint}"
            if part.share(nearest.sizes) > 1:
                is_one = len(part.given) == 1
                what = f"meets {part.text()}" if is_one else f"keeps {part.text()} together: these exclude each other"
                break
            if nearest.latency_upper_ms > limit_ms:
                what = f"keeps {part.text()} and --budget-ms {limit_ms:g} together: these exclude each other"
                break
        return (
            f"no network of the space {self.space.name!r} at {nearest.spec.resolution} px {what}; the nearest found is "
            f"{takes}. Raise one of these, lower --resolution, or widen the space (--space) towards fewer channels"
        )


def _by_limits(candidate: Candidate, limits: SizeLimits) -> tuple[float, float]:
    """The lower the nearer to the limits, and within them the faster."""
    return max(1.0, limits.share(candidate.sizes)), candidate.latency_upper_ms


def starting_points(space: SearchSpace) -> list[Choices]:
    """The known and the published networks that are points of the space, each once, at its largest input size."""
    parameters = space.parameters()
    at_largest: Choices = {RESOLUTION: space.resolution} if RESOLUTION in parameters else {}
    inside = [
        space.canonical(choices | at_largest)
        for choices in KNOWN.values()
        if all(value in parameters.get(key, ()) for key, value in choices.items())
    ]
    for name in zoo.names():
        with suppress(InvalidChoice):
            inside.append(encode(space, zoo.get(name).with_resolution(space.resolution)))
    return list({space.spec(choices).fingerprint(): choices for choices in reversed(inside)}.values())[::-1]
