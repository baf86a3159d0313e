"""Rewards: the equations of MnasNet and TuNAS."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.reward import REWARDS, absolute, feasible, mnas_hard, mnas_soft
from search.settings import Settings
from searchspace.errors import InvalidArgument

fractions = st.floats(0.01, 1.0)
latencies = st.floats(0.1, 100.0)


def test_mnas_soft_at_twice_the_budget_costs_the_exponent() -> None:
    assert mnas_soft(0.75, 40.0, 20.0) == pytest.approx(0.75 * 2**-0.07)
    assert mnas_soft(0.75, 10.0, 20.0) == pytest.approx(0.75 * 0.5**-0.07)


def test_mnas_hard_is_flat_within_the_budget_and_inverse_above() -> None:
    assert mnas_hard(0.75, 10.0, 20.0) == 0.75
    assert mnas_hard(0.75, 40.0, 20.0) == pytest.approx(0.375)


def test_absolute_loses_on_both_sides_of_the_budget() -> None:
    assert absolute(0.75, 22.0, 20.0) == pytest.approx(0.75 - 0.07 * 0.1)
    assert absolute(0.75, 18.0, 20.0) == pytest.approx(0.75 - 0.07 * 0.1)


def test_feasible_is_nothing_above_the_budget() -> None:
    assert feasible(0.75, 20.0, 20.0) == 0.75
    assert feasible(0.75, 20.1, 20.0) == 0.0


@given(fractions, fractions, latencies, latencies)
def test_a_more_accurate_network_of_equal_latency_is_never_worse(a: float, b: float, ms: float, budget: float) -> None:
    low, high = sorted((a, b))
    for reward in REWARDS.values():
        assert reward(high, ms, budget) >= reward(low, ms, budget)


@given(fractions, latencies)
def test_at_the_budget_every_reward_is_the_accuracy(accuracy: float, budget: float) -> None:
    for reward in REWARDS.values():
        assert reward(accuracy, budget, budget) == pytest.approx(accuracy)


def test_an_unknown_reward_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(InvalidArgument, match="feasible, mnas-soft, mnas-hard, absolute, got 'mnas'"):
        Settings(budget_ms=20, reward="mnas")
