"""Several budgets in one search: which ones may be given, and how --pareto spreads them."""

import math
from collections.abc import Sequence
from itertools import pairwise

from searchspace.arguments import check_flag
from searchspace.errors import InvalidArgument

MOST_BUDGETS = 20
CLOSEST = 1.02  # the least ratio of two budgets: measurements of one network differ by as much
FEASIBLE = "feasible"  # the reward that is the same for all budgets


def the_budgets(
    budget_ms: float | None, budgets_ms: Sequence[float] | None, pareto: int | None
) -> tuple[float, tuple[float, ...] | None]:
    """What `--budget-ms`, `--budgets` and `--pareto` mean: the largest budget, and all where they are given.

    Several are put in order, the smallest first. Raises InvalidArgument unless there is exactly one of the first two.
    """
    if (budget_ms is None) == (budgets_ms is None):
        got = "none of them" if budget_ms is None else "both"
        raise InvalidArgument(
            f"exactly one of --budget-ms and --budgets must be given, got {got}: give --budget-ms 20 for one network "
            "or --budgets 5,10,20 for one each"
        )
    if budgets_ms is None:
        assert budget_ms is not None
        return budget_ms, None
    if pareto is not None:
        raise InvalidArgument(
            f"--pareto spreads budgets up to --budget-ms, got --pareto {pareto} and --budgets: give one of the two"
        )
    budgets = tuple(float(one) for one in budgets_ms)
    check_budgets(budgets)
    return max(budgets), tuple(sorted(budgets))


def check_budgets(budgets: Sequence[float]) -> None:
    """Raises InvalidArgument for budgets that cannot be searched together."""
    text = ",".join(f"{one:g}" for one in budgets)
    fits = 2 <= len(budgets) <= MOST_BUDGETS and all(0 < one < math.inf for one in budgets)
    check_flag("--budgets", text, fits, f"2 to {MOST_BUDGETS} numbers of ms above 0, as 5,10,20 (--budget-ms for one)")
    for smaller, larger in pairwise(sorted(budgets)):
        if larger < CLOSEST * smaller:
            raise InvalidArgument(
                f"--budgets must differ by at least {CLOSEST - 1:.0%}, got {smaller:g} and {larger:g}: leave one out"
            )


def check_pareto(pareto: int | None, trials: int | None, count: int, reward: str) -> None:
    """Raises InvalidArgument for a number of budgets, of candidates or a reward that do not go together."""
    check_flag("--pareto", pareto, pareto is None or 2 <= pareto <= MOST_BUDGETS, f"2 to {MOST_BUDGETS} budgets")
    if count > 1 and trials is not None and trials < count:
        raise InvalidArgument(
            f"--trials must be at least 1 for each of the {count} budgets, got {trials}: give --trials {count} or more"
        )
    if count > 1 and reward != FEASIBLE:
        raise InvalidArgument(
            f"--reward must be {FEASIBLE} where several budgets share their candidates, since others are of one "
            f"budget, got {reward}: leave --reward out, or search with one --budget-ms"
        )


def spread(fastest_ms: float, largest_ms: float, count: int) -> tuple[float, ...]:
    """`count` budgets by equal ratios: the fastest network's latency, left out, would be the one before the first.

    All but the largest are rounded up to three digits. Raises InvalidArgument where there is no room for so many.
    """
    ratio = (largest_ms / fastest_ms) ** (1 / count)
    budgets = (*(_rounded_up(fastest_ms * ratio**step) for step in range(1, count)), float(largest_ms))
    if ratio < CLOSEST or any(after < CLOSEST * before for before, after in pairwise(budgets)):
        raise InvalidArgument(
            f"--pareto {count} needs budgets that differ by at least {CLOSEST - 1:.0%} between the fastest network, at "
            f"{fastest_ms:.3g} ms, and --budget-ms {largest_ms:g}, too near: give fewer, or a larger --budget-ms"
        )
    return budgets


def _rounded_up(ms: float) -> float:
    unit = 10.0 ** (math.floor(math.log10(ms)) - 2)
    return float(f"{math.ceil(ms / unit - 1e-9) * unit:.3g}")


def budgets_text(budgets: Sequence[float], between: str = ",") -> str:
    """Budgets for people and commands: 5,10,20."""
    return between.join(f"{one:g}" for one in budgets)
