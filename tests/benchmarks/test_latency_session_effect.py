"""The study of moments: what networks share from window to window, and what anchors take off it."""

import math
import random
from collections.abc import Callable

import pytest

from tests.benchmarks.latency_session_effect import main, report, shares, windows

ANCHORS = 3


def rounds(mood: Callable[[float], float], drift: float = 0.0) -> list[tuple[float, list[tuple[float, float]]]]:
    """Five networks and three anchors, a round every second: a machine that takes 1 to 1.5 times its time, and
    networks that take `mood` (of the time) times theirs besides."""
    rng = random.Random(0)
    found = []
    for second in range(240):
        slow = 1 + 0.5 * (second // 20 % 2)
        ratios = [size * slow**-drift * mood(second) * rng.gauss(1, 0.001) for size in range(1, 6 + ANCHORS)]
        found.append((float(second), [(4e6 * slow, ratio) for ratio in ratios]))
    return found


def test_a_drift_is_taken_out_and_a_mood_of_all_networks_taken_off() -> None:
    drifting = shares(windows(rounds(lambda _: 1.0, drift=0.15), 20.0), ANCHORS)
    asis, out, off = (shared for shared, _ in drifting.values())
    assert asis == pytest.approx(0.15 * math.log(1.5) / 2, rel=0.05)
    assert out < 0.001
    assert off < 0.001
    moody = shares(windows(rounds(lambda second: 1.04 if second % 120 < 60 else 1.0), 20.0), ANCHORS)
    with_drift, with_anchors = [shared for shared, _ in moody.values()][1:]
    assert with_anchors == pytest.approx(with_drift / 4, rel=0.15)  # the reference is one of four


def test_windows_of_few_rounds_are_left_out_and_said_to_be_too_few() -> None:
    assert len(windows(rounds(lambda _: 1.0), 60.0)) == 4
    assert windows(rounds(lambda _: 1.0), 2.0) == []
    assert "too few windows" in report(rounds(lambda _: 1.0)[:40], anchors=ANCHORS)


def test_the_study_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seconds", "0.1", "--networks", "1", "--resolution", "32", "--threads", "1"]) == 0
    out = capsys.readouterr().out
    assert "the reference took" in out
    assert main(["--networks", "0"]) == 2
