"""Robust statistics for a disturbed machine: weighted medians, their intervals, quantiles.

A reading is a ratio of two times taken side by side. It counts less the more the reference's speed changed meanwhile:
its weight is 1 / (0.1 + |before - after| / mean). On a machine whose speed wandered by a factor of two
this took 12 % off the spread of plain medians (10 to 60 readings each,
`python -m tests.benchmarks.latency_predictions`).
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

Weighted = tuple[float, float]  # value, weight


def weight_of(before: float, after: float) -> float:
    """The weight of a reading between two reference calls that took `before` and `after`."""
    return 1.0 / (0.1 + 2.0 * abs(before - after) / (before + after))


def weighted_quantile(values: Sequence[Weighted], share: float) -> float:
    """The value below which `share` of the weight lies (linear between the midpoints of the weights)."""
    ordered, weights = zip(*sorted(values), strict=True)
    total, below = sum(weights), accumulate(weights, initial=0.0)
    middles = [(before + weight / 2) / total for before, weight in zip(below, weights, strict=False)]
    at = bisect_left(middles, share)
    if at in (0, len(ordered)):
        return float(ordered[min(at, len(ordered) - 1)])
    low, high = ordered[at - 1 : at + 1]
    return float(low + (high - low) * (share - middles[at - 1]) / (middles[at] - middles[at - 1]))


def weighted_median(values: Sequence[Weighted]) -> float:
    """The weighted quantile of one half."""
    return weighted_quantile(values, 0.5)


def median_interval(values: Sequence[Weighted]) -> tuple[float, float]:
    """95 % interval of the weighted median from order statistics (normal approximation of the binomial).

    n readings of unequal weight count as (sum w)^2 / sum w^2 equal ones.
    """
    weights = [weight for _, weight in values]
    effective = sum(weights) ** 2 / sum(weight * weight for weight in weights)
    reach = min(0.5, 0.98 / math.sqrt(effective))
    return weighted_quantile(values, 0.5 - reach), weighted_quantile(values, 0.5 + reach)


def quantile(values: Sequence[float], share: float) -> float:
    """The plain quantile."""
    return weighted_quantile([(value, 1.0) for value in values], share)
