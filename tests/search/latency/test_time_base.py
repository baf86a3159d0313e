"""The drift: how much less than the reference networks slow down, learnt from readings and taken out of them."""

import random
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.latency.cache import Cache
from search.latency.interleave import Reading
from search.latency.time_base import TimeBase, drift_of
from searchspace.latency.table import MOST_DRIFT, SCHEMA, Identity

QUIET_MS = 4.0
SIZES = (0.8, 1.3, 1.9, 2.4, 3.0, 4.5)
IDENTITY = Identity(
    schema=SCHEMA,
    machine="m",
    runtime="eager torch",
    threads=2,
    dtype="float32",
    batch=1,
    memory_format="channels_last",
    resolution=224,
    versions={},
)


def readings(
    drift: float, speeds: Sequence[float], *, noise: float = 0.0, around: float = 0.0, seed: int = 0
) -> list[list[Reading]]:
    """Of networks that take SIZES times the quiet reference, in rounds at `speeds` times its quiet time. `noise`: of a
    network's time; `around`: of the reference's beside each, which the ratio has in it, too."""
    rng = random.Random(seed)
    found = []
    for size in SIZES:
        own = []
        for speed in speeds:
            beside = QUIET_MS * 1e6 * speed * rng.gauss(1, around)
            ratio = QUIET_MS * 1e6 * speed ** (1 - drift) * rng.gauss(1, noise) / beside
            own.append(Reading(beside, 1.0, (0.4 * size * ratio, 0.6 * size * ratio)))
        found.append(own)
    return found


def wandering(rounds: int, seed: int = 0) -> list[float]:
    rng = random.Random(seed)
    return [rng.uniform(1, 2) for _ in range(rounds)]


@given(drift=st.floats(-0.2, 0.3))
@settings(max_examples=20)
def test_the_drift_of_a_wandering_machine_is_found_and_taken_out(drift: float) -> None:
    found = drift_of([readings(drift, wandering(20, seed)) for seed in range(4)])
    assert found == pytest.approx(drift, abs=0.02 + 0.05 * abs(drift))
    exact = TimeBase(QUIET_MS, drift)
    for size, own in zip(SIZES, readings(drift, wandering(20)), strict=True):
        for reading in own:
            assert exact.ms(reading) == pytest.approx((0.4 * size * QUIET_MS, 0.6 * size * QUIET_MS))


def test_noisy_readings_of_a_wandering_machine_tell_its_drift() -> None:
    groups = [readings(0.1, wandering(22, seed), noise=0.08, seed=seed) for seed in range(6)]
    assert drift_of(groups) == pytest.approx(0.1, abs=0.04)


def test_a_machine_of_one_speed_has_the_drift_that_was_known_whatever_its_noise() -> None:
    for known in (0.0, 0.12):
        found = []
        for seed in range(20):
            rng = random.Random(seed)
            speeds = [[1.8 + 0.01 * rng.random() for _ in range(40)] for _ in range(8)]
            groups = [readings(0.0, own, noise=0.04, around=0.05, seed=9 * seed + at) for at, own in enumerate(speeds)]
            found.append(drift_of(groups, known))
        assert fmean(found) == pytest.approx(known, abs=0.015)
        assert max(abs(one - known) for one in found) < 0.08


def test_readings_are_stated_at_the_quiet_speed() -> None:
    assert TimeBase(QUIET_MS, 0.25).ms(Reading(QUIET_MS * 16e6, 1.0, (2.0,))) == (4.0 * QUIET_MS,)
    assert TimeBase(QUIET_MS, 0.0).ms(Reading(9e6, 1.0, (2.0,))) == (2.0 * QUIET_MS,)


def test_few_networks_tell_nothing_and_no_noise_tells_more_than_the_most() -> None:
    assert drift_of([readings(0.2, wandering(20))[:3]]) == 0.0
    assert drift_of([]) == 0.0
    assert drift_of([readings(3.0, wandering(20)) for _ in range(9)]) == MOST_DRIFT


def test_a_device_keeps_its_first_quiet_speed_and_its_latest_drift(tmp_path: Path) -> None:
    told: list[str] = []
    cache = Cache(tmp_path, IDENTITY, note=told.append)
    assert cache.stored_time_base() is None
    first = cache.time_base([readings(0.1, wandering(20, 1)) for _ in range(3)])
    assert cache.stored_time_base() == first
    slower = cache.time_base([readings(0.2, [2 * speed for speed in wandering(20, 2)]) for _ in range(3)])
    assert slower.reference_ms == first.reference_ms
    assert slower.drift == pytest.approx(0.2, abs=0.03)
    steady = cache.time_base([readings(0.2, [2.0] * 20) for _ in range(3)])
    assert steady == slower  # nothing new is seen at one speed, and nothing forgotten
    faster = cache.time_base([readings(0.2, [0.95 * speed for speed in wandering(20, 1)]) for _ in range(3)])
    assert faster.reference_ms == first.reference_ms  # so tables of two sessions mean the same by a ms
    assert not told
    cache.reference_path.write_text('{"reference_ms": 4.0}')  # of a version that knew no drift
    assert cache.stored_time_base() == TimeBase(4.0, 0.0)
    assert not told
    cache.reference_path.write_text('{"reference_ms": 4.0, "drift": "much"}')
    assert cache.stored_time_base() is None
    assert "damaged" in told[0]


def test_a_machine_that_proves_to_be_much_faster_is_stated_anew_and_told_so(tmp_path: Path) -> None:
    told: list[str] = []
    cache = Cache(tmp_path, IDENTITY, note=told.append)
    busy = cache.time_base([readings(0.1, [1.5 * speed for speed in wandering(20, 1)]) for _ in range(3)])
    quiet = cache.time_base([readings(0.1, wandering(20, 1)) for _ in range(3)])
    assert quiet.reference_ms == pytest.approx(busy.reference_ms / 1.5)
    assert "50% faster than when its latency tables were first measured" in told[0]
    assert cache.stored_time_base() == quiet
