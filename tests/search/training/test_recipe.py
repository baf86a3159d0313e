"""The schedule of a training."""

from dataclasses import asdict

import pytest

from search.training.recipe import FineTuning, Recipe, learning_rate
from search.training.variation import checked
from searchspace.errors import InvalidArgument


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


def test_images_are_varied_by_what_is_named_and_by_nothing_else() -> None:
    assert Recipe().varied("none").shift == 0
    assert not Recipe(flip=True).varied("shift").flip
    both = Recipe().varied("flip,rotate")
    assert (both.flip, both.rotate, both.shift) == (True, True, 0)
    assert FineTuning().varied_as(both).rotate


def test_a_recipe_is_stored_as_by_versions_that_knew_no_turning() -> None:
    assert Recipe().identity().keys() == asdict(Recipe()).keys() - {"rotate", "tilt", "crop", "class_weights"}
    assert Recipe().varied("crop").identity()["crop"] == 0.25


@pytest.mark.parametrize("given", ["", "flop", "flip,", "none,flip", "auto,flip", "Flip"])
def test_names_that_are_none_are_refused_with_those_there_are(given: str) -> None:
    with pytest.raises(InvalidArgument, match=r"--augment must be auto, none, or .*shift, flip, rotate.*got"):
        checked(given)


def test_names_stand_in_one_order() -> None:
    assert checked("flip, shift,flip") == "shift,flip"
