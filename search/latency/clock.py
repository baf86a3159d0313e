"""Clocks that time the parts of one call, on the processor or on a GPU."""

from collections.abc import Callable
from itertools import pairwise
from time import perf_counter_ns, thread_time_ns
from typing import Any

import torch

from search.cores import is_preempted

EVENTS = 101  # whose median is the time of one


class Clock:
    """Marks points of time between `start` and `stop`, by the processor's clock."""

    def __init__(self) -> None:
        self._marks: list[int] = []

    def start(self) -> None:
        """Forget all marks, and wait until all work is done."""
        self._marks.clear()

    def mark(self) -> None:
        """Mark when all work that was queued so far is done."""
        self._marks.append(perf_counter_ns())

    def stop(self) -> list[int]:
        """The ns from each mark to the next, all at least 1."""
        return [max(1, end - start) for start, end in pairwise(self._marks)]


class ThreadClock(Clock):
    """The time that this thread computes, for work of one thread on a machine whose other processes hold the cores.

    What it waits for a core does not count. Beside two busy processes on two cores a network of 3 ms took 8 ms by the
    processor's clock. The time of a mark itself, a call of the system's of some 1 us, is subtracted.
    """

    def __init__(self) -> None:
        super().__init__()
        self._own_ns = 0
        self.start()
        for _ in range(EVENTS):
            self.mark()
        self._own_ns = sorted(self.stop())[EVENTS // 2]

    def mark(self) -> None:
        """See Clock."""
        self._marks.append(thread_time_ns())

    def stop(self) -> list[int]:
        """See Clock."""
        return [max(1, ns - self._own_ns) for ns in super().stop()]


class EventClock(Clock):
    """A GPU's clock: events in its queue, read when the queue is empty.

    The queue is empty at `start`, so the processor's time to fill it counts, as it does for one image. The time of an
    event itself is subtracted. `event` makes a torch.cuda.Event or torch.mps.Event with timing; `synchronize` waits for
    the queue.
    """

    def __init__(self, event: Callable[[], Any], synchronize: Callable[[], None]) -> None:
        super().__init__()
        self._event, self._synchronize = event, synchronize
        self._events: list[Any] = []
        self._used = 0
        self._own_ns: int | None = None

    def start(self) -> None:
        """See Clock."""
        if self._own_ns is None:
            self._own_ns = self._one_event_ns()
        self._synchronize()
        self._used = 0

    def mark(self) -> None:
        """See Clock."""
        if self._used == len(self._events):
            self._events.append(self._event())
        self._events[self._used].record()
        self._used += 1

    def stop(self) -> list[int]:
        """See Clock."""
        self._synchronize()
        marks = pairwise(self._events[: self._used])
        return [max(1, round(start.elapsed_time(end) * 1e6) - (self._own_ns or 0)) for start, end in marks]

    def _one_event_ns(self) -> int:
        self._own_ns = 0
        self.start()
        for _ in range(EVENTS):
            self.mark()
        return sorted(self.stop())[EVENTS // 2]


def clock_of(device: str, threads: int) -> Clock:
    """The clock of a torch device (cpu, cuda or mps) for work of so many threads."""
    if device == "cuda":
        return EventClock(lambda: torch.cuda.Event(enable_timing=True), torch.cuda.synchronize)  # type: ignore[no-untyped-call]
    if device == "mps":
        return EventClock(lambda: torch.mps.Event(enable_timing=True), torch.mps.synchronize)
    return ThreadClock() if threads == 1 and is_preempted() else Clock()
