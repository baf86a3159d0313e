"""Readings: warmed up until stable, beside a reference that is warm itself."""

import itertools
from collections.abc import Iterable

from search.latency.interleave import MOST_WARM, Interleaver, Timer


def timer_of(times: Iterable[int]) -> tuple[Timer, list[int]]:
    """A timer that takes these times in turn, and the list of those it has taken."""
    left, taken = iter(times), list[int]()

    def call() -> list[int]:
        taken.append(next(left))
        return [taken[-1]]

    return call, taken


def test_a_timer_is_called_until_it_gets_no_faster() -> None:
    reference, _ = timer_of(itertools.repeat(100))
    compiles, its_times = timer_of([900, 890, 400, 120, 100, 97, 97, 97])
    steady, steady_times = timer_of(itertools.repeat(70))
    faster, faster_times = timer_of(int(1e6 * 0.5**call) for call in range(99))
    Interleaver(reference, seed=0).warm([compiles, steady, faster])
    assert its_times == [900, 890, 400, 120, 100, 97, 97]
    assert steady_times == [70, 70, 70]
    assert len(faster_times) == MOST_WARM


def test_the_reference_is_read_at_its_second_call_whatever_ran_before() -> None:
    reference, _ = timer_of(itertools.cycle([300, 100]))  # cold, warm
    network, _ = timer_of(itertools.repeat(250))
    for reading in Interleaver(reference, seed=0).round([network, network]):
        assert reading.reference_ns == 100
        assert reading.ratios == (2.5,)
        assert reading.weight == 10.0
