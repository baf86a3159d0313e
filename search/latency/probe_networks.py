"""Networks that are timed in every round, beside whatever is measured: what the moment does to networks.

The reference does not tell it alone. It is small and called twice in a row, out of caches that a network finds used by
another; neighbours on the machine that want memory or caches slow the two down differently. Of 13 networks over 7
minutes (eager torch, 2 threads) the median beside the reference differed by 2.3 % from one 20 seconds to another and
by 2.0 % from minute to minute, nearly all of it alike in all of them; with the drift taken out by 2.1 and 1.7 %; beside
these three and the reference by 1.1 and 0.8 % (`python -m tests.benchmarks.latency_moments`). So a device keeps what
they took when it was first measured (at each resolution), and what they and the reference take more or less in a
moment, by their geometric mean, is taken off what else is measured then.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, median

from search.latency.interleave import Reading
from search.latency.robust import weighted_median
from search.latency.time_base import TimeBase
from searchspace import zoo
from searchspace.spec import NetworkSpec

NAMES = ("mobilenet_v2", "efficientnet_b0", "mobilenet_v3_large")
WINDOW = 10  # rounds before and behind one that tell its moment: of fewer the noise of three networks is in it
_FEWEST_PIXELS = 32  # their total stride

Beside = Mapping[str, Sequence[Reading]]  # of each anchor, by name, its readings in the rounds of something else


def anchors(resolution: int, known: Mapping[str, float] | None = None) -> tuple[NetworkSpec, ...]:
    """The anchors at a resolution (px), or those of them of which something is `known`."""
    names = [name for name in NAMES if known is None or name in known]
    return tuple(zoo.get(name, resolution=max(_FEWEST_PIXELS, resolution)) for name in names)


def together(parts: Iterable[Beside]) -> Beside:
    """All readings of each anchor, from those beside every group."""
    found: dict[str, list[Reading]] = {}
    for part in parts:
        for name, readings in part.items():
            found.setdefault(name, []).extend(readings)
    return found


def median_ms(beside: Beside, pace: TimeBase) -> dict[str, float]:
    """What each anchor took, by name."""
    return {name: weighted_median([(pace.ms(each)[0], each.weight) for each in own]) for name, own in beside.items()}


def moments(beside: Beside, pace: TimeBase) -> list[float]:
    """Of each round, how many times its usual time a network took: the geometric mean of the anchors, each the median
    of the rounds about it (of two turns of a group as of one), and of the reference, which takes its usual time by
    definition. Empty where nothing is known of them.

    Without the reference, whose noise is least, what all networks share would differ by a seventh to a half more from
    20 seconds to 20 seconds.
    """
    logs = [
        [math.log(pace.ms(each)[0] / pace.anchors[name]) for each in readings]
        for name, readings in beside.items()
        if name in pace.anchors
    ]
    rounds = range(min(map(len, logs), default=0))
    around = [[median(own[max(0, at - WINDOW) : at + WINDOW + 1]) for own in logs] for at in rounds]
    return [math.exp(fmean([*each, 0.0])) for each in around]


def settled(readings: Sequence[Reading], found: Sequence[float]) -> list[Reading]:
    """Readings as they would be in a usual moment; as they are where no moments were `found`."""
    if not found:
        return list(readings)
    return [
        reading._replace(ratios=tuple(part / moment for part in reading.ratios))
        for reading, moment in zip(readings, found, strict=True)
    ]
