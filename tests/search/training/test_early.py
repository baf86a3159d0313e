"""When a training by epochs may end before its time."""

import pytest

from search.training.early import gain_left, is_over

MANY = {"images": 100, "chance": 0.5, "passes": 100.0}


def test_what_is_left_to_gain_falls_as_the_end_comes_nearer() -> None:
    left = [gain_left(0.8, 0.7, share) for share in (0.1, 0.3, 0.5, 0.9)]
    assert left == sorted(left, reverse=True)
    assert gain_left(0.8, 0.7, 0.5) == pytest.approx(0.1)  # one doubling: as much as the last one
    assert gain_left(0.8, 0.8, 0.25) == pytest.approx(0.08)  # two, each of a fifth of the errors


def test_an_accuracy_that_stays_ends_the_training_and_one_that_rises_does_not() -> None:
    assert is_over([0.8] * 20, 0.3, **MANY)
    assert not is_over([0.6 + 0.01 * epoch for epoch in range(20)], 0.3, **MANY)


def test_more_validation_images_show_more_so_that_it_goes_on_for_longer() -> None:
    rising = [0.8 + 0.001 * epoch for epoch in range(20)]
    assert is_over(rising, 0.5, **MANY)
    assert not is_over(rising, 0.5, **MANY | {"images": 10_000})


@pytest.mark.parametrize("accuracy", [0.5, 0.58])
def test_a_network_that_is_not_surely_better_than_chance_goes_on(accuracy: float) -> None:
    assert not is_over([accuracy] * 20, 0.3, **MANY)
    assert is_over([0.65] * 20, 0.3, **MANY)


def test_images_that_were_seen_a_few_times_may_still_teach_something() -> None:
    assert not is_over([0.8] * 20, 0.3, **MANY | {"passes": 5.0})


def test_a_few_looks_say_nothing() -> None:
    assert not is_over([0.8] * 7, 0.3, **MANY)
