"""How well a table predicts: networks that it was not fitted to, predicted and measured."""

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
    """How predictions stand to measurements; shares and errors as fractions.

    mape: mean absolute error. bias: median of predicted / measured - 1. worst: the largest absolute error.
    """

    mape: float
    within_5_percent: float
    within_10_percent: float
    spearman: float
    bias: float
    worst: float


class Blame(NamedTuple):
    """A layer of a network that the table is wrong about: its ms as predicted and as measured in isolated blocks."""

    layer: str
    predicted_ms: float
    measured_ms: float


@dataclass(frozen=True, kw_only=True)
class Check:
    """A table against measured networks; `macs_alone` is the best that ms = factor x MACs can do on them.

    coverage: the share of networks that measure within their predicted interval, which should hold 9 of 10. worst: the
    networks (places in `specs`) of the largest errors, each with the layers that are most wrong.
    """

    specs: tuple[NetworkSpec, ...]
    predicted: tuple[Prediction, ...]
    measured: tuple[Measurement, ...]
    table: Agreement
    macs_alone: Agreement
    coverage: float
    worst: dict[int, tuple[Blame, ...]]


def networks_to_check(space: SearchSpace, *, count: int, seed: int = 1) -> list[NetworkSpec]:
    """Random networks of a space, other ones than tables are fitted to."""
    rng = random.Random(f"networks to check {seed}")
    return [space.spec(space.sample(rng)) for _ in range(count)]


def check(
    table: LatencyTable,
    specs: Sequence[NetworkSpec],
    *,
    seconds: float,
    blamed: int = 0,
    progress: Progress | None = None,
    runtime: Runtime | None = None,
) -> Check:
    """Predict networks, measure them interleaved, and look into the `blamed` worst ones.

    Raises MissingLatency for a network of kernels that the table has none like.
    """
    graphs = [lower(spec) for spec in specs]
    predicted = tuple(table.predict(graph) for graph in graphs)
    measured = tuple(measure_specs(specs, table=table, seconds=seconds, progress=progress, runtime=runtime))
    real = [one.latency_ms for one in measured]
    macs = [float(costs(graph).macs) for graph in graphs]
    factor = quantile([ms / mac for ms, mac in zip(real, macs, strict=True)], 0.5)
    held = [one.low_ms <= ms <= one.high_ms for one, ms in zip(predicted, real, strict=True)]
    errors = [abs(one.latency_ms / ms - 1) for one, ms in zip(predicted, real, strict=True)]
    order = sorted(range(len(specs)), key=lambda place: -errors[place])
    return Check(
        specs=tuple(specs),
        predicted=predicted,
        measured=measured,
        table=agreement([one.latency_ms for one in predicted], real),
        macs_alone=agreement([factor * mac for mac in macs], real),
        coverage=sum(held) / len(held),
        worst={place: _blamed(table, specs[place], runtime) for place in order[:blamed]},
    )


def _blamed(table: LatencyTable, spec: NetworkSpec, runtime: Runtime | None) -> tuple[Blame, ...]:
    """Nothing where the runtime does not tell layers apart."""
    try:
        return blame(table, spec, runtime=runtime)
    except InvalidArgument:
        return ()


def blame(
    table: LatencyTable, spec: NetworkSpec, *, layers: int = 3, rounds: int = 12, runtime: Runtime | None = None
) -> tuple[Blame, ...]:
    """The `layers` layers of a network whose predicted ms differ most from those measured in isolated blocks now."""
    runtime = runtime or runtime_of(table.identity)
    blocks = blocks_of(spec)
    timer, interleaver = runtime.kernels(blocks), Interleaver(runtime.network(REFERENCE), seed=0)
    with runtime.quiet():
        interleaver.warm([timer])
        readings = [interleaver.round([timer])[0] for _ in range(rounds)]
    places = [layer.signature for block in blocks for layer in block.layers]
    stated = [(time_base_of(table).ms(one), one.weight) for one in readings]
    measured = {
        signature: weighted_median([(parts[place], weight) for parts, weight in stated])
        for place, signature in enumerate(places)
    }
    scale, inside = table.correction.scale, table.kernel_correction.in_network_ms
    found = [
        Blame(
            layer.name,
            scale * table.kernel_ms(layer),
            scale * inside(layer.signature, measured[layer.signature]),
        )
        for layer in lower(spec).layers
    ]
    return tuple(sorted(found, key=lambda one: -abs(one.predicted_ms - one.measured_ms))[:layers])


def agreement(predicted: Sequence[float], measured: Sequence[float]) -> Agreement:
    """The figures of predicted against measured ms, one of each for each network."""
    errors = [p / m - 1 for p, m in zip(predicted, measured, strict=True)]
    sizes = [abs(error) for error in errors]
    return Agreement(
        mape=sum(sizes) / len(sizes),
        within_5_percent=sum(size <= 0.05 for size in sizes) / len(sizes),
        within_10_percent=sum(size <= 0.10 for size in sizes) / len(sizes),
        spearman=spearman(predicted, measured),
        bias=quantile(errors, 0.5),
        worst=max(sizes),
    )


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Correlation of ranks; equal values share the mean of their ranks. 1 if either does not vary at all."""
    a, b = _ranks(first), _ranks(second)
    mean = (len(a) - 1) / 2
    cov, aa, bb = (sum((x - mean) * (y - mean) for x, y in zip(p, q, strict=True)) for p, q in ((a, b), (a, a), (b, b)))
    return cov / (aa * bb) ** 0.5 if aa and bb else 1.0


def _ranks(values: Sequence[float]) -> list[float]:
    ordered = sorted(values)
    return [ordered.index(value) + (ordered.count(value) - 1) / 2 for value in values]
