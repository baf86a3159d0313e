"""The deployed size: from the images' own size, lower where the budget admits no useful network there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.deployed import auto_resolution, final_resolution
from searchspace.errors import InvalidArgument


def _quadratic(px: int) -> float:
    return 10 * (px / 224) ** 2


@pytest.mark.parametrize(("native", "px"), [(8, 32), (28, 96), (32, 96), (48, 160), (64, 192), (75, 224), (500, 224)])
def test_small_images_are_enlarged_threefold_and_large_ones_are_224_px(native: int, px: int) -> None:
    assert auto_resolution(native).px == px
    assert f"own {native} px are worth {px} px" in auto_resolution(native).reason


def test_it_is_lower_where_a_small_network_is_over_the_budget() -> None:
    found = auto_resolution(500, budget_ms=5, latency_of=_quadratic)
    assert found.px == 128
    assert found.reason.endswith("but a small network takes 10 ms there, and the budget is 5 ms: 128 px")
    assert auto_resolution(500, budget_ms=10, latency_of=_quadratic) == auto_resolution(500)


def test_a_budget_that_admits_nothing_gives_the_smallest_size_and_says_so() -> None:
    found = auto_resolution(500, budget_ms=0.01, latency_of=_quadratic)
    assert found.px == 32
    assert found.reason.endswith("32 px (it is over the budget at any size)")


@given(st.integers(1, 5000), st.floats(0.1, 20))
def test_it_is_a_multiple_of_the_total_stride_and_never_above_224(native: int, budget_ms: float) -> None:
    px = auto_resolution(native, budget_ms=budget_ms, latency_of=_quadratic).px
    assert px % 32 == 0
    assert 32 <= px <= 224


def test_images_have_at_least_a_pixel() -> None:
    with pytest.raises(InvalidArgument, match="at least 1 pixel, got 0"):
        auto_resolution(0)


@pytest.mark.parametrize(
    ("native", "judged", "deployed", "px"),
    [(39, 48, 48, 48), (39, 48, 224, 48), (300, 48, 224, 224), (100, 48, 224, 100), (39, 48, 32, 32)],
)
def test_the_winner_is_tested_on_images_no_smaller_than_it_was_judged_by(
    native: int, judged: int, deployed: int, px: int
) -> None:
    assert final_resolution(native, judged, deployed) == px
