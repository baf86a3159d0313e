"""How well a table predicts: random networks of its space, predicted and measured."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from search.latency.interleave import Runtime
from search.latency.measure import Measurement, Progress, measure
from search.latency.robust import quantile
from searchspace.cost import costs
from searchspace.graph import lower
from searchspace.latency import LatencyTable
from searchspace.space import SearchSpace
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


@dataclass(frozen=True, kw_only=True)
class Check:
    """A table against measured networks; `macs_alone` is the best that ms = factor x MACs can do on them."""

    specs: tuple[NetworkSpec, ...]
    predicted_ms: tuple[float, ...]
    measured: tuple[Measurement, ...]
    table: Agreement
    macs_alone: Agreement


def check(
    table: LatencyTable, space: SearchSpace, *, networks: int, seconds: float, seed: int = 1,
    progress: Progress | None = None, runtime: Runtime | None = None,
) -> Check:  # fmt: skip
    """Measure `networks` random networks of `space` that the table was not fitted to, in one interleaved run."""
    rng = random.Random(f"networks to check {seed}")
    specs = tuple(space.spec(space.sample(rng)) for _ in range(networks))
    predicted = tuple(table.latency_ms(lower(spec)) for spec in specs)
    measured = tuple(measure(specs, table=table, seconds=seconds, progress=progress, runtime=runtime))
    real = [one.latency_ms for one in measured]
    macs = [float(costs(lower(spec)).macs) for spec in specs]
    factor = quantile([ms / mac for ms, mac in zip(real, macs, strict=True)], 0.5)
    return Check(
        specs=specs,
        predicted_ms=predicted,
        measured=measured,
        table=agreement(predicted, real),
        macs_alone=agreement([factor * mac for mac in macs], real),
    )


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
