"""Candidates of a search: points of the search space with everything that is known before training."""

from contextlib import suppress
from typing import NamedTuple

from search.budget import DEFAULT_CONFIDENCE, CostModel
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
    with `LatencyBudget.prediction_limit_ms`.
    """

    choices: Choices
    spec: NetworkSpec
    fingerprint: str
    params: int
    macs: int
    latency_ms: float
    latency_upper_ms: float


class PricedSpace:
    """A search space whose points are priced by a cost model, each worked out once."""

    def __init__(self, space: SearchSpace, cost_model: CostModel, *, confidence: float = DEFAULT_CONFIDENCE) -> None:
        self.space = space
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

    def upper_ms(self, spec: NetworkSpec) -> float:
        """`Candidate.latency_upper_ms` of a network, worked out anew each time."""
        return self._cost_model.cost_and_upper(lower(spec), self._confidence)[1]

    def _priced(self, choices: Choices, spec: NetworkSpec) -> Candidate:
        graph = lower(spec)
        cost = costs(graph)
        latency_ms, upper_ms = self._cost_model.cost_and_upper(graph, self._confidence)
        return Candidate(choices, spec, spec.fingerprint(), cost.params, cost.macs, latency_ms, upper_ms)

    def fastest(self) -> Candidate:
        """The network with the lowest latency, by descent over neighbours from the smallest corner.

        Each step takes the best neighbour and there are finitely many, so it ends; with a latency that is a sum
        over kernels it ends at (or next to) the fastest of the space.
        """
        best = self.price(self.space.corner("smallest"))
        while True:
            around = map(self.price, self.space.neighbours(best.choices))
            nearest = min(around, key=lambda c: c.latency_upper_ms, default=best)
            if nearest.latency_upper_ms >= best.latency_upper_ms:
                return best
            best = nearest

    def fastest_within(self, limit_ms: float) -> Candidate:
        """The fastest candidate. Raises InfeasibleBudget, naming it, if even that is over the limit."""
        fastest = self.fastest()
        upper_ms = fastest.latency_upper_ms
        if upper_ms > limit_ms:
            surely = "" if fastest.latency_ms > limit_ms else f" and, by estimated kernels, counts {upper_ms:.2f}"
            raise InfeasibleBudget(
                f"no network of the space {self.space.name!r} meets a budget of {limit_ms:g} ms at "
                f"{fastest.spec.resolution} px: the fastest one ({fastest.macs / 1e6:.0f} M MACs, fingerprint "
                f"{fastest.fingerprint}) is predicted at {fastest.latency_ms:.2f} ms{surely}. Raise --budget-ms above "
                f"that, lower --resolution, or widen the space (--space) towards fewer channels and layers"
            )
        return fastest


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
