"""Networks that are timed in every round, beside whatever is measured: what the moment does to networks.

The reference does not tell it alone. It is small and called twice in a row, out of caches that a network finds used by
another; neighbours on the machine that want memory or caches slow the two down differently. Of 13 networks over 7
minutes (eager torch, 2 threads) the median beside the reference differed by 2.3 % from one 20 seconds to another and
by 2.0 % from minute to minute, nearly all of it alike in all of them; with the drift taken out by 2.1 and 1.7 %; beside
these three and the reference by 1.1 and 0.8 % (`python -m studies.benchmarks.latency_moments`). So a device keeps what
they took when it was first measured, and what they take more or less in a moment is taken off what else is measured
then.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, median

from search.latency.interleave import Reading
from search.latency.pace import Pace
from search.latency.robust import weighted_median
from searchspace import zoo
from searchspace.spec import NetworkSpec

NAMES = ("mobilenet_v2", "efficientnet_b0", "mobilenet_v3_large")
WINDOW = 10  # rounds before and behind one that tell its moment: of fewer the noise of three networks is in it
_FEWEST_PIXELS = 32  # their total stride


def anchors(resolution: int, known: Mapping[str, float] | None = None) -> tuple[NetworkSpec, ...]:
    """The anchors at a resolution (px), or those of them of which something is `known`."""
    names = [name for name in NAMES if known is None or name in known]
    return tuple(zoo.get(name, resolution=max(_FEWEST_PIXELS, resolution)) for name in names)


def by_name(beside: Sequence[NetworkSpec], parts: Sequence[Sequence[Sequence[Reading]]]) -> dict[str, list[Reading]]:
    """All readings of each anchor, by name, from those of every group."""
    return {spec.name: [reading for part in parts for reading in part[place]] for place, spec in enumerate(beside)}


def usual_ms(readings: Mapping[str, Sequence[Reading]], pace: Pace) -> dict[str, float]:
    """What each anchor takes, by name."""
    return {name: weighted_median([(pace.ms(each)[0], each.weight) for each in own]) for name, own in readings.items()}


def moments(beside: Sequence[Sequence[Reading]], pace: Pace) -> list[float]:
    """Of each round, how many times its usual time a network took: the geometric mean of the anchors (in the order of
    `anchors`), each the median of the rounds about it, and of the reference, which takes its usual time by definition.
    Empty where nothing is known of them.

    Without the reference, whose noise is least, what all networks share would differ by a quarter more from 20 seconds
    to 20 seconds.
    """
    usual = [pace.anchors[name] for name in NAMES if name in pace.anchors]
    logs = [[math.log(pace.ms(each)[0] / ms) for each in readings] for readings, ms in zip(beside, usual, strict=True)]
    rounds = range(len(logs[0]) if logs else 0)
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
