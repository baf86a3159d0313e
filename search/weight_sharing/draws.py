"""Networks of a search space that are within a budget, drawn at random."""

import random
from collections.abc import Callable

from searchspace.errors import InfeasibleBudget
from searchspace.spaces.space import Choices, SearchSpace
from searchspace.spec import NetworkSpec

Within = Callable[[NetworkSpec], bool]
DRAWS = 10  # tries of rejection sampling, before a network is brought within the budget


class BudgetedDraws:
    """Draws networks for which `within` is true (None: all).

    Raises InfeasibleBudget where the smallest network is not within the budget.
    """

    def __init__(self, space: SearchSpace, within: Within | None) -> None:
        self._space, self._within = space, within or (lambda spec: True)
        self._values = space.parameters()
        first = {name: values[0] for name, values in self._values.items()}
        self._small: Choices = first | space.corner("smallest")
        self.smallest = space.spec(self._small, name="smallest")
        if not self._within(self.smallest):
            raise InfeasibleBudget(
                f"a shared network needs its smallest network within the budget, and that of the space {space.name!r} "
                "is over it: raise --budget-ms, or take a space with smaller networks (--space)"
            )

    def draw(self, rng: random.Random) -> NetworkSpec:
        """A network within the budget: evenly drawn, or with as few of the smallest one's choices as it takes."""
        for _ in range(DRAWS):
            choices = {name: rng.choice(values) for name, values in self._values.items()}
            if self._within(spec := self._space.spec(choices)):
                return spec
        order = rng.sample(sorted(choices), len(choices))
        fewest, most = 0, len(order)
        while fewest < most:  # all of them are the smallest network, which fits
            half = (fewest + most) // 2
            within = self._within(self._space.spec(choices | {name: self._small[name] for name in order[:half]}))
            fewest, most = (fewest, half) if within else (half + 1, most)
        return self._space.spec(choices | {name: self._small[name] for name in order[:most]})
