"""Networks within a budget: none over it, whatever share of the space that is."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.weight_sharing.draws import BudgetedDraws
from searchspace.cost import params
from searchspace.errors import InfeasibleBudget
from tests.naive_slicing import TINY

SMALLEST = params(TINY.spec(TINY.corner("smallest")))
LARGEST = params(TINY.spec(TINY.corner("largest")))


@settings(max_examples=40, deadline=None)
@given(share=st.floats(0, 1), seed=st.integers(0, 1000))
def test_no_network_over_the_budget_is_drawn(share: float, seed: int) -> None:
    limit = SMALLEST + share * (LARGEST - SMALLEST)
    draws = BudgetedDraws(TINY, lambda spec: params(spec) <= limit)
    assert params(draws.draw(random.Random(seed))) <= limit


def test_without_a_budget_every_value_of_every_choice_is_drawn() -> None:
    rng, draws = random.Random(0), BudgetedDraws(TINY, None)
    blocks = [block for _ in range(60) for block in draws.draw(rng).blocks]
    assert {block.kernel for block in blocks if hasattr(block, "kernel")} == {1, 3, 5, 7}
    assert {block.activation for block in blocks if hasattr(block, "activation")} == {"relu", "h_swish", "swish"}


def test_a_budget_below_the_smallest_network_is_refused() -> None:
    with pytest.raises(InfeasibleBudget, match=r"the space 'tiny' is over it: raise --budget-ms"):
        BudgetedDraws(TINY, lambda spec: params(spec) < SMALLEST)
