"""Better, tied or worse: what the same test images say of two networks."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.versus import packed, paired_difference, unpacked, unpaired_difference


def answers(both: int, only_first: int, only_second: int, neither: int) -> tuple[list[bool], list[bool]]:
    first = [True] * (both + only_first) + [False] * (only_second + neither)
    second = [True] * both + [False] * only_first + [True] * only_second + [False] * neither
    return first, second


def test_the_paired_interval_is_that_of_agresti_and_min() -> None:
    """Their Wald+2: (c - b) / (n + 2) +- z * sqrt(b + c + 1 - (c - b)^2 / (n + 2)) / (n + 2), here c = 30, b = 10."""
    found = paired_difference(*answers(100, 30, 10, 60))
    assert found.value == 20 / 200
    deviation = (41 - 400 / 202) ** 0.5 / 202
    assert (found.low, found.high) == pytest.approx((20 / 202 - 1.959964 * deviation, 20 / 202 + 1.959964 * deviation))


@pytest.mark.parametrize(
    ("counts", "verdict"), [((900, 40, 10, 50), "better"), ((900, 20, 20, 60), "tied"), ((900, 10, 40, 50), "worse")]
)
def test_the_verdict_is_by_the_interval(counts: tuple[int, int, int, int], verdict: str) -> None:
    assert paired_difference(*answers(*counts)).verdict == verdict


def test_the_same_answers_are_tied_and_the_interval_is_not_empty() -> None:
    found = paired_difference([True] * 20, [True] * 20)
    assert found.verdict == "tied"
    assert found.low < 0 < found.high


def test_pairs_tell_more_than_two_accuracies_of_networks_that_agree_mostly() -> None:
    first, second = answers(900, 40, 15, 45)
    pairs = paired_difference(first, second)
    apart = unpaired_difference(0.94, 0.915, images=(1000, 1000))
    assert pairs.value == pytest.approx(apart.value)
    assert pairs.high - pairs.low < apart.high - apart.low
    assert (pairs.verdict, apart.verdict) == ("better", "better" if apart.low > 0 else "tied")


def test_the_paired_interval_holds_the_truth_in_19_of_20_cases() -> None:
    rng, held = random.Random(0), 0
    for _ in range(400):
        drawn = [(rng.random() < 0.9, rng.random() < 0.87) for _ in range(200)]
        found = paired_difference([a for a, _ in drawn], [b for _, b in drawn])
        held += found.low <= 0.03 <= found.high
    assert 0.92 <= held / 400 <= 0.98


@given(st.lists(st.booleans()))
def test_what_is_packed_is_unpacked(right: list[bool]) -> None:
    assert list(unpacked(packed(right))) == right
