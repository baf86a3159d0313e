"""The time left of a job."""

import pytest

from search import console
from search.console import TimeLeft


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    moment = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: moment[0])
    return moment


def test_the_time_left_follows_the_share_that_this_run_did(now: list[float]) -> None:
    clock = TimeLeft()
    assert clock.left_s() is None
    clock.at(0.5)  # what an earlier run did
    assert clock.left_s() is None
    now[0] += 10
    assert clock.at(0.6) == 0.6
    assert clock.left_s() == pytest.approx(40)  # a tenth took 10 s, four are left
    assert not clock.over()


def test_a_limit_bounds_it_and_passes(now: list[float]) -> None:
    clock = TimeLeft(30)
    assert clock.left_s() == 30
    clock.at(0.0)
    now[0] += 10
    clock.at(0.1)
    assert clock.left_s() == 20
    now[0] += 20
    assert clock.over()
    assert clock.left_s() == 0
