"""What tells a search how long networks take: this device, or the table of another one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from search.latency import Measurement, measure, measure_modules
from search.latency.measure import Progress
from search.latency.runtimes import is_here
from searchspace.latency.table import LatencyTable
from searchspace.spec import NetworkSpec

if TYPE_CHECKING:
    from torch import nn


class Meter:
    """Networks measured on the table's device, if this is it (`measures`); else what the table says of them, as
    measurements of 0 rounds whose upper end is kept with a probability of `confidence`, by the errors of the table and
    of what it estimates."""

    def __init__(self, table: LatencyTable, confidence: float = 0.95) -> None:
        self.table, self.confidence = table, confidence
        self.measures = is_here(table.identity)

    def target_ms(self, budget_ms: float) -> float:
        """What a network must come to: the budget if it is measured, else the largest prediction whose network measures
        within the budget with the probability asked for."""
        return budget_ms if self.measures else self.table.limit_ms(budget_ms, self.confidence)

    def keeps(self, found: Measurement, budget_ms: float) -> bool:
        """Whether a network is within the budget: measured so, or predicted so with the probability asked for."""
        return self.held_ms(found) <= budget_ms

    def held_ms(self, found: Measurement) -> float:
        """What is held to a budget."""
        return found.latency_ms if self.measures else found.high_ms

    def over(self, found: Measurement, budget_ms: float) -> float:
        """How many times a budget a network takes that is not trained yet: above 1 it is to be pruned, since another
        measurement may say that it is over the budget."""
        return (found.surely_ms if self.measures else found.high_ms) / budget_ms

    def networks(
        self, specs: Sequence[NetworkSpec], *, seconds: float = 6.0, progress: Progress | None = None
    ) -> list[Measurement]:
        """Fresh networks, in one interleaved run."""
        if not self.measures:
            return [self._predicted(spec) for spec in specs]
        return measure(specs, table=self.table, seconds=seconds, progress=progress)

    def modules(self, modules: "Sequence[nn.Module]", specs: Sequence[NetworkSpec]) -> list[Measurement]:
        """Trained modules of `specs`."""
        if not self.measures:
            return [self._predicted(spec) for spec in specs]
        return measure_modules(modules, specs, table=self.table)

    def _predicted(self, spec: NetworkSpec) -> Measurement:
        ms, low, high, _ = self.table.predict(spec, 2 * self.confidence - 1)
        return Measurement(latency_ms=ms, low_ms=low, high_ms=high, rounds=0, raw_median_ms=ms, noisy=False)
