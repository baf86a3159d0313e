"""The time left of a job."""

import pytest

from search.console import TimeLeft, clock_text
from tests.scripted import Ticks


def test_the_time_left_follows_the_share_that_this_run_did() -> None:
    now = Ticks()
    clock = TimeLeft(now=now)
    assert clock.left_s() is None
    clock.at(0.5)  # what an earlier run did
    assert clock.left_s() is None
    now.pass_s(10)
    assert clock.at(0.6) == 0.6
    assert clock.left_s() == pytest.approx(40)  # a tenth took 10 s, four are left
    assert not clock.over()


def test_a_limit_bounds_it_and_passes() -> None:
    now = Ticks()
    clock = TimeLeft(30, now=now)
    assert clock.left_s() == 30
    clock.at(0.0)
    now.pass_s(10)
    clock.at(0.1)
    assert clock.left_s() == 20
    now.pass_s(20)
    assert clock.over()
    assert clock.left_s() == 0


def test_a_time_is_read_as_minutes_and_as_hours_where_it_is_long() -> None:
    assert [clock_text(seconds) for seconds in (0, 61.4, 3599.6)] == ["0:00", "1:01", "1:00:00"]
