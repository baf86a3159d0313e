"""The benchmark of session effects: what networks share from window to window, and what probe networks take off it."""

import math
import random
from collections.abc import Callable

import pytest

from tests.benchmarks.latency_session_effect import main, report, shares, windows

PROBES = 3


def rounds(effect: Callable[[float], float], drift: float = 0.0) -> list[tuple[float, list[tuple[float, float]]]]:
    """Five networks and three probe networks, a round every second: a machine that takes 1 to 1.5 times its time, and
    networks that take `effect` (of the time) times theirs besides."""
    rng = random.Random(0)
    found = []
    for second in range(240):
        slow = 1 + 0.5 * (second // 20 % 2)
        ratios = [size * slow**-drift * effect(second) * rng.gauss(1, 0.001) for size in range(1, 6 + PROBES)]
        found.append((float(second), [(4e6 * slow, ratio) for ratio in ratios]))
    return found


def test_a_drift_is_taken_out_and_an_effect_on_all_networks_taken_off() -> None:
    drifting = shares(windows(rounds(lambda _: 1.0, drift=0.15), 20.0), PROBES)
    asis, out, off = (shared for shared, _ in drifting.values())
    assert asis == pytest.approx(0.15 * math.log(1.5) / 2, rel=0.05)
    assert out < 0.001
    assert off < 0.001
    effecty = shares(windows(rounds(lambda second: 1.04 if second % 120 < 60 else 1.0), 20.0), PROBES)
    with_drift, with_probes = [shared for shared, _ in effecty.values()][1:]
    assert with_probes == pytest.approx(with_drift / 4, rel=0.15)  # the reference is one of four


def test_windows_of_few_rounds_are_left_out_and_said_to_be_too_few() -> None:
    assert len(windows(rounds(lambda _: 1.0), 60.0)) == 4
    assert windows(rounds(lambda _: 1.0), 2.0) == []
    assert "too few windows" in report(rounds(lambda _: 1.0)[:40], probes=PROBES)


@pytest.mark.usefixtures("scripted_runtimes")
def test_it_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seconds", "0.01", "--networks", "1", "--resolution", "32", "--runtime", "scripted"]) == 0
    assert "the reference took" in capsys.readouterr().out
    assert main(["--networks", "0"]) == 2
