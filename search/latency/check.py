"""How well a table predicts: networks that it was not fitted to, predicted and measured."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from search.latency.interleave import Interleaver, Runtime
from search.latency.kernels import blocks_of
from search.latency.measurement import Measurement, Progress, measure_specs
from search.latency.reference import REFERENCE
from search.latency.robust import quantile, weighted_median
from search.latency.runtimes import runtime_of
from search.latency.time_base import time_base_of
from searchspace.cost import costs
from searchspace.errors import InvalidArgument
from searchspace.graph import lower
from searchspace.latency.table import LatencyTable, Prediction
from searchspace.spaces.space import SearchSpace
from searchspace.spec import NetworkSpec


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Predictions against measurements; all but `spearman`, the rank correlation, are relative errors or shares.

    `mape`: mean absolute error. `bias`: median of predicted / measured - 1. `worst`: the largest absolute error.
    """

    mape: float
    within_5_percent: float
    within_10_percent: float
    spearman: float
    bias: float
    worst: float


class LayerError(NamedTuple):
    """A layer's ms as predicted and as measured in isolated blocks."""

    layer: str
    predicted_ms: float
    measured_ms: float


@dataclass(frozen=True, kw_only=True)
class Check:
    """A table against measured networks.

    `macs_alone` is the best that ms = factor * MACs can do on them. `coverage` is the share of networks that measure
    within their 90 % interval. `worst` holds the networks (places in `specs`) of the largest errors, each with the
    layers of the largest errors.
    """

    specs: tuple[NetworkSpec, ...]
    predicted: tuple[Prediction, ...]
    measured: tuple[Measurement, ...]
    table: Agreement
    macs_alone: Agreement
    coverage: float
    worst: dict[int, tuple[LayerError, ...]]

    @property
    def errors(self) -> list[float]:
        """The relative error predicted / measured - 1 of each network."""
        return _errors([one.latency_ms for one in self.predicted], [one.latency_ms for one in self.measured])


def networks_to_check(space: SearchSpace, *, count: int, seed: int = 1) -> list[NetworkSpec]:
    """Random networks of a space, other ones than tables are fitted to."""
    rng = random.Random(f"networks to check {seed}")
    return [space.spec(space.sample(rng)) for _ in range(count)]


def check(
    table: LatencyTable,
    specs: Sequence[NetworkSpec],
    *,
    seconds: float,
    explained: int = 0,
    progress: Progress | None = None,
    runtime: Runtime | None = None,
) -> Check:
    """Predict networks, measure them interleaved, and time the layers of the `explained` worst ones.

    Raises MissingLatency for a network of kernels that the table has none like.
    """
    graphs = [lower(spec) for spec in specs]
    predicted = tuple(table.predict(graph) for graph in graphs)
    measured = tuple(measure_specs(specs, table=table, seconds=seconds, progress=progress, runtime=runtime))
    predicted_ms, real_ms = [one.latency_ms for one in predicted], [one.latency_ms for one in measured]
    macs = [float(costs(graph).macs) for graph in graphs]
    factor = quantile([ms / mac for ms, mac in zip(real_ms, macs, strict=True)], 0.5)
    errors = _errors(predicted_ms, real_ms)
    order = sorted(range(len(specs)), key=lambda place: -abs(errors[place]))
    return Check(
        specs=tuple(specs),
        predicted=predicted,
        measured=measured,
        table=agreement(predicted_ms, real_ms),
        macs_alone=agreement([factor * mac for mac in macs], real_ms),
        coverage=sum(p.low_ms <= ms <= p.high_ms for p, ms in zip(predicted, real_ms, strict=True)) / len(specs),
        worst={place: _explained(table, specs[place], runtime) for place in order[:explained]},
    )


def _explained(table: LatencyTable, spec: NetworkSpec, runtime: Runtime | None) -> tuple[LayerError, ...]:
    try:
        return layer_errors(table, spec, runtime=runtime)
    except InvalidArgument:  # of a runtime that cannot time single layers
        return ()


def layer_errors(
    table: LatencyTable, spec: NetworkSpec, *, layers: int = 3, rounds: int = 12, runtime: Runtime | None = None
) -> tuple[LayerError, ...]:
    """The `layers` layers of a network whose predicted ms differ most from those measured in isolated blocks now."""
    runtime = runtime or runtime_of(table.identity)
    blocks = blocks_of(spec)
    timer, interleaver = runtime.kernels(blocks), Interleaver(runtime.network(REFERENCE), seed=0)
    with runtime.quiet():
        interleaver.warm([timer])
        readings = [interleaver.round([timer])[0] for _ in range(rounds)]
    signatures = [layer.signature for block in blocks for layer in block.layers]
    stated = [(time_base_of(table).ms(one), one.weight) for one in readings]
    measured = {
        signature: weighted_median([(parts[place], weight) for parts, weight in stated])
        for place, signature in enumerate(signatures)
    }
    scale, in_network_ms = table.correction.scale, table.kernel_correction.in_network_ms
    found = [
        LayerError(
            layer.name,
            scale * table.kernel_ms(layer),
            scale * in_network_ms(layer.signature, measured[layer.signature]),
        )
        for layer in lower(spec).layers
    ]
    return tuple(sorted(found, key=lambda one: -abs(one.predicted_ms - one.measured_ms))[:layers])


def agreement(predicted: Sequence[float], measured: Sequence[float]) -> Agreement:
    """The figures of predicted against measured ms, one of each for each network."""
    errors = _errors(predicted, measured)
    sizes = [abs(error) for error in errors]
    return Agreement(
        mape=sum(sizes) / len(sizes),
        within_5_percent=sum(size <= 0.05 for size in sizes) / len(sizes),
        within_10_percent=sum(size <= 0.10 for size in sizes) / len(sizes),
        spearman=spearman(predicted, measured),
        bias=quantile(errors, 0.5),
        worst=max(sizes),
    )


def _errors(predicted: Sequence[float], measured: Sequence[float]) -> list[float]:
    return [p / m - 1 for p, m in zip(predicted, measured, strict=True)]


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Correlation of ranks; equal values share the mean of their ranks. 1 if either does not vary at all."""
    import pandas as pd  # slow to import

    found = float(pd.Series(first).rank().corr(pd.Series(second).rank()))
    return 1.0 if math.isnan(found) else found
