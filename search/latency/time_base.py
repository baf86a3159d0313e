"""From a reading to ms: the reference's quiet speed, and what else is known of times taken while the machine is slow.

A machine that is slow does not slow everything down by the same factor. Where the reference took r times its quiet
time, networks of one and a half to five times its size took about r^(1 - drift) times theirs, with a drift of 0 to 0.2
here: beside a reference at half its speed they looked up to 15 % too fast, in one minute and not in the next
(`python -m tests.benchmarks.latency_forty` tells the drift). It is learnt from the rounds of a table's own
measurement, and a measurement that saw one speed only takes what is usual. One exponent stands for all: the reference
itself has none, and networks of its size have less.
"""

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, median
from typing import NamedTuple

from search.latency.interleave import Reading
from searchspace.latency.table import MOST_DRIFT, LatencyTable

FEWEST = 4  # subjects in a round that tell its speed apart from the noise of one of them
# Of 15 networks of 3 to 30 ms in eager torch, over 15 minutes in which the reference took 1.0 to 1.9 times its quiet
# time: 0.05 to 0.22 each. Of 7 others over 11 minutes 0.15 in eager torch and in ONNX Runtime, from second to second as
# from minute to minute: with it they were 0.9 and 0.7 % off from minute to minute, 1.6 and 1.4 % with none. Tables of
# two hours, in one of which the reference took 1.3 and 1.5 times its time in the other, asked for 0.15 to 0.2.
USUAL = 0.15
BUSY = 2.0  # times the quiet speed; then short networks slip between what else runs, and look fast
# Deviation of drifts from what is known of them. With 0.08, two minutes of one speed could say -0.03, and networks that
# were measured in a slower moment came out 5 % fast; with 0.04 one build in which the processor was taken away for a
# minute (which slows everything alike) said 0.09, and tables of two hours were up to 8 % apart.
_APART = 0.02
_HALVINGS = 8
_IN_A_ROW = 3  # rounds that share what disturbs them


class TimeBase(NamedTuple):
    """What readings are stated at: ms of the reference on the quiet machine, the drift (0: none is known), and what
    anchors usually take, by name (see search.latency.probe_networks)."""

    reference_ms: float
    drift: float = 0.0
    anchors: Mapping[str, float] = {}

    def ms(self, reading: Reading) -> tuple[float, ...]:
        """Each part of a reading as it would be on the quiet machine."""
        slower = reading.reference_ns / 1e6 / self.reference_ms
        factor = self.reference_ms * slower**self.drift
        return tuple(part * factor for part in reading.ratios)


def time_base_of(table: LatencyTable) -> TimeBase:
    """That of a table."""
    return TimeBase(table.reference_ms, table.drift, table.anchors)


def drift_of(groups: Iterable[Sequence[Sequence[Reading]]], known: float = 0.0) -> float:
    """The drift by groups of subjects (each: its readings, one of every round): how ratios fall from round to round
    where the reference is slower, by least squares, weighed by its own error against what was `known` before.

    The subjects of a group are halved, in several ways, and the ratios of one half are held against the speed that the
    other half saw: a ratio has the noise of its own reference calls in it, which would look like a drift.
    """
    terms: list[tuple[float, float]] = []  # of some rounds: how far ratios fell with speed, and speed with itself
    rng = random.Random(0)
    for group in groups:
        if len(group) >= FEWEST:
            ways = [_halved(rng.sample(list(group), len(group))) for _ in range(_HALVINGS)]
            falls, squares = zip(
                *(
                    (fmean(fall for fall, _ in each), fmean(square for _, square in each))
                    for each in zip(*ways, strict=True)
                ),
                strict=True,
            )
            terms += [
                (
                    len(group) * math.fsum(falls[at : at + _IN_A_ROW]),
                    len(group) * math.fsum(squares[at : at + _IN_A_ROW]),
                )
                for at in range(0, len(falls), _IN_A_ROW)
            ]
    spread = math.fsum(square for _, square in terms)
    if not spread:
        return known
    found = math.fsum(fall for fall, _ in terms) / spread
    variance = math.fsum((fall - found * square) ** 2 for fall, square in terms) / spread**2
    share = _APART**2 / (_APART**2 + variance)
    return max(-MOST_DRIFT, min(MOST_DRIFT, known + share * (found - known)))


def _halved(order: Sequence[Sequence[Reading]]) -> list[tuple[float, float]]:
    """Of each round, by two halves of subjects: how far ratios fell with speed, and speed with itself."""
    halves = zip(_rounds(order[::2]), _rounds(order[1::2]), strict=True)
    return [(-(a * d + b * c) / 2, a * c) for (a, b), (c, d) in halves]


def _rounds(subjects: Sequence[Sequence[Reading]]) -> list[tuple[float, float]]:
    """Of each round: the log of the reference's time about its mean, and of the subjects' usual ratio about theirs."""
    speeds = [fmean(math.log(one.reference_ns) for one in turn) for turn in zip(*subjects, strict=False)]
    logs = [[math.log(sum(reading.ratios)) for reading in readings] for readings in subjects]
    usual = [median(each) for each in logs]
    away = [median(log - own for log, own in zip(turn, usual, strict=True)) for turn in zip(*logs, strict=False)]
    return [(speed - fmean(speeds), ratio) for speed, ratio in zip(speeds, away, strict=True)]
