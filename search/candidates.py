"""Candidates of a search: choices priced before anything is trained."""

from collections.abc import Callable
from typing import NamedTuple

from searchspace.cost import costs
from searchspace.errors import InfeasibleBudget
from searchspace.graph import Graph, lower
from searchspace.spaces.space import Choices, SearchSpace
from searchspace.spec import NetworkSpec


class Candidate(NamedTuple):
    """One point of the space with everything that is known without training. `held_ms` is what is held to a budget: the
    latency, or more where that is uncertain."""

    choices: Choices
    spec: NetworkSpec
    fingerprint: str
    params: int
    macs: int
    latency_ms: float
    held_ms: float


class Pricer:
    """Prices choices of a space by a latency predictor; each choice set is worked out once.

    held_ms: of networks, in ms, what is held to budgets (default: the latency).
    """

    def __init__(
        self,
        space: SearchSpace,
        latency_ms: Callable[[Graph], float],
        *,
        held_ms: Callable[[Graph], float] | None = None,
    ) -> None:
        self.space = space
        self._latency_ms, self._held_ms = latency_ms, held_ms
        self._known: dict[tuple[tuple[str, object], ...], Candidate] = {}

    def price(self, choices: Choices) -> Candidate:
        """The candidate that `choices` mean. Raises InvalidChoice or MissingLatency."""
        canonical = self.space.canonical(choices)
        key = tuple(canonical.items())
        if key not in self._known:
            spec = self.space.spec(canonical)
            graph = lower(spec)
            cost, latency_ms = costs(graph), self._latency_ms(graph)
            held_ms = self._held_ms(graph) if self._held_ms else latency_ms
            self._known[key] = Candidate(
                canonical, spec, spec.fingerprint(), cost.params, cost.macs, latency_ms, held_ms
            )
        return self._known[key]

    def fastest(self) -> Candidate:
        """The network with the lowest latency, as it is held to budgets: descent over neighbours from the smallest
        corner.

        Each step takes the best neighbour and there are finitely many, so it ends; with a latency that is a sum
        over kernels it ends at (or next to) the fastest of the space.
        """
        best = self.price(self.space.corner("smallest"))
        while True:
            nearest = min(map(self.price, self.space.neighbours(best.choices)), key=lambda c: c.held_ms)
            if nearest.held_ms >= best.held_ms:
                return best
            best = nearest

    def check_budget(self, budget_ms: float) -> Candidate:
        """The fastest candidate; raises InfeasibleBudget, naming it, if even that is over the budget."""
        fastest = self.fastest()
        if fastest.held_ms > budget_ms:
            surely = (
                "" if fastest.latency_ms > budget_ms else f" and, by estimated kernels, counts {fastest.held_ms:.2f}"
            )
            raise InfeasibleBudget(
                f"no network of the space {self.space.name!r} meets a budget of {budget_ms:g} ms at "
                f"{self.space.resolution} px: the fastest one ({fastest.macs / 1e6:.0f} M MACs, fingerprint "
                f"{fastest.fingerprint}) is predicted at {fastest.latency_ms:.2f} ms{surely}. Raise --budget-ms above "
                f"that, lower --resolution, or widen the space (--space) towards fewer channels and layers"
            )
        return fastest
