"""The paired test: is the smaller network really not slower? And the networks' latencies, from the same rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from search.latency.interleave import Interleaver, Reading, Timer
from search.latency.measurement import Measurement, measure_modules, measure_specs
from search.latency.reference import REFERENCE
from search.latency.robust import median_interval, weighted_median
from search.latency.runtimes import runtime_of
from search.latency.time_base import time_base_of
from searchspace.latency.table import LatencyTable
from searchspace.spec import NetworkSpec

if TYPE_CHECKING:
    from torch import nn

FEWEST_ROUNDS = 12
MOST_ROUNDS = 60


class Timing(NamedTuple):
    """ms at the reference's quiet speed, whatever the moment does to both networks; `ratio` is after / before, the
    weighted median over rounds with its 95 % interval."""

    before_ms: float
    after_ms: float
    ratio: float
    low: float
    high: float
    rounds: int

    @property
    def faster(self) -> bool:
        """Not slower than before: the ratio's median is at most 1."""
        return self.ratio <= 1.0


class PairedTimer(Protocol):
    """Times networks on a device."""

    def pair(self, before: NetworkSpec, after: NetworkSpec) -> Timing:
        """Two against each other."""

    def alone(self, spec: NetworkSpec) -> Measurement:
        """One, as carefully as a search measures its finalists."""


class DeviceTimer:
    """Times on this machine, with fresh networks: weights decide no time. `table` is of this device."""

    def __init__(self, table: LatencyTable, *, seed: int) -> None:
        self._table, self._seed = table, seed
        self._runtime = runtime_of(table.identity)
        self._pace = time_base_of(table)
        self._reference: Timer | None = None
        self._last: tuple[str, Timer] | None = None

    def alone(self, spec: NetworkSpec) -> Measurement:
        """See PairedTimer."""
        return measure_specs([spec], table=self._table, runtime=self._runtime)[0]

    def pair(self, before: NetworkSpec, after: NetworkSpec) -> Timing:
        """Both in one round, in random order, beside the reference, until the interval of their ratio lies on one side
        of 1 or MOST_ROUNDS are done."""
        if self._last is None or self._last[0] != before.fingerprint():
            self._last = before.fingerprint(), self._runtime.network(before)
        return self._time([self._last[1], self._runtime.network(after)])

    def check(self, module: nn.Module, resolution: int) -> None:
        """Raises InvalidArgument for a module that the table's runtime cannot run."""
        self._runtime.module(module, REFERENCE.with_resolution(resolution))

    def module(self, module: nn.Module, resolution: int) -> Measurement:
        """Any module of images of 3 channels by itself."""
        image = REFERENCE.with_resolution(resolution)  # only its input counts
        return measure_modules([module], [image], table=self._table)[0]

    def modules(self, before: nn.Module, after: nn.Module, resolution: int) -> Timing:
        """The same for any modules of images of 3 channels."""
        image = REFERENCE.with_resolution(resolution)  # only its input counts
        return self._time([self._runtime.module(before, image), self._runtime.module(after, image)])

    def _time(self, timers: Sequence[Timer]) -> Timing:
        self._reference = self._reference or self._runtime.network(REFERENCE)
        interleaver = Interleaver(self._reference, seed=self._seed)
        rounds: list[tuple[Reading, Reading]] = []
        with self._runtime.quiet():
            interleaver.warm(timers)
            interleaver.round(timers)
            while len(rounds) < MOST_ROUNDS:
                first, second = interleaver.round(timers)
                rounds.append((first, second))
                if len(rounds) >= FEWEST_ROUNDS and _decided(rounds):
                    break
        return self._timing(rounds)

    def _timing(self, rounds: list[tuple[Reading, Reading]]) -> Timing:
        before, after = (
            weighted_median([(self._pace.ms(pair[side])[0], pair[side].weight) for pair in rounds]) for side in (0, 1)
        )
        ratios = _ratios(rounds)
        return Timing(before, after, weighted_median(ratios), *median_interval(ratios), len(rounds))


def _ratios(rounds: list[tuple[Reading, Reading]]) -> list[tuple[float, float]]:
    return [
        (second.ratios[0] / first.ratios[0], 1 / (1 / first.weight + 1 / second.weight)) for first, second in rounds
    ]


def _decided(rounds: list[tuple[Reading, Reading]]) -> bool:
    low, high = median_interval(_ratios(rounds))
    return high < 1.0 or low > 1.0


class Replayed:
    """Outcomes of an earlier run where it has them; what it has not is timed now."""

    def __init__(
        self, pairs: Mapping[str, Timing], measurements: Mapping[str, Measurement], timer: PairedTimer
    ) -> None:
        self._pairs, self._measurements, self._timer = pairs, measurements, timer

    def pair(self, before: NetworkSpec, after: NetworkSpec) -> Timing:
        """See PairedTimer."""
        return self._pairs.get(key(before.fingerprint(), after.fingerprint())) or self._timer.pair(before, after)

    def alone(self, spec: NetworkSpec) -> Measurement:
        """See PairedTimer."""
        return self._measurements.get(spec.fingerprint()) or self._timer.alone(spec)


def key(before: str, after: str) -> str:
    """What names a test of two networks, by their fingerprints."""
    return f"{before} {after}"
