"""How well scores order networks: Kendall's tau with a bootstrap interval, the top tenth, regret."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
LEVEL = 0.95
TOP_SHARE = 0.1

Floats = NDArray[np.float64]


class Tau(NamedTuple):
    """Kendall's tau-b, None where it is not defined (fewer than two different values), with its bootstrap interval.

    Attributes:
        pairs: Of networks that it is over.
        samples: Tau of each resample, NaN where it is not defined; the same resamples for all scores of a reference.
    """

    value: float | None
    low: float | None
    high: float | None
    pairs: int
    samples: Floats


class Agreement(NamedTuple):
    """What scores are worth against the reference.

    Attributes:
        networks: That have a score.
        tau: Over all pairs of them.
        in_band: Over pairs of about equal MACs.
        top_overlap: Share of the best tenth that is in the best tenth by score.
        regret: Accuracy lost by taking the network with the best score, a fraction; ties lose their mean.
    """

    networks: int
    tau: Tau
    in_band: Tau
    top_overlap: float | None
    regret: float | None


@dataclass(frozen=True, eq=False)
class Truth:
    """The accuracies that scores are compared with.

    Attributes:
        accuracy: Of each network, (n,).
        macs: Of each, (n,).
        band: Two networks have about equal MACs where the larger has at most this many times those of the smaller.
        seed: Of the resamples.
    """

    accuracy: Floats
    macs: Floats
    band: float
    seed: int = 0

    @cached_property
    def _weights(self) -> Floats:
        """How often each network is in each resample, (RESAMPLES, n)."""
        n = len(self.accuracy)
        return np.random.default_rng(self.seed).multinomial(n, np.full(n, 1 / n), RESAMPLES).astype(float)

    @cached_property
    def _near(self) -> NDArray[np.bool_]:
        """Which pairs have about equal MACs, (n, n)."""
        ratio = self.macs[:, None] / self.macs[None, :]
        near: NDArray[np.bool_] = np.maximum(ratio, 1 / ratio) <= self.band
        return near

    def agreement(self, scores: Floats) -> Agreement:
        """Of `scores` (n,), higher is better, NaN where there is none."""
        known = ~np.isnan(scores)
        pairs = known[:, None] & known[None, :]
        np.fill_diagonal(pairs, False)
        values, accuracy = scores[known], self.accuracy[known]
        return Agreement(
            networks=int(known.sum()),
            tau=self._tau(scores, pairs),
            in_band=self._tau(scores, pairs & self._near),
            top_overlap=top_overlap(values, accuracy),
            regret=regret(values, accuracy),
        )

    def _tau(self, scores: Floats, pairs: NDArray[np.bool_]) -> Tau:
        """Over those `pairs` (n, n). A resample that draws a network twice does not pair it with itself."""
        one, other = (_orders(each) * pairs for each in (np.where(np.isnan(scores), 0.0, scores), self.accuracy))
        concordant, ordered, ordered_too = one * other, np.abs(one), np.abs(other)

        def taus(weights: Floats) -> Floats:
            first, second, third = (((weights @ each) * weights).sum(1) for each in (concordant, ordered, ordered_too))
            with np.errstate(invalid="ignore", divide="ignore"):
                found: Floats = first / np.sqrt(second * third)
            return found

        value = float(taus(np.ones((1, len(scores))))[0])
        samples = taus(self._weights)
        low, high = interval(samples)
        count = int(pairs.sum()) // 2
        return Tau(None if math.isnan(value) else value, low, high, count, samples)


def _orders(values: Floats) -> Floats:
    """(n,) -> (n, n): 1 where the first of two is larger, -1 where it is smaller, 0 where they are equal."""
    first, second = values[:, None], values[None, :]
    signs: Floats = (first > second).astype(float) - (first < second)
    return signs


def interval(samples: Floats) -> tuple[float | None, float | None]:
    """The middle LEVEL of the samples that are defined; None and None where there are none."""
    defined = samples[~np.isnan(samples)]
    if not len(defined):
        return None, None
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _in_top(values: Floats, count: int) -> Floats:
    """The probability of each to be among the best `count`, where those that are tied with the last draw lots."""
    last = np.sort(values)[-count]
    above, tied = values > last, values == last
    chances: Floats = above + tied * ((count - above.sum()) / tied.sum())
    return chances


def top_overlap(scores: Floats, accuracy: Floats) -> float | None:
    """The share of the best tenth by accuracy (rounded up) that is expected in the best tenth by score."""
    if not len(scores):
        return None
    count = max(1, math.ceil(TOP_SHARE * len(scores) - 1e-9))
    return float((_in_top(scores, count) * _in_top(accuracy, count)).sum() / count)


def regret(scores: Floats, accuracy: Floats) -> float | None:
    """What the best network is better than the one with the best score; of those that are tied, their mean."""
    if not len(scores):
        return None
    return float(accuracy.max() - accuracy[scores == scores.max()].mean())


def difference(one: Tau, other: Tau) -> dict[str, Any]:
    """How much larger one tau is, with the interval of the difference on the same resamples."""
    if one.value is None or other.value is None:
        return {"value": None, "low": None, "high": None}
    low, high = interval(one.samples - other.samples)
    return {"value": one.value - other.value, "low": low, "high": high}
