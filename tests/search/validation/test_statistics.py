"""Kendall's tau, its interval, the band of equal MACs, the top tenth and regret."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from search.validation.statistics import Truth, difference, regret, top_overlap

EVERYTHING = 1e9  # a band that holds all pairs


def truth(accuracy: list[float], macs: list[float] | None = None, band: float = EVERYTHING) -> Truth:
    return Truth(np.array(accuracy, float), np.array(macs or [1.0] * len(accuracy), float), band)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=12))
def test_tau_is_scipys_also_with_ties(pairs: list[tuple[int, int]]) -> None:
    scores, accuracy = (np.array(each, float) for each in zip(*pairs, strict=True))
    found, expected = truth(list(accuracy)).agreement(scores).tau.value, kendalltau(scores, accuracy).statistic
    assert (found is None) == np.isnan(expected)
    if found is not None:
        assert found == pytest.approx(expected, abs=1e-12)


def test_the_interval_holds_tau_and_is_narrower_for_more_networks() -> None:
    rng = np.random.default_rng(0)
    widths = []
    for n in (15, 150):
        accuracy = rng.normal(size=n)
        tau = truth(list(accuracy)).agreement(accuracy + rng.normal(size=n)).tau
        assert tau.value is not None
        assert tau.low is not None
        assert tau.high is not None
        assert tau.low < tau.value < tau.high
        widths.append(tau.high - tau.low)
    assert widths[1] < widths[0] / 2


def test_the_interval_covers_the_true_tau() -> None:
    # Of a bivariate normal with correlation r, tau is 2 / pi * arcsin(r) (W. R. Greiner).
    rng, true, covered = np.random.default_rng(1), 2 / np.pi * np.arcsin(0.7), 0
    for _ in range(60):
        x = rng.normal(size=30)
        y = 0.7 * x + np.sqrt(1 - 0.49) * rng.normal(size=30)
        tau = truth(list(x)).agreement(y).tau
        assert tau.low is not None
        assert tau.high is not None
        covered += tau.low <= true <= tau.high
    assert covered >= 51  # 95 % of 60 is 57; percentile intervals of 30 cover a little less


def test_the_band_counts_pairs_of_about_equal_macs_alone() -> None:
    # 1 and 1.1, 2 and 2.2 are pairs; MACs order both wrongly, and all others rightly
    reference = truth([0.5, 0.4, 0.9, 0.8], [1.0, 1.1, 2.0, 2.2], band=1.1)
    by_macs = reference.agreement(np.array([1.0, 1.1, 2.0, 2.2]))
    assert by_macs.in_band.pairs == 2
    assert by_macs.tau.pairs == 6
    assert by_macs.in_band.value == -1
    assert by_macs.tau.value == pytest.approx(2 / 6)
    narrow = truth([0.5, 0.4], [1.0, 2.0], band=1.5).agreement(np.array([1.0, 2.0]))
    assert narrow.in_band.value is narrow.in_band.low is None


def test_networks_without_a_score_are_left_out() -> None:
    reference = truth([0.1, 0.2, 0.3, 0.4])
    some = reference.agreement(np.array([1.0, np.nan, 3.0, 2.0]))
    assert some.networks == 3
    assert some.tau.value == pytest.approx(kendalltau([1, 3, 2], [0.1, 0.3, 0.4]).statistic)
    assert some.regret == pytest.approx(0.1)
    nothing = reference.agreement(np.full(4, np.nan))
    assert nothing.networks == 0
    assert nothing.tau.value is nothing.tau.low is nothing.top_overlap is nothing.regret is None


def test_a_score_of_minus_infinity_is_the_lowest() -> None:
    tau = truth([0.1, 0.2, 0.3, 0.4]).agreement(np.array([-np.inf, -np.inf, 1.0, 2.0])).tau
    assert tau.value == pytest.approx(kendalltau([0, 0, 1, 2], [0.1, 0.2, 0.3, 0.4]).statistic)


def test_one_score_for_all_says_nothing() -> None:
    same = truth([0.1, 0.2, 0.6]).agreement(np.ones(3))
    assert same.tau.value is same.tau.high is None
    assert same.regret == pytest.approx(0.3)  # 0.6 and the mean, which any of them may be
    assert same.top_overlap == pytest.approx(1 / 3)


def test_the_overlap_is_of_the_best_tenth_rounded_up() -> None:
    accuracy = np.arange(20.0)
    assert top_overlap(accuracy, accuracy) == 1
    assert top_overlap(-accuracy, accuracy) == 0
    swapped = accuracy.copy()
    swapped[18], swapped[17] = 17, 18
    assert top_overlap(swapped, accuracy) == 0.5
    assert top_overlap(np.array([1.0, 2.0]), np.array([1.0, 2.0])) == 1
    # two of three tied scores are taken by lot
    assert top_overlap(np.array([5.0, 5, 5, *range(-17, 0)]), accuracy[::-1]) == pytest.approx(2 / 3)


def test_regret_is_what_the_pick_is_worse_than_the_best() -> None:
    accuracy = np.array([0.7, 0.9, 0.8])
    assert regret(np.array([1.0, 3, 2]), accuracy) == 0
    assert regret(np.array([1.0, 2, 3]), accuracy) == pytest.approx(0.1)


def test_a_difference_of_taus_is_taken_on_the_same_resamples() -> None:
    rng = np.random.default_rng(0)
    accuracy = rng.normal(size=40)
    reference, good = truth(list(accuracy)), accuracy + 0.3 * rng.normal(size=40)
    one = reference.agreement(good).tau
    nearly = reference.agreement(np.where(np.arange(40) == 3, good - 0.1, good)).tau
    found = difference(one, nearly)
    assert one.low is not None
    assert one.high is not None
    assert found["high"] - found["low"] < 0.3 * (one.high - one.low)
    assert difference(one, one) == {"value": 0.0, "low": 0.0, "high": 0.0}
