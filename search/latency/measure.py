"""Measuring networks for real, beside the reference and the anchors, in ms at the reference's quiet speed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from search.latency.cache import Cache, Note, default_dir
from search.latency.groups import Timers, groups, turns_of
from search.latency.interleave import Interleaver, Reading, Runtime, Timer
from search.latency.probe_networks import Beside, anchors, moments, settled, together
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
# Deviation of one network's latency from one moment to another, whatever the number of rounds: of 13 networks beside
# the anchors 1.1 to 1.4 % from 20 seconds to 20 seconds (eager torch; without anchors 1.6 to 2.1 %).
MOOD = 0.015
AIM = 0.985  # of a budget: what a network is taken to keep it with, whose interval reaches over it
Progress = Callable[[float, str], None]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One network's latency, ms at the reference's quiet speed, with a 95 % interval.

    The interval is that of the median, and of what another moment would say (MOOD). raw_median_ms: what the clock said,
    at the speed the machine happened to have. noisy: the median's own interval is wider than a tenth of the latency, or
    the reference took more than twice its quiet time: other work ran meanwhile.
    """

    latency_ms: float
    low_ms: float
    high_ms: float
    rounds: int
    raw_median_ms: float
    noisy: bool

    @property
    def surely_ms(self) -> float:
        """What is held to a budget before a network is trained or taken: the upper end of the interval, or the latency
        with what AIM leaves, whichever is less."""
        return min(self.high_ms, self.latency_ms / AIM)

    @property
    def standard_error(self) -> float:
        """That of the median, as a share of it: what another moment would say is not in it."""
        whole = (self.high_ms - self.low_ms) / (2 * 1.96 * self.latency_ms)
        return math.sqrt(max(0.0, whole**2 - MOOD**2))


def measure(
    specs: Sequence[NetworkSpec],
    *,
    table: LatencyTable,
    seconds: float = 6.0,
    progress: Progress | None = None,
    runtime: Runtime | None = None,
) -> list[Measurement]:
    """Fresh networks of `specs`, all interleaved with the reference, the table's anchors and (where they are not too
    many for the machine, see search.latency.groups) each other, for `seconds` of timing or 60 rounds, whichever is less
    (and at least 8 rounds).

    `runtime` is the table's own where none is given. Raises InvalidTable if `table` belongs to another machine or
    setting than this process.
    """
    runtime = runtime or runtime_of(table.identity)
    _check_device(runtime, table)
    beside = anchors(table.identity["resolution"], table.anchors)
    return _stated(_readings(_fresh(specs, runtime), specs, beside, runtime, seconds, progress), time_base_of(table))


def measure_modules(
    modules: Sequence[nn.Module],
    specs: Sequence[NetworkSpec],
    *,
    table: LatencyTable,
    seconds: float = 6.0,
    progress: Progress | None = None,
) -> list[Measurement]:
    """The same for (trained) modules, measured on copies with folded batch norm; `specs` give their inputs."""
    if len(modules) != len(specs):
        raise InvalidArgument(f"each module needs its spec, got {len(modules)} modules and {len(specs)} specs")
    runtime = runtime_of(table.identity)
    _check_device(runtime, table)
    producers = [partial(runtime.module, module, spec) for module, spec in zip(modules, specs, strict=True)]
    beside = anchors(table.identity["resolution"], table.anchors)
    return _stated(_readings(producers, specs, beside, runtime, seconds, progress), time_base_of(table))


def measure_here(
    specs: Sequence[NetworkSpec],
    *,
    cache_dir: Path | None = None,
    seconds: float = 6.0,
    progress: Progress | None = None,
    runtime: Runtime | None = None,
    note: Note = lambda _: None,
    rounds: int = ROUNDS,
) -> tuple[list[Measurement], TimeBase]:
    """Measure without a table: (one measurement a network, what they are stated at).

    The quiet speed is that of this device's builds, so that measured and predicted ms mean the same, and so is what
    anchors usually take; where there was no build, both are taken now and kept for later ones. Networks may have any
    resolutions; the anchors' is theirs, or 224 px where they differ. `rounds`: at most so many. `note` gets a sentence
    about a damaged file. Raises InvalidArgument for no networks, StorageError for a cache that cannot be written.
    """
    if not specs:
        raise InvalidArgument("there must be a network to measure, got none")
    runtime = runtime or named_runtime()
    resolutions = {spec.resolution for spec in specs}
    resolution = resolutions.pop() if len(resolutions) == 1 else RESOLUTION
    cache = Cache(cache_dir or default_dir(), runtime.identity(resolution), note=note)
    pace = cache.stored_pace()
    beside = anchors(resolution, pace.anchors if pace else None)
    timed = _readings(_fresh(specs, runtime), specs, beside, runtime, seconds, progress, rounds)
    parts = groups(specs)
    in_turn = [[timed[place].own for place in group] for group in parts]
    if pace is None:
        pace = cache.pace(in_turn, anchors=together(timed[group[0]].beside for group in parts))
    elif pace.drift in (0.0, USUAL):  # a few networks measured first told none
        pace = pace._replace(drift=drift_of(in_turn, pace.drift))
    return _stated(timed, pace), pace


def _fresh(specs: Sequence[NetworkSpec], runtime: Runtime) -> list[Callable[[], Timer]]:
    return [partial(runtime.network, spec) for spec in specs]


class _Timed(NamedTuple):
    """The readings of one network, and those of the anchors in the same rounds, which its group shares."""

    own: list[Reading]
    beside: Beside


def _stated(timed: Sequence[_Timed], pace: TimeBase) -> list[Measurement]:
    return [_measurement(own, settled(own, moments(beside, pace)), pace) for own, beside in timed]


def _check_device(runtime: Runtime, table: LatencyTable) -> None:
    here = runtime.identity(table.identity["resolution"])
    if here != table.identity:
        raise InvalidTable(
            f"a measurement is stated at the speed of its table, which is of {describe(table.identity)}; this process "
            f"is {describe(here)}: measure this one with python -m search.latency build"
        )


def _readings(
    producers: Sequence[Callable[[], Timer]],
    specs: Sequence[NetworkSpec],
    beside: Sequence[NetworkSpec],
    runtime: Runtime,
    seconds: float,
    progress: Progress | None,
    most: int = ROUNDS,
) -> list[_Timed]:
    """The readings of each network, as many as the seconds allow: at least FEWEST_ROUNDS, at most `most`. Those of one
    group are interleaved, with the anchors `beside` them; each group gets the time of its networks, in several turns
    where there are more groups."""
    if not specs:
        return []
    found: list[list[Reading]] = [[] for _ in specs]
    parts = groups(specs)
    around: list[dict[str, list[Reading]]] = [{spec.name: [] for spec in beside} for _ in parts]
    turns = turns_of([*zip(parts, around, strict=True)])
    made, reference = Timers(specs, lambda index: producers[index]()), runtime.network(REFERENCE)
    always = [runtime.network(spec) for spec in beside]
    done, whole = 0, sum(len(group) for (group, _), _ in turns)
    for number, ((group, own_beside), asked) in enumerate(turns):

        def told(fraction: float, what: str, *, done: int = done, count: int = len(group)) -> None:
            if progress:
                progress((done + count * fraction) / whole, what)

        fewest, left = (math.ceil(asked * count) - len(found[group[0]]) for count in (FEWEST_ROUNDS, most))
        interleaver, own_s = Interleaver(reference, seed=number), seconds * len(group) / whole
        rounds = _rounds([*made.of(group), *always], interleaver, runtime, own_s, told, max(1, fewest), left)
        done += len(group)
        for place, index in enumerate(group):
            found[index] += [each[place] for each in rounds]
        for at, readings in enumerate(own_beside.values(), start=len(group)):
            readings += [each[at] for each in rounds]
    shared = {index: own for group, own in zip(parts, around, strict=True) for index in group}
    return [_Timed(own, shared[index]) for index, own in enumerate(found)]


def _rounds(
    timers: Sequence[Timer],
    interleaver: Interleaver,
    runtime: Runtime,
    seconds: float,
    progress: Progress,
    fewest: int,
    most: int,
) -> list[list[Reading]]:
    """Rounds of one reading a timer."""
    readings: list[list[Reading]] = []
    with runtime.quiet():
        interleaver.warm(timers)
        interleaver.round(timers)
        started = time.monotonic()
        while len(readings) < most:
            elapsed = time.monotonic() - started
            if len(readings) >= fewest and elapsed * (1 + 1 / len(readings)) > seconds:
                break
            readings.append(interleaver.round(timers))
            share = max(len(readings) / most, min(1.0, (time.monotonic() - started) / seconds))
            progress(share, f"round {len(readings)}")
    return readings


def _measurement(readings: Sequence[Reading], stated: Sequence[Reading], pace: TimeBase) -> Measurement:
    values = [(pace.ms(reading)[0], reading.weight) for reading in stated]
    median = weighted_median(values)
    low, high = median_interval(values)
    mood = 1.96 * MOOD * median
    busy = quantile([reading.reference_ns for reading in readings], 0.5) / 1e6 > BUSY * pace.reference_ms
    return Measurement(
        latency_ms=median,
        low_ms=median - math.hypot(median - low, mood),
        high_ms=median + math.hypot(high - median, mood),
        rounds=len(values),
        raw_median_ms=quantile([reading.ratios[0] * reading.reference_ns for reading in readings], 0.5) / 1e6,
        noisy=busy or high - low > NOISY * median,
    )
