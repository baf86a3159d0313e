"""Medians, intervals, ranks and the fit: laws that hold for any numbers."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.latency.check import agreement, spearman
from search.latency.fit import fit
from search.latency.robust import median_interval, weight_of, weighted_median, weighted_quantile

VALUES = st.lists(st.floats(0.1, 10), min_size=1, max_size=40)


@given(values=VALUES)
def test_with_equal_weights_the_median_splits_the_values_in_halves(values: list[float]) -> None:
    median = weighted_median([(value, 1.0) for value in values])
    assert sum(value < median - 1e-9 for value in values) <= len(values) / 2
    assert sum(value > median + 1e-9 for value in values) <= len(values) / 2


@given(values=VALUES, shares=st.tuples(st.floats(0, 1), st.floats(0, 1)), seed=st.integers(0, 99))
def test_quantiles_rise_with_their_share_and_stay_among_the_values(
    values: list[float], shares: tuple[float, float], seed: int
) -> None:
    rng = random.Random(seed)
    weighted = [(value, rng.uniform(0.1, 10)) for value in values]
    low, high = (weighted_quantile(weighted, share) for share in sorted(shares))
    assert min(values) - 1e-9 <= low <= high + 1e-9
    assert high <= max(values) + 1e-9


def test_one_reading_taken_while_the_reference_stalled_does_not_move_the_median() -> None:
    good = [(1.0 + 0.001 * i, weight_of(10, 10.1)) for i in range(9)]
    assert weighted_median([*good, (0.05, weight_of(10, 400))]) == pytest.approx(1.004, abs=0.001)


def test_the_interval_of_the_median_holds_the_true_one_about_95_times_in_100() -> None:
    rng = random.Random(0)
    hits = 0
    for _ in range(400):
        low, high = median_interval([(rng.lognormvariate(0, 0.1), 1.0) for _ in range(25)])
        hits += low <= 1.0 <= high
    assert 0.91 <= hits / 400 <= 0.985


@given(scale=st.floats(0.5, 2), seed=st.integers(0, 99))
def test_the_fit_finds_the_scale_of_exact_data_and_no_error(scale: float, seed: int) -> None:
    rng = random.Random(seed)
    sums = [rng.uniform(5, 50) for _ in range(8)]
    found = fit(sums, [scale * s for s in sums])
    assert found.scale == pytest.approx(scale, rel=1e-6)
    assert found.network_ms == pytest.approx(0, abs=1e-6)
    assert found.relative_error < 1e-6


def test_the_error_of_a_fit_to_few_networks_holds_nine_of_ten_others() -> None:
    rng = random.Random(0)
    held = 0
    for _ in range(2000):
        sums = [rng.uniform(5, 50) for _ in range(7)]
        *known, fresh = [s * rng.gauss(1, 0.03) for s in sums]
        found = fit(sums[:-1], known)
        error = (found.network_ms + found.scale * sums[-1]) / fresh - 1
        held += abs(error) <= 1.645 * found.relative_error
    assert 0.88 <= held / 2000 <= 0.93  # 0.855 by the root mean square of the errors alone


def test_the_fit_finds_a_constant_and_never_a_negative_one() -> None:
    sums = [2.0, 5.0, 10.0, 20.0, 40.0, 60.0]
    up, down = fit(sums, [1.0 + s for s in sums]), fit(sums, [s - 1.0 for s in sums])
    assert up.network_ms == pytest.approx(1.0, rel=0.3)
    assert down.network_ms == 0.0


@given(values=st.lists(st.floats(0.1, 10), min_size=2, max_size=20, unique=True))
def test_spearman_is_one_for_any_rising_function_and_minus_one_for_a_falling_one(values: list[float]) -> None:
    assert spearman(values, [value**3 for value in values]) == pytest.approx(1)
    assert spearman(values, [-value for value in values]) == pytest.approx(-1)


def test_the_figures_of_a_check() -> None:
    found = agreement([1.0, 1.08, 1.2, 0.97], [1.0, 1.0, 1.0, 1.0])
    assert found.mape == pytest.approx((0.08 + 0.2 + 0.03) / 4)
    assert (found.within_5_percent, found.within_10_percent) == (0.5, 0.75)
    assert found.worst == pytest.approx(0.2)
