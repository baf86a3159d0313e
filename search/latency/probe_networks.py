"""Probe networks: published networks timed in every round, which tell the effect of the session on networks.

The reference network does not tell it alone. It is small and called twice in a row, so it is out of caches that a
network finds used by another; other work on the machine that wants memory or caches slows the two down differently.
Over 7 minutes (13 networks, eager torch, 2 threads) the median beside the reference differed by 2.3 % from one 20
seconds to another and by 2.0 % from minute to minute, nearly all of it alike in all networks; with the drift removed by
2.1 and 1.7 %; with the session effect removed by 1.1 and 0.8 % (`python -m tests.benchmarks.latency_session_effect`).

A device keeps the probe networks' times of its first measurement at each resolution. The session effect is the
geometric mean of (time now / time then) over the probe networks and the reference; what else is measured is divided
by it.
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
WINDOW = 10  # rounds on both sides of one over which its session effect is taken: fewer leave noise in it
_FEWEST_PIXELS = 32  # their total stride

ProbeReadings = Mapping[str, Sequence[Reading]]  # by name, a reading for each round of what is measured


def probe_networks(resolution: int, known: Mapping[str, float] | None = None) -> tuple[NetworkSpec, ...]:
    """The probe networks at a resolution in pixels; only those in `known`, where it is given."""
    names = [name for name in NAMES if known is None or name in known]
    return tuple(zoo.get(name, resolution=max(_FEWEST_PIXELS, resolution)) for name in names)


def merged(groups: Iterable[ProbeReadings]) -> ProbeReadings:
    """The readings of every group, by probe network."""
    found: dict[str, list[Reading]] = {}
    for group in groups:
        for name, readings in group.items():
            found.setdefault(name, []).extend(readings)
    return found


def median_ms(probes: ProbeReadings, time_base: TimeBase) -> dict[str, float]:
    """The median ms of each probe network, by name."""
    return {
        name: weighted_median([(time_base.ms(each)[0], each.weight) for each in own]) for name, own in probes.items()
    }


def session_effects(probes: ProbeReadings, time_base: TimeBase) -> list[float]:
    """For each round, how many times its usual time a network took; empty if no usual times are known.

    It is the geometric mean over the probe networks (each the median of the rounds within WINDOW) and the reference,
    whose effect is 1 by definition. Without the reference, which has the least noise, the effect that all networks
    share would differ by a seventh to a half more from one 20 seconds to another.
    """
    logs = [
        [math.log(time_base.ms(each)[0] / time_base.probe_networks_ms[name]) for each in readings]
        for name, readings in probes.items()
        if name in time_base.probe_networks_ms
    ]
    rounds = range(min(map(len, logs), default=0))
    around = [[median(own[max(0, at - WINDOW) : at + WINDOW + 1]) for own in logs] for at in rounds]
    return [math.exp(fmean([*each, 0.0])) for each in around]


def without_effects(readings: Sequence[Reading], effects: Sequence[float]) -> list[Reading]:
    """Readings divided by the session effect of their round; unchanged where there are no effects."""
    if not effects:
        return list(readings)
    return [
        reading._replace(ratios=tuple(part / effect for part in reading.ratios))
        for reading, effect in zip(readings, effects, strict=True)
    ]
