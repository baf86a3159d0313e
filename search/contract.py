"""The latency contract of a search: which predictions are taken to be within the budget, and what is learnt meanwhile.

A table may be off by some percent for all networks alike. Networks that are measured during the search tell by how
much, and predictions are corrected by it.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from searchspace.latency.table import LatencyTable

_TINY = 1e-12


def corrected(table: LatencyTable, pairs: Sequence[tuple[float, float]]) -> LatencyTable:
    """The table after `pairs` of (predicted, measured) ms of networks.

    measured / predicted - 1 is taken as normal about a bias, and the bias as normal about 0, each with half the
    variance of the table's own error: the usual posterior, the variance about the bias counting for two networks.
    """
    if not pairs:
        return table
    prior, count = max(_TINY, table.relative_error**2 / 2), len(pairs)
    ratios = [measured / predicted - 1 for predicted, measured in pairs]
    mean = math.fsum(ratios) / count
    noise = (2 * prior + math.fsum((ratio - mean) ** 2 for ratio in ratios)) / (count + 1)
    weight = prior * count / (prior * count + noise)
    factor = 1 + weight * mean
    error = math.sqrt(noise + (1 - weight) * prior)
    own = table.correction
    return replace(
        table,
        correction=own._replace(scale=own.scale * factor, network_ms=own.network_ms * factor, relative_error=error),
    )


class Contract:
    """What predictions of `table` are held to, so that networks measure within `goal_ms` with `confidence`.

    Where even the fastest network of a space, predicted at `fastest_ms`, leaves less, predictions are held to the goal
    itself.
    """

    def __init__(
        self,
        table: LatencyTable,
        *,
        goal_ms: float,
        confidence: float,
        fastest_ms: float,
        known: Sequence[tuple[float, float]] = (),
    ) -> None:
        self._table, self._goal_ms, self._confidence, self._fastest_ms = table, goal_ms, confidence, fastest_ms
        self._pairs = [*known]

    def learn(self, predicted_ms: float, measured_ms: float) -> None:
        """Take a network into account that the table predicted at `predicted_ms`."""
        self._pairs.append((predicted_ms, measured_ms))

    @property
    def networks(self) -> int:
        """How many it has learnt from."""
        return len(self._pairs)

    @property
    def factor(self) -> float:
        """What networks are expected to measure, of what the table predicts."""
        return corrected(self._table, self._pairs).correction.scale / self._table.correction.scale

    @property
    def keeps(self) -> bool:
        """Whether any network of the space meets the goal with the confidence asked for."""
        return self._fastest_ms <= self._kept_ms

    @property
    def limit_ms(self) -> float:
        """The largest prediction of the table that a candidate may have."""
        return self._kept_ms if self.keeps else max(self._fastest_ms, self._goal_ms / max(1.0, self.factor))

    @property
    def first_ms(self) -> float:
        """The limit before anything was learnt."""
        found = self._table.limit_ms(self._goal_ms, self._confidence)
        return found if self._fastest_ms <= found else self._goal_ms

    @property
    def _kept_ms(self) -> float:
        return corrected(self._table, self._pairs).limit_ms(self._goal_ms, self._confidence) / self.factor
