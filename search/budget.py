"""The latency budget of a search: `CostModel` prices networks, `LatencyBudget` says which of them are within it.

`--budget-ms` becomes `LatencyBudget.limit_ms` in `search.pipeline`. Before training, candidates are compared with
`prediction_limit_ms`; networks that are measured meanwhile correct it. At the end `within` is the
verdict on the winner.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from search.device import Device
from searchspace.channels.groups import ChannelGroup
from searchspace.channels.steps import narrowed_layers
from searchspace.cost import costs, layer_params_macs
from searchspace.errors import InfeasibleBudget, InvalidArgument
from searchspace.graph import Graph, Layer, Signature
from searchspace.latency.table import LatencyTable, Prediction
from searchspace.spec import NetworkSpec

if TYPE_CHECKING:
    from torch import nn

    from search.latency.measurement import Measurement, Progress

UNITS = ("ms", "macs", "params")
DEFAULT_CONFIDENCE = 0.95  # probability with which a network that is only predicted is within the budget
_TINY = 1e-12


@dataclass(frozen=True)
class CostModel:
    """What networks cost in `unit`, one of UNITS, as they are deployed: a sum over layers. "ms" needs a latency table.

    Raises MissingLatency for a layer of a kind that the table has no kernel of.
    """

    unit: str
    table: LatencyTable | None = None
    _layer_ms: dict[Signature, float] = field(default_factory=dict, init=False, repr=False, compare=False)

    def cost(self, graph: Graph) -> float:
        """The network's cost; ms are predicted by the table, MACs and parameters are counted."""
        if self.unit == "params":
            whole = graph._replace(layers=tuple(layer.deployed for layer in graph.layers))
            return costs(whole).params  # shared weights count once
        constant = self.table.correction.network_ms if self.table else 0.0
        return constant + sum(map(self.layer, graph.layers))

    def layer(self, layer: Layer) -> float:
        """One layer's share of the cost."""
        if self.unit not in ("macs", "params") and (self.unit != "ms" or self.table is None):
            raise InvalidArgument(
                f"a cost is counted in {', '.join(UNITS)}, ms by a latency table; got {self.unit!r} and "
                f"{'no table' if self.table is None else 'a table'}"
            )
        if self.table is None:
            return layer_params_macs(layer.deployed)[self.unit == "macs"]
        key = layer.signature
        if key not in self._layer_ms:
            self._layer_ms[key] = self.table.correction.scale * self.table.kernel_ms(layer)
        return self._layer_ms[key]

    def narrowed(self, graph: Graph, group: ChannelGroup, channels: int) -> float:
        """How much less a network costs with `group` at `channels` channels."""
        changed = narrowed_layers(graph, group, channels)
        return sum(self.layer(graph.layers[index]) - self.layer(layer) for index, layer in changed.items())

    def cost_and_upper(self, graph: Graph, confidence: float = DEFAULT_CONFIDENCE) -> tuple[float, float]:
        """The cost, and what to compare with `LatencyBudget.prediction_limit_ms`: more where kernels are estimated.

        The table's own error is in that limit. What estimated kernels may add to it, with the probability
        `confidence`, is added here.
        """
        cost = self.cost(graph)
        if self.table is None or not (found := self.table.predict(graph, 2 * confidence - 1)).estimated:
            return cost, cost
        return cost, max(found.latency_ms, self.table.prediction_limit_ms(found.high_ms, confidence))

    def text(self, value: float) -> str:
        """A cost for people: 12.34 ms, 301 M MACs, 4.2 M parameters."""
        if self.unit == "ms":
            return f"{value:.2f} ms"
        return f"{value / 1e6:.4g} M {'MACs' if self.unit == 'macs' else 'parameters'}"


class Learnt(NamedTuple):
    """A network that was predicted and measured, and the relative error of the prediction by estimated kernels."""

    predicted_ms: float
    measured_ms: float
    estimation_error: float = 0.0


@dataclass(kw_only=True)
class LatencyBudget:
    """A limit in ms, what predictions of `table` must be so that networks are within it, and the verdict on a network.

    limit_ms: the budget of the network that is found. overshoot: candidates may take this many times the limit, since
    the winner is pruned. confidence: the probability with which a network at the prediction limit is within the limit.
    fastest_ms: the prediction of the space's fastest network. measured: what was learnt from, see `learn`.
    """

    limit_ms: float = field(kw_only=False)
    table: LatencyTable = field(kw_only=False)
    confidence: float = DEFAULT_CONFIDENCE
    overshoot: float = 1.0
    fastest_ms: float = 0.0
    measured: Sequence[Learnt | tuple[float, float]] = ()
    device: Device = field(default_factory=Device)

    @cached_property
    def measures(self) -> bool:
        """Whether networks are measured, because `device` is the table's; if not, the table's predictions count."""
        return self.device.is_of(self.table)

    def with_table(self, table: LatencyTable) -> "LatencyBudget":
        """The same budget by another table, such as one with more kernels; nothing is learnt of that one yet."""
        return replace(self, table=table, fastest_ms=0.0, measured=())

    # Before training: predictions

    @property
    def search_limit_ms(self) -> float:
        """The latency that candidates may have: the limit times the overshoot."""
        return self.limit_ms * self.overshoot

    @property
    def prediction_limit_ms(self) -> float:
        """The largest prediction of the table that a candidate may have.

        At this prediction, networks are within `search_limit_ms` with the probability `confidence`. If even the
        fastest network of the space is predicted above that, the search limit itself counts.
        """
        if self.is_confident:
            return self._confident_ms
        return max(self.fastest_ms, self.search_limit_ms / max(1.0, self.correction))

    @property
    def first_prediction_limit_ms(self) -> float:
        """The prediction limit before anything was learnt."""
        found = self.table.prediction_limit_ms(self.search_limit_ms, self.confidence)
        return found if self.fastest_ms <= found else self.search_limit_ms

    @property
    def is_confident(self) -> bool:
        """Whether any network of the space is within the search limit with the probability `confidence`."""
        return self.fastest_ms <= self._confident_ms

    @property
    def _confident_ms(self) -> float:
        return self.corrected_table.prediction_limit_ms(self.search_limit_ms, self.confidence) / self.correction

    def check_reachable(self) -> None:
        """Raises InfeasibleBudget if no network of the space can be said to be within the limit.

        Where nothing is measured, the fastest network's prediction must leave room for the table's error.
        """
        needed_ms = self.limit_ms if self.measures else self.table.prediction_limit_ms(self.limit_ms, self.confidence)
        if self.fastest_ms > needed_ms:
            raise InfeasibleBudget(
                f"no network of the space surely meets {self.limit_ms:g} ms by this table: with its own error of "
                f"{self.table.relative_error:.1%} and --confidence {self.confidence:g} a network must be predicted "
                f"within {needed_ms:.2f} ms, and the fastest is at {self.fastest_ms:.2f} ms: raise --budget-ms, lower "
                "--confidence, or widen the space (--space)"
            )

    # What measured networks teach

    def learn(self, predicted_ms: float, measured_ms: float, estimation_error: float = 0.0) -> None:
        """Take into account that a network predicted at `predicted_ms` measured `measured_ms`.

        `estimation_error` is what the table says of its estimated kernels (LatencyTable.estimation_error).
        """
        self.measured = [*self.measured, Learnt(predicted_ms, measured_ms, estimation_error)]

    @property
    def correction(self) -> float:
        """What networks are expected to measure, as a share of what the table predicts."""
        return self.corrected_table.correction.scale / self.table.correction.scale

    @property
    def corrected_table(self) -> LatencyTable:
        """The table after what was learnt.

        measured / predicted - 1 is taken as normal about a bias, and the bias as normal about 0, each with half the
        variance of the table's own error: the usual posterior, the variance about the bias counting for two networks.
        Estimated kernels add to the variance about the bias. They are left out of the error here, since each prediction
        counts its own; a quarter of the variance stays, lest they be taken for all of it.
        """
        table, pairs = self.table, [Learnt(*pair) for pair in self.measured]
        if not pairs:
            return table
        prior, count = max(_TINY, table.relative_error**2 / 2), len(pairs)
        ratios = [pair.measured_ms / pair.predicted_ms - 1 for pair in pairs]
        mean, estimated = math.fsum(ratios) / count, math.fsum(pair.estimation_error**2 for pair in pairs) / count
        noise = (2 * (prior + estimated) + math.fsum((ratio - mean) ** 2 for ratio in ratios)) / (count + 1)
        weight = prior * count / (prior * count + noise)
        factor = 1 + weight * mean
        error = math.sqrt(max(noise - estimated, noise / 4) + (1 - weight) * prior)
        own = table.correction
        fitted = own._replace(scale=own.scale * factor, network_ms=own.network_ms * factor, relative_error=error)
        return replace(table, correction=fitted)

    # After training: measurements and the verdict

    def networks(
        self,
        specs: Sequence[NetworkSpec],
        *,
        modules: "Sequence[nn.Module] | None" = None,
        seconds: float = 6.0,
        progress: "Progress | None" = None,
    ) -> "list[Measurement]":
        """Networks of random weights, or trained `modules` of them, measured in one run; predicted where none is.

        A prediction is a measurement of 0 rounds, whose upper end is not exceeded with the probability `confidence`.
        """
        if not self.measures:
            return [self._predicted(spec) for spec in specs]
        return self.device.measure(specs, modules=modules, table=self.table, seconds=seconds, progress=progress)

    def _predicted(self, spec: NetworkSpec) -> "Measurement":
        from search.latency.measurement import Measurement

        ms, low, high, _ = self.table.predict(spec, 2 * self.confidence - 1)
        return Measurement(latency_ms=ms, low_ms=low, high_ms=high, rounds=0, raw_median_ms=ms, noisy=False)

    def within(self, found: "Measurement") -> bool:
        """The verdict: measured within the limit, or predicted so with the probability `confidence`."""
        return self.counted_ms(found) <= self.limit_ms

    def counted_ms(self, found: "Measurement") -> float:
        """What the verdict compares with the limit: the measured latency, or the upper end of a prediction."""
        return found.latency_ms if self.measures else found.high_ms

    def times_over(self, found: "Measurement") -> float:
        """How many times the limit a network takes that is not trained yet.

        Above 1 it is to be pruned, since another measurement may find it over the limit.
        """
        return (found.latency_upper_ms if self.measures else found.high_ms) / self.limit_ms


def latency_fields(kind: str, found: "Measurement | Prediction | None") -> dict[str, Any]:
    """The three fields of a summary, such as "measured_low_ms", for a latency and its interval; None without one."""
    return {f"{kind}_{part}_ms": found and getattr(found, f"{part}_ms") for part in ("latency", "low", "high")}
