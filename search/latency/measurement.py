"""Measuring networks for real, beside the reference and the probe networks, in ms at the reference's quiet speed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from search.latency.cache import Cache, Note, default_dir
from search.latency.groups import GROUP_KERNELS, Group, Readings, Timers, groups, turns_of
from search.latency.interleave import Interleaver, Reading, Runtime, Timer
from search.latency.probe_networks import merged, probe_networks, session_effects, without_effects
from search.latency.reference import REFERENCE, RESOLUTION
from search.latency.robust import median_interval, quantile, weighted_median
from search.latency.runtimes import runtime as named_runtime
from search.latency.runtimes import runtime_of
from search.latency.time_base import BUSY, USUAL, TimeBase, drift_of, time_base_of
from searchspace.errors import InvalidArgument, InvalidTable
from searchspace.latency.table import LatencyTable, describe
from searchspace.spec import NetworkSpec

if TYPE_CHECKING:
    from torch import nn

ROUNDS = 60
FEWEST_ROUNDS = 8
NOISY = 0.1
# Standard deviation of a network's latency from one session to another, whatever the number of rounds: 1.1 to 1.4 % of
# 13 networks beside the probe networks from one 20 seconds to another (eager torch; 1.6 to 2.1 % without them).
SESSION_DEVIATION = 0.015
TARGET_SHARE = 0.985  # of a budget: a network pruned to it keeps the budget when it is measured again
Progress = Callable[[float, str], None]
Clock = Callable[[], float]  # seconds


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One network's latency in ms at the reference's quiet speed, with a 95 % interval.

    The interval counts the error of the median over rounds and the deviation from session to session. `raw_median_ms`
    is what the clock said, at the speed that the machine happened to have. `noisy`: the median's own interval is wider
    than a tenth of the latency, or the reference took more than twice its quiet time because other work ran.
    """

    latency_ms: float
    low_ms: float
    high_ms: float
    rounds: int
    raw_median_ms: float
    noisy: bool

    @property
    def latency_upper_ms(self) -> float:
        """What is compared with a budget before a network is trained: the upper end of its interval.

        It counts as latency_ms / TARGET_SHARE at most.
        """
        return min(self.high_ms, self.latency_ms / TARGET_SHARE)

    @property
    def standard_error(self) -> float:
        """The standard error of the median as a share of it; the deviation from session to session is not in it."""
        whole = (self.high_ms - self.low_ms) / (2 * 1.96 * self.latency_ms)
        return math.sqrt(max(0.0, whole**2 - SESSION_DEVIATION**2))


def measure_specs(
    specs: Sequence[NetworkSpec],
    *,
    table: LatencyTable,
    modules: Sequence[nn.Module] | None = None,
    seconds: float = 6.0,
    progress: Progress | None = None,
    runtime: Runtime | None = None,
) -> list[Measurement]:
    """Measure networks, interleaved with the reference, the table's probe networks and each other.

    They have random weights, or are the (trained) `modules` of the specs, copied and with folded batch norm. It takes
    `seconds` of timing or 60 rounds, whichever is less, and at least 8 rounds. Networks that are too many for the
    machine are measured group by group (search.latency.groups). `runtime`: the table's own if none is given. Raises
    InvalidTable if `table` belongs to another machine or setting than this process.
    """
    runtime = runtime or runtime_of(table.identity)
    machine = runtime.identity(table.identity["resolution"])
    if machine != table.identity:
        raise InvalidTable(
            f"a measurement is stated at the speed of its table, which is of {describe(table.identity)}; this process "
            f"is {describe(machine)}: measure this one with python -m search.latency build"
        )
    if not specs:
        return []
    probes = probe_networks(table.identity["resolution"], table.probe_networks_ms)
    parts = groups(specs, probes)
    found = _timed(specs, modules, parts, probes, runtime, seconds, progress)
    return _measurements(found, parts, time_base_of(table))


def measure_without_table(
    specs: Sequence[NetworkSpec],
    *,
    modules: Sequence[nn.Module] | None = None,
    cache_dir: Path | None = None,
    seconds: float = 6.0,
    progress: Progress | None = None,
    runtime: Runtime | None = None,
    note: Note = lambda _: None,
    rounds: int = ROUNDS,
    clock: Clock = time.monotonic,
    group_kernels: int = GROUP_KERNELS,
) -> tuple[list[Measurement], TimeBase]:
    """Measure networks, or `modules` of them, without a table: (a measurement each, the time base).

    The quiet speed and the usual times of the probe networks are those of this device's tables, so that measured and
    predicted ms mean the same. Where there is none yet, both are taken now and kept. Networks may have any resolution;
    the probe networks have theirs, or 224 px where they differ. `rounds`: the most. `note` gets a sentence about a
    damaged file. Raises InvalidArgument for no networks, StorageError for a cache that cannot be written.
    """
    if not specs:
        raise InvalidArgument("there must be a network to measure, got none")
    runtime = runtime or named_runtime()
    resolutions = {spec.resolution for spec in specs}
    resolution = resolutions.pop() if len(resolutions) == 1 else RESOLUTION
    cache = Cache(cache_dir or default_dir(), runtime.identity(resolution), note=note)
    time_base = cache.stored_time_base()
    probes = probe_networks(resolution, time_base.probe_networks_ms if time_base else None)
    parts = groups(specs, probes, most_kernels=group_kernels)
    found = _timed(specs, modules, parts, probes, runtime, seconds, progress, rounds, clock)
    own = [part.own(found) for part in parts]
    if time_base is None:
        time_base = cache.time_base(own, probes=merged(part.probe_readings(found) for part in parts))
    elif time_base.drift in (0.0, USUAL):  # the first measurement had too few networks to show a drift
        time_base = time_base._replace(drift=drift_of(own, time_base.drift))
    return _measurements(found, parts, time_base), time_base


def stretch(progress: Progress, start: float, length: float) -> Progress:
    """A progress whose 0 to 1 are `length` of another one from `start` on."""
    return lambda share, what: progress(start + length * share, what)


def _timed(
    specs: Sequence[NetworkSpec],
    modules: Sequence[nn.Module] | None,
    parts: Sequence[Group],
    probes: Sequence[NetworkSpec],
    runtime: Runtime,
    seconds: float,
    progress: Progress | None,
    most: int = ROUNDS,
    clock: Clock = time.monotonic,
) -> Readings:
    """Readings of each network and probe: as many rounds as the seconds allow, at least FEWEST_ROUNDS, at most `most`.

    Each group gets the share of the seconds that it has of the networks, in several turns if there are several groups.
    """
    if modules is not None and len(modules) != len(specs):
        raise InvalidArgument(f"each module needs its spec, got {len(modules)} modules and {len(specs)} specs")

    def make(place: int) -> Timer:
        return runtime.network(specs[place]) if modules is None else runtime.module(modules[place], specs[place])

    found, turns = Readings(), turns_of(parts)
    made, reference = Timers(specs, make), runtime.network(REFERENCE)
    always = [runtime.network(spec) for spec in probes]
    done, whole = 0, sum(len(part.places) for part, _ in turns)
    for number, (part, share) in enumerate(turns):
        count, places = len(part.places), part.all_places
        timers, interleaver = [*made.of(part.places), *always], Interleaver(reference, seed=number)
        before = found.rounds(places)
        fewest, left = max(1, math.ceil(share * FEWEST_ROUNDS) - before), math.ceil(share * most) - before
        own_s, rounds = seconds * count / whole, 0
        with runtime.quiet():
            interleaver.warm(timers)
            interleaver.round(timers)
            started = clock()
            while rounds < left:
                if rounds >= fewest and (clock() - started) * (1 + 1 / rounds) > own_s:
                    break
                found.add(places, interleaver.round(timers))
                rounds += 1
                if progress:
                    fraction = max(rounds / left, min(1.0, (clock() - started) / own_s))
                    progress((done + count * fraction) / whole, f"round {rounds}")
        done += count
    return found


def _measurements(found: Readings, parts: Sequence[Group], time_base: TimeBase) -> list[Measurement]:
    measured = []
    for part in parts:
        effects = session_effects(part.probe_readings(found), time_base)
        measured += [_measurement(found.readings[place], effects, time_base) for place in part.places]
    return measured


def _measurement(readings: Sequence[Reading], effects: Sequence[float], time_base: TimeBase) -> Measurement:
    values = [(time_base.ms(reading)[0], reading.weight) for reading in without_effects(readings, effects)]
    median = weighted_median(values)
    low, high = median_interval(values)
    session = 1.96 * SESSION_DEVIATION * median
    busy = quantile([reading.reference_ns for reading in readings], 0.5) / 1e6 > BUSY * time_base.reference_ms
    return Measurement(
        latency_ms=median,
        low_ms=median - math.hypot(median - low, session),
        high_ms=median + math.hypot(high - median, session),
        rounds=len(values),
        raw_median_ms=quantile([reading.ratios[0] * reading.reference_ns for reading in readings], 0.5) / 1e6,
        noisy=busy or high - low > NOISY * median,
    )
