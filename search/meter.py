"""What tells a search how long networks take: this device, or the table of another one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from search.latency import Measurement, measure, measure_modules
from search.latency.measure import Progress
from search.latency.runtimes import is_here
from searchspace.graph import lower
from searchspace.latency import LatencyTable
from searchspace.spec import NetworkSpec

if TYPE_CHECKING:
    from torch import nn


class Meter:
    """Networks measured on the table's device, if this is it (`measures`); else what the table says of them, as
    measurements of 0 rounds whose upper end is kept with a probability of `confidence`, by the table's own error."""

    def __init__(self, table: LatencyTable, confidence: float = 0.95) -> None:
        self.table, self._confidence = table, confidence
        self.measures = is_here(table.identity)

    def target_ms(self, budget_ms: float) -> float:
        """What a network must come to: the budget if it is measured, else the largest prediction whose network measures
        within the budget with the probability asked for."""
        return budget_ms if self.measures else self.table.limit_ms(budget_ms, self._confidence)

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
        ms = self.table.predict(lower(spec)).latency_ms
        low, high = self.table.interval_ms(ms, 2 * self._confidence - 1)
        return Measurement(latency_ms=ms, low_ms=low, high_ms=high, rounds=0, raw_median_ms=ms, noisy=False)
