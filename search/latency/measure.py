"""Measuring networks for real, beside the reference, in ms at its quiet speed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from search.latency.cache import Cache, Note, default_dir
from search.latency.interleave import Interleaver, Reading, Runtime, Timer
from search.latency.reference import REFERENCE, RESOLUTION
from search.latency.robust import median_interval, quantile, weighted_median
from search.latency.runtimes import runtime as named_runtime
from search.latency.runtimes import runtime_of
from searchspace.errors import InvalidArgument, InvalidTable
from searchspace.latency import LatencyTable, describe
from searchspace.spec import NetworkSpec

if TYPE_CHECKING:
    from torch import nn

ROUNDS = 60
FEWEST_ROUNDS = 8
NOISY = 0.1
BUSY = 2.0  # times the quiet speed; then short networks slip between what else runs, and look fast
Progress = Callable[[float, str], None]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One network's latency, ms at the reference's quiet speed, with the 95 % interval of the median.

    raw_median_ms: what the clock said, at the speed the machine happened to have. noisy: the interval is wider than
    a tenth of the latency, or the reference took more than twice its quiet time: other work ran meanwhile.
    """

    latency_ms: float
    low_ms: float
    high_ms: float
    rounds: int
    raw_median_ms: float
    noisy: bool


def measure(
    specs: Sequence[NetworkSpec], *, table: LatencyTable, seconds: float = 6.0, progress: Progress | None = None,
    runtime: Runtime | None = None,
) -> list[Measurement]:  # fmt: skip
    """Fresh networks of `specs`, all interleaved with the reference and each other, for `seconds` of timing or
    60 rounds, whichever is less (and at least 8 rounds).

    `runtime` is the table's own where none is given. Raises InvalidTable if `table` belongs to another machine or
    setting than this process.
    """
    runtime = runtime or runtime_of(table.identity)
    _check_device(runtime, table)
    return _run([runtime.network(spec) for spec in specs], runtime, table, seconds, progress)


def measure_modules(
    modules: Sequence[nn.Module], specs: Sequence[NetworkSpec], *, table: LatencyTable, seconds: float = 6.0,
    progress: Progress | None = None,
) -> list[Measurement]:  # fmt: skip
    """The same for (trained) modules, measured on copies with folded batch norm; `specs` give their inputs."""
    if len(modules) != len(specs):
        raise InvalidArgument(f"each module needs its spec, got {len(modules)} modules and {len(specs)} specs")
    runtime = runtime_of(table.identity)
    _check_device(runtime, table)
    timers = [runtime.module(module, spec) for module, spec in zip(modules, specs, strict=True)]
    return _run(timers, runtime, table, seconds, progress)


def measure_here(
    specs: Sequence[NetworkSpec], *, cache_dir: Path | None = None, seconds: float = 6.0,
    progress: Progress | None = None, runtime: Runtime | None = None, note: Note = lambda _: None,
) -> tuple[list[Measurement], float]:  # fmt: skip
    """Measure without a table: (one measurement a network, the reference's quiet speed in ms that they are stated at).

    The quiet speed is that of this device's latest table, so that measured and predicted ms mean the same; where there
    is none it is taken now and kept for later tables. Networks may have any resolutions. `note` gets a sentence
    about a damaged file. Raises StorageError for a cache that cannot be written.
    """
    runtime = runtime or named_runtime()
    readings = _readings([runtime.network(spec) for spec in specs], runtime, seconds, progress)
    cache = Cache(cache_dir or default_dir(), runtime.identity(RESOLUTION), note=note)
    reference_ms = cache.stored_reference_ms()
    if reference_ms is None:
        reference_ms = cache.reference_ms([reading.reference_ns for each in readings for reading in each])
    return [_measurement([each[index] for each in readings], reference_ms) for index in range(len(specs))], reference_ms


def _check_device(runtime: Runtime, table: LatencyTable) -> None:
    here = runtime.identity(table.identity["resolution"])
    if here != table.identity:
        raise InvalidTable(
            f"a measurement is stated at the speed of its table, which is of {describe(table.identity)}; this process "
            f"is {describe(here)}: measure this one with python -m search.latency build"
        )


def _run(
    timers: Sequence[Timer], runtime: Runtime, table: LatencyTable, seconds: float, progress: Progress | None
) -> list[Measurement]:
    readings = _readings(timers, runtime, seconds, progress)
    return [_measurement([each[index] for each in readings], table.reference_ms) for index in range(len(timers))]


def _readings(
    timers: Sequence[Timer], runtime: Runtime, seconds: float, progress: Progress | None
) -> list[list[Reading]]:
    """Rounds of one reading a timer, as many as the seconds allow: at least FEWEST_ROUNDS, at most ROUNDS."""
    interleaver = Interleaver(runtime.network(REFERENCE), seed=0)
    readings: list[list[Reading]] = []
    with runtime.quiet():
        for timer in timers:
            timer()
        interleaver.round(timers)
        started = time.monotonic()
        while len(readings) < ROUNDS:
            elapsed = time.monotonic() - started
            if len(readings) >= FEWEST_ROUNDS and elapsed * (1 + 1 / len(readings)) > seconds:
                break
            readings.append(interleaver.round(timers))
            if progress:
                share = max(len(readings) / ROUNDS, min(1.0, (time.monotonic() - started) / seconds))
                progress(share, f"round {len(readings)}")
    return readings


def _measurement(readings: Sequence[Reading], reference_ms: float) -> Measurement:
    values = [(reading.ratios[0], reading.weight) for reading in readings]
    median = weighted_median(values)
    low, high = median_interval(values)
    busy = quantile([reading.reference_ns for reading in readings], 0.5) / 1e6 > BUSY * reference_ms
    return Measurement(
        latency_ms=median * reference_ms,
        low_ms=low * reference_ms,
        high_ms=high * reference_ms,
        rounds=len(values),
        raw_median_ms=quantile([reading.ratios[0] * reading.reference_ns for reading in readings], 0.5) / 1e6,
        noisy=busy or high - low > NOISY * median,
    )
