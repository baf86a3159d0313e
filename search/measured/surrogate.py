"""A surrogate: what a network that nobody measured would measure, learnt from those that somebody did.

A Gaussian process over the choices of a space and the costs of its stages (C. E. Rasmussen and C. K. I. Williams,
Gaussian Processes for Machine Learning, 2006): a linear and a squared-exponential kernel, whose length and noise are
those of the largest marginal likelihood (equation 5.8). Errors are by leaving one out in closed form (equations 5.10 to
5.12): no second fit. Differs from the published surrogates of Accel-NASBench (XGBoost): as exact, with a deviation.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, cholesky, solve_triangular
from scipy.stats import kendalltau

from search.measured.features import StageFeatures
from searchspace.spaces.space import Choices

Floats = NDArray[np.float64]
Real = TypeVar("Real", Floats, NDArray[np.float32])

LENGTHS = (0.7, 1.0, 1.5, 2.5, 4.0)  # of the features, each of variance 1, divided by the root of their number
NOISES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)  # variances, of values of variance 1
_FEW = 1000  # networks that length and noise are chosen on
_AT_ONCE = 2000


class Fit(NamedTuple):
    """How well a surrogate tells networks that it was not shown: by leaving one out.

    Attributes:
        networks: That were learnt from.
        tau: Kendall's, between what is predicted and what was measured.
        rmse: In the unit of the values.
        deviation: The root mean square error as the surrogate counts: of the logarithm for positive values.
        coverage: Share of networks within the 95 % interval of their prediction.
    """

    networks: int
    tau: float
    rmse: float
    deviation: float
    coverage: float


class Surrogate:
    """Predicts `values` of networks (`choices`, canonical, of the space of `features`).

    positive: values are above 0 and their ratios count, as for latencies. Values that are NaN are left out.
    """

    def __init__(
        self, features: StageFeatures, choices: Sequence[Choices], values: Floats, *, positive: bool = False
    ) -> None:
        self._features, self._is_log = features, positive
        known: list[int] = np.flatnonzero(~np.isnan(values)).tolist()
        raw = features.of([choices[index] for index in known])
        self._centre, self._scale = raw.mean(0), raw.std(0)
        self._varies = self._scale > 1e-9 * np.maximum(1.0, np.abs(self._centre))
        rows = self._scaled(raw)
        targets = np.log(values[known]) if positive else values[known]
        self._middle, self._unit = float(targets.mean()), max(float(targets.std()), 1e-12)
        scaled = (targets - self._middle) / self._unit
        self.length, self.noise, self._variance = _chosen(rows, scaled)
        self._rows = rows
        covariance = _kernel(rows, rows, self.length)
        covariance[np.diag_indices_from(covariance)] += self.noise
        self._root = cholesky(covariance, lower=True, overwrite_a=True, check_finite=False)
        self._weights = cho_solve((self._root, True), scaled, check_finite=False)
        self._rows32, self._weights32 = rows.astype(np.float32), self._weights.astype(np.float32)
        self.fit = self._left_out(targets)

    def predict(self, networks: Sequence[Choices]) -> Floats:
        """The mean of each network (of positive values: the median), float64 (n,)."""
        rows = self._scaled(self._features.of(networks)).astype(np.float32)  # exact to 1e-5 deviations, twice as fast
        parts = [
            _kernel(rows[start : start + _AT_ONCE], self._rows32, self.length) @ self._weights32
            for start in range(0, len(rows), _AT_ONCE)
        ]
        return self._restored(np.concatenate(parts).astype(np.float64))

    def interval(self, networks: Sequence[Choices], z: float = 1.96) -> tuple[Floats, Floats]:
        """Where the value of each network is, with the probability of `z` deviations of the normal distribution.

        The noise of one measurement is within it.
        """
        rows = self._scaled(self._features.of(networks))
        cross = _kernel(rows, self._rows, self.length)
        white = solve_triangular(self._root, cross.T, lower=True, check_finite=False)
        prior = 1.0 + (rows**2).sum(1) / rows.shape[1]
        variance = self._variance * (np.maximum(prior - (white**2).sum(0), 0.0) + self.noise)
        mean, deviation = cross @ self._weights, np.sqrt(variance)
        return self._restored(mean - z * deviation), self._restored(mean + z * deviation)

    def _scaled(self, raw: Floats) -> Floats:
        rows: Floats = ((raw - self._centre) / np.where(self._varies, self._scale, 1.0))[:, self._varies]
        return rows

    def _restored(self, scaled: Floats) -> Floats:
        values = self._middle + self._unit * scaled
        return np.exp(values) if self._is_log else values

    def _left_out(self, targets: Floats) -> Fit:
        inverse_root = solve_triangular(self._root, np.eye(len(self._root)), lower=True, check_finite=False)
        precision = np.einsum("ij,ij->j", inverse_root, inverse_root)  # the diagonal of the covariance's inverse
        errors = self._unit * self._weights / precision
        deviations = self._unit * np.sqrt(self._variance / precision)
        predicted = targets - errors
        misses = np.exp(predicted) - np.exp(targets) if self._is_log else errors
        return Fit(
            networks=len(targets),
            tau=float(kendalltau(predicted, targets)[0]),
            rmse=float(np.sqrt((misses**2).mean())),
            deviation=float(np.sqrt((errors**2).mean())),
            coverage=float((np.abs(errors) <= 1.96 * deviations).mean()),
        )


def _kernel(a: Real, b: Real, length: float) -> Real:
    """Covariances (rows of a, rows of b), before the common variance."""
    size = a.shape[1]
    inner = a @ b.T
    apart = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * inner
    np.maximum(apart, 0.0, out=apart)
    apart *= -0.5 / (size * length**2)
    np.exp(apart, out=apart)
    inner /= size
    inner += apart
    return inner


def _chosen(rows: Floats, targets: Floats) -> tuple[float, float, float]:
    """(length, noise, variance) of the largest marginal likelihood, the variance being worked out in closed form."""
    few = np.linspace(0, len(rows) - 1, min(_FEW, len(rows))).astype(int)
    rows, targets, count = rows[few], targets[few], len(few)
    best = (-np.inf, LENGTHS[0], NOISES[-1], 1.0)
    for length in LENGTHS:
        covariance = _kernel(rows, rows, length)
        for noise in NOISES:
            root, _ = cho_factor(covariance + noise * np.eye(count), lower=True, check_finite=False)
            white = solve_triangular(root, targets, lower=True, check_finite=False)
            variance = float(white @ white) / count
            likelihood = -0.5 * count * np.log(variance) - float(np.log(np.diag(root)).sum())
            best = max(best, (likelihood, length, noise, variance))
    return best[1:]
