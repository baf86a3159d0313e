"""How much a candidate is expected to gain: expected improvement, and expected hypervolume improvement."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

Array = npt.NDArray[np.float64]
DIRECTIONS, DRAWS = 64, 8
MARGIN = 0.1  # of the front's extent, by which the reference point is below its worst


def expected_improvement(mean: Array, deviation: Array, best: float) -> Array:
    """Of normal values (n,) over `best`, the higher the better."""
    z = (mean - best) / deviation
    return np.asarray(deviation * (z * ndtr(z) + np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)))


def steady(gains: Array) -> Array:
    """Their logarithms to six places: an order that the last bits of a sum do not change."""
    return np.asarray(np.round(np.log(np.maximum(gains, 1e-300)), 6))


def front_of(values: Array) -> npt.NDArray[np.int64]:
    """Which rows of (n, objectives) no other is better than in all objectives, equal ones once; higher is better."""
    order = np.lexsort(-values.T[::-1])
    kept: list[int] = []
    for place in order.tolist():
        if not any((values[other] >= values[place]).all() for other in kept):
            kept.append(place)
    return np.array(kept, dtype=np.int64)


def _added_area(front: Array, rng: np.random.Generator) -> Callable[[Array], Array]:
    """The area above 0 that rows of two values add to that of a front (m, 2)."""
    steps = front[np.argsort(front[:, 0])]  # the second value falls
    left, right = np.append(0.0, steps[:, 0]), np.append(steps[:, 0], np.inf)
    height = np.append(steps[:, 1], 0.0)

    def added(rows: Array) -> Array:
        wide = (np.minimum(rows[:, :1], right) - left).clip(0)
        return np.asarray((wide * (rows[:, 1:] - height).clip(0)).sum(axis=1))

    return added


def _added_lengths(front: Array, rng: np.random.Generator) -> Callable[[Array], Array]:
    """What rows (n, objectives) add to a front's mean length along random directions, to the power of their number."""
    objectives = front.shape[1]
    directions = np.abs(rng.normal(size=(DIRECTIONS, objectives))) + 1e-9
    directions /= np.linalg.norm(directions, axis=1)[:, None]

    def lengths(rows: Array) -> Array:
        return np.asarray((rows[:, None, :] / directions).min(axis=-1).clip(0) ** objectives)

    best = lengths(front).max(axis=0)
    return lambda rows: np.asarray((lengths(rows) - best).clip(0).mean(axis=1))


def hypervolume_improvement(means: Array, deviations: Array, believed: Array, rng: np.random.Generator) -> Array:
    """Expected gain of hypervolume, up to a factor, of normal values (n, objectives) over what is `believed` (m, ...).

    Exact for given values of two objectives; for more, the hypervolume is the mean, over random directions, of the best
    length along each (arXiv:2006.04655). The reference point is MARGIN of the front's extent below its worst.
    """
    front = believed[front_of(believed)]
    worst, ideal = front.min(axis=0), front.max(axis=0)
    extent = np.where(ideal > worst, ideal - worst, np.maximum(believed.std(axis=0), 1e-12))
    reference = worst - MARGIN * extent
    objectives = means.shape[1]
    added = _added_area if objectives == 2 else _added_lengths
    of_rows = added((front - reference) / extent, rng)
    quantiles = ndtri((np.arange(DRAWS) + 0.5) / DRAWS)
    draws = np.stack([rng.permutation(quantiles) for _ in range(objectives)], axis=1)
    gain = np.zeros(len(means))
    for draw in draws:
        gain += of_rows((means + deviations * draw - reference) / extent)
    return gain / DRAWS
