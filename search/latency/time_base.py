"""TimeBase: from readings, which are ratios to the reference network, to ms on the quiet machine.

A slow machine does not slow everything down by the same factor. Where the reference took r times its quiet time,
networks of 1.5 to 5 times its size took about r^(1 - drift) times theirs, with a drift of 0 to 0.2: beside a reference
at half its speed they looked up to 15 % too fast (`python -m tests.benchmarks.latency_predictions`). The drift is
learnt from the rounds of a table's own measurement. One exponent stands for all networks; the reference has none by
definition, and networks of its size have less.
"""

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, median
from typing import NamedTuple

from search.latency.interleave import Reading
from searchspace.latency.table import MOST_DRIFT, LatencyTable

FEWEST = 4  # subjects of a group; with fewer, the noise of one of them looks like a change of speed
# Measured: 0.05 to 0.22 for each of 15 networks of 3 to 30 ms in eager torch, over 15 minutes in which the reference
# took 1.0 to 1.9 times its quiet time; 0.15 for 7 others over 11 minutes, in eager torch and in ONNX Runtime (with it
# they were 0.9 and 0.7 % off from minute to minute, without 1.6 and 1.4 %). Pairs of tables of two hours, of which one
# saw the reference at 1.3 and 1.5 times its time in the other, agreed best with 0.15 to 0.2.
USUAL = 0.15
BUSY = 2.0  # times the quiet speed; beyond it short networks slip between other work, and look fast
# Standard deviation of a device's drift about what was known before. With 0.08, two minutes at one speed could give
# -0.03, and networks measured in a slower session came out 5 % fast. With 0.04 a build during which the processor was
# taken away for a minute (which slows everything alike) gave 0.09, and tables of two hours were up to 8 % apart.
_DEVIATION = 0.02
_HALVINGS = 8
_BLOCK = 3  # rounds in a row share what disturbs them


class TimeBase(NamedTuple):
    """What readings are stated at.

    `reference_ms`: the reference network on the quiet machine. `drift`: 0 if none is known. `probe_networks_ms`: the
    usual ms of probe networks, by name (search.latency.probe_networks).
    """

    reference_ms: float
    drift: float = 0.0
    probe_networks_ms: Mapping[str, float] = {}

    def ms(self, reading: Reading) -> tuple[float, ...]:
        """The ms of each part of a reading, as on the quiet machine."""
        slowdown = reading.reference_ns / 1e6 / self.reference_ms
        factor = self.reference_ms * slowdown**self.drift
        return tuple(part * factor for part in reading.ratios)


def time_base_of(table: LatencyTable) -> TimeBase:
    """The time base that a table is stated at."""
    return TimeBase(table.reference_ms, table.drift, table.probe_networks_ms)


def drift_of(groups: Iterable[Sequence[Sequence[Reading]]], known: float = 0.0) -> float:
    """The drift by the readings of groups of subjects, a reading a round for each subject.

    It is the least-squares slope by which ratios fall where the reference is slower, combined with the drift `known`
    before by the variances of both. Each group is halved in several ways, and the ratios of one half are regressed on
    the speed that the other half saw: a ratio has the noise of its own reference calls in it, which would look like a
    drift.
    """
    terms: list[tuple[float, float]] = []  # of blocks of rounds: covariance of fall and speed, variance of speed
    rng = random.Random(0)
    for group in groups:
        if len(group) >= FEWEST:
            ways = [_halved(rng.sample(list(group), len(group))) for _ in range(_HALVINGS)]
            rounds = [[fmean(values) for values in zip(*each, strict=True)] for each in zip(*ways, strict=True)]
            terms += [
                (len(group) * math.fsum(fall for fall, _ in block), len(group) * math.fsum(own for _, own in block))
                for block in (rounds[at : at + _BLOCK] for at in range(0, len(rounds), _BLOCK))
            ]
    spread = math.fsum(square for _, square in terms)
    if not spread:
        return known
    found = math.fsum(fall for fall, _ in terms) / spread
    variance = math.fsum((fall - found * square) ** 2 for fall, square in terms) / spread**2
    share = _DEVIATION**2 / (_DEVIATION**2 + variance)
    return max(-MOST_DRIFT, min(MOST_DRIFT, known + share * (found - known)))


def _halved(order: Sequence[Sequence[Reading]]) -> list[tuple[float, float]]:
    """For each round, by two halves of the subjects: how far ratios fell times speed, and speed squared."""
    halves = zip(_deviations(order[::2]), _deviations(order[1::2]), strict=True)
    return [(-(a * d + b * c) / 2, a * c) for (a, b), (c, d) in halves]


def _deviations(subjects: Sequence[Sequence[Reading]]) -> list[tuple[float, float]]:
    """For each round: the log of the reference's time less its mean, and of the subjects' ratios less their medians."""
    speeds = [fmean(math.log(one.reference_ns) for one in turn) for turn in zip(*subjects, strict=False)]
    logs = [[math.log(sum(reading.ratios)) for reading in readings] for readings in subjects]
    usual = [median(each) for each in logs]
    away = [median(log - own for log, own in zip(turn, usual, strict=True)) for turn in zip(*logs, strict=False)]
    return [(speed - fmean(speeds), ratio) for speed, ratio in zip(speeds, away, strict=True)]
