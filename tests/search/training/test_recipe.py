"""The schedule of a training."""

import pytest

from search.training.recipe import Recipe, learning_rate


def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero() -> None:
    rates = [learning_rate(step, 100, Recipe(learning_rate=1.0, warmup_fraction=0.2)) for step in range(101)]
    assert rates[:20] == sorted(rates[:20])
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert max(rates) == rates[20] == 1.0
    assert rates[0] > 0
    assert rates[100] == pytest.approx(0)


def test_photographs_are_mirrored_and_digits_are_not() -> None:
    assert [Recipe.for_data(data).flip for data in (None, "digits", "photographs")] == [False, False, True]


def test_training_on_keeps_residual_branches_and_takes_half_the_rate() -> None:
    onward = Recipe(learning_rate=0.2).onward(epochs=3)
    assert (onward.zero_init_residual, onward.learning_rate, onward.epochs) == (False, 0.1, 3)
