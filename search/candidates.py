"""Candidates of a search: choices priced before anything is trained."""

from collections.abc import Callable
from typing import NamedTuple

from searchspace.cost import costs
from searchspace.errors import InfeasibleBudget
from searchspace.graph import Graph, lower
from searchspace.space import Choices, SearchSpace
from searchspace.spec import NetworkSpec


class Candidate(NamedTuple):
    """One point of the space with everything that is known without training."""

    choices: Choices
    spec: NetworkSpec
    fingerprint: str
    params: int
    macs: int
    latency_ms: float


class Pricer:
    """Prices choices of a space by a latency predictor; each choice set is worked out once."""

    def __init__(self, space: SearchSpace, latency_ms: Callable[[Graph], float]) -> None:
        self.space = space
        self._latency_ms = latency_ms
        self._known: dict[tuple[tuple[str, object], ...], Candidate] = {}

    def price(self, choices: Choices) -> Candidate:
        """The candidate that `choices` mean. Raises InvalidChoice or MissingLatency."""
        canonical = self.space.canonical(choices)
        key = tuple(canonical.items())
        if key not in self._known:
            spec = self.space.spec(canonical)
            graph = lower(spec)
            cost = costs(graph)
            self._known[key] = Candidate(
                canonical, spec, spec.fingerprint(), cost.params, cost.macs, self._latency_ms(graph)
            )
        return self._known[key]

    def fastest(self) -> Candidate:
        """The network with the lowest predicted latency: descent over neighbours from the smallest corner.

        Each step takes the best neighbour and there are finitely many, so it ends; with a latency that is a sum
        over kernels it ends at (or next to) the fastest of the space.
        """
        best = self.price(self.space.corner("smallest"))
        while True:
            nearest = min(map(self.price, self.space.neighbours(best.choices)), key=lambda c: c.latency_ms)
            if nearest.latency_ms >= best.latency_ms:
                return best
            best = nearest

    def check_budget(self, budget_ms: float) -> Candidate:
        """The fastest candidate; raises InfeasibleBudget, naming it, if even that is over the budget."""
        fastest = self.fastest()
        if fastest.latency_ms > budget_ms:
            raise InfeasibleBudget(
                f"no network of the space {self.space.name!r} meets a budget of {budget_ms:g} ms at "
                f"{self.space.resolution} px: the fastest one ({fastest.macs / 1e6:.0f} M MACs, fingerprint "
                f"{fastest.fingerprint}) is predicted at {fastest.latency_ms:.2f} ms. Raise --budget-ms above that, "
                f"lower --resolution, or widen the space (--space) towards fewer channels and layers"
            )
        return fastest
