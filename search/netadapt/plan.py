"""What a pruning is asked for, and which of its budgets are met."""

from collections.abc import Sequence
from dataclasses import dataclass

from search.budget import DEFAULT_CONFIDENCE, CostModel
from search.latency.measurement import TARGET_SHARE, Measurement
from search.netadapt.history import History
from searchspace.graph import Graph


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is asked for; the same from the first iteration to the last.

    Attributes:
        budgets: Falling, in the unit of `cost_model`.
        moves: What may be cut, of `search.netadapt.proposals.MOVES`.
        criterion: Which channels stay, one of `searchspace.channels.steps.CRITERIA`.
        by_ratio: Accept what loses the least accuracy for its reduction (MobileNetV3), else the most accurate.
        step: The first iteration's reduction as a share of the start's cost.
        decay: What the reduction is multiplied by from one iteration to the next.
        shortlist: Proposals of an iteration that are trained.
        trains: Whether any are.
        images: Validation images that accuracies are of.
        screen_images: The same before any training.
        seed: Of the short trainings, the iteration's number added.
        confidence: With which a network that is only predicted must measure within a budget; 0.5 takes predictions as
            they are.
    """

    cost_model: CostModel
    budgets: tuple[float, ...]
    moves: tuple[str, ...]
    criterion: str
    by_ratio: bool
    step: float
    decay: float
    shortlist: int
    trains: bool
    images: int
    screen_images: int
    seed: int
    confidence: float = DEFAULT_CONFIDENCE


class Targets:
    """Which of a plan's budgets are met, and what a network must come to for the next one.

    `measures`: networks are measured, so a budget itself is the limit; else what the table's error leaves of it.
    """

    def __init__(self, plan: Plan, history: History, *, measures: bool) -> None:
        self._plan, self._history, self._measures = plan, history, measures

    @property
    def left(self) -> list[float]:
        """The budgets that are not met, the largest first."""
        met = {budget for iteration in self._history.iterations for budget in iteration.reached}
        return [budget for budget in self._plan.budgets if budget not in met]

    def limit(self, budget: float, graph: Graph) -> float:
        """The largest cost within a budget.

        Where nothing is measured: the largest prediction whose network measures within it with the plan's confidence.
        `graph` says how sure predictions are, less so where more of its kernels are estimated.
        """
        table = self._plan.cost_model.table
        if self._measures or table is None:
            return budget
        found = table.predict(graph, 2 * self._plan.confidence - 1)
        return budget * found.latency_ms / found.high_ms

    def goal(self, graph: Graph) -> float:
        """What a network is to come to for the next budget."""
        return self.limit(self.left[0], graph) * (TARGET_SHARE if self._measures else 1)

    def met(
        self, budgets: Sequence[float], cost: float, measured: Measurement | None, graph: Graph
    ) -> tuple[float, ...]:
        """Those of `budgets` that the network of `graph` surely meets."""
        if measured is None:
            return tuple(budget for budget in budgets if cost <= self.limit(budget, graph))
        return tuple(budget for budget in budgets if measured.latency_upper_ms <= budget)
