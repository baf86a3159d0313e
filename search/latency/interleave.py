"""How times are taken: each call between two calls of the reference network, in random order, round by round.

One call is one reading: reading the clock takes 0.08 us, a kernel 10 us and more. The noise comes from the machine, and
rounds apart in time average it better than calls in a row, which share it. On a GPU, whose events are coarser, a
reading is the median of 5 calls.
"""

import math
import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, NamedTuple, Protocol

from search.latency.kernels import PlacedBlock
from search.latency.robust import weight_of
from searchspace.latency.table import Identity
from searchspace.spec import NetworkSpec

if TYPE_CHECKING:
    from torch import nn

MOST_WARM = 10  # calls of a timer before it is timed
STABLE = 0.95  # of the fastest call before: a call that takes less is still getting faster

Timer = Callable[[], Sequence[int]]  # one call; the ns of each of its parts


class Runtime(Protocol):
    """Runs networks and isolated blocks in their deployed form, as timers."""

    def identity(self, resolution: int) -> Identity:
        """Machine, runtime, setting and versions, for tables at `resolution` pixels."""

    def network(self, spec: NetworkSpec) -> Timer:
        """A whole network with random weights; one part."""

    def module(self, module: "nn.Module", spec: NetworkSpec) -> Timer:
        """A deployed copy of a (trained) module of `spec`; one part."""

    def kernels(self, blocks: Sequence[PlacedBlock]) -> Timer:
        """Isolated blocks one after the other; a part for each of their layers, in order."""

    def quiet(self) -> AbstractContextManager[None]:
        """A context without autograd, garbage collection or other disturbances of our own."""


class Reading(NamedTuple):
    """One call: the mean ns of the reference calls around it, its weight, and each part's time over that mean."""

    reference_ns: float
    weight: float
    ratios: tuple[float, ...]


class Interleaver:
    """Times subjects beside the reference."""

    def __init__(self, reference: Timer, *, seed: int) -> None:
        self._reference = reference
        self._rng = random.Random(seed)

    def warm(self, timers: Sequence[Timer]) -> None:
        """Call the reference and each timer until two calls in a row are not faster than those before.

        First calls make kernels, tune them and fill caches.
        """
        for timer in (self._reference, *timers):
            best, idle = math.inf, 0
            for _ in range(MOST_WARM):
                now = sum(timer())
                idle = 0 if now < STABLE * best else idle + 1
                best = min(best, now)
                if idle == 2:
                    break

    def round(self, timers: Sequence[Timer]) -> list[Reading]:
        """Call each timer once, in random order; a reading for each, in the order given."""
        order = list(range(len(timers)))
        self._rng.shuffle(order)
        readings: dict[int, Reading] = {}
        before = self._reference_ns()
        for index in order:
            parts = timers[index]()
            after = self._reference_ns()
            mean = (before + after) / 2
            readings[index] = Reading(mean, weight_of(before, after), tuple(part / mean for part in parts))
            before = after
        return [readings[index] for index in range(len(timers))]

    def _reference_ns(self) -> int:
        # The second of two calls: the first brings the weights back into the caches. Without it the reference is
        # slower behind something large, and everything large looks fast.
        self._reference()
        return sum(self._reference())
