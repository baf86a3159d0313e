"""A Gaussian process over choices: main effects, pair interactions and a smooth function of all, levels by likelihood.

With features phi of a parameter's value (see Parameters.features) and a weight w of each parameter, rows a and b have
    inner(a, b) = sum of w phi(a) . phi(b),   near(a, b) = exp(-sum of w |phi(a) - phi(b)|^2)
    covariance  = OFFSET + main inner + pairs inner^2 + smooth near + noise where a is b.
The first is Bayesian ridge regression on the choices, the second on their products. The weights (automatic relevance
determination) and the four levels are the most likely ones under a log-normal prior, by L-BFGS.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.linalg.lapack import dpotri
from scipy.optimize import minimize

Array = npt.NDArray[np.float64]
OFFSET = 0.3  # prior variance of the mean; values are scaled to variance 1
JITTER = 1e-6
MOST = 300  # rows that the likelihood is worked out for
LEVELS = {"main": (0.5, 1.0), "pairs": (0.2, 1.0), "smooth": (0.3, 1.0), "noise": (0.1, 1.5)}
"""Prior median of each level, and the standard deviation of its logarithm."""
RELEVANCE = 1.0  # prior standard deviation of a weight's logarithm; its median is 1 / parameters
STEPS = 30  # of L-BFGS


class Levels(NamedTuple):
    """What the covariance is made of: a weight for each parameter, and the levels."""

    weights: Array
    main: float
    pairs: float
    smooth: float
    noise: float


def _prior(parameters: int) -> tuple[Array, Array]:
    medians, deviations = zip(*LEVELS.values(), strict=True)
    middle = np.concatenate([np.full(parameters, -math.log(max(1, parameters))), np.log(medians)])
    return middle, np.concatenate([np.full(parameters, RELEVANCE), deviations])


def _levels(theta: Array) -> Levels:
    values = np.exp(theta)
    return Levels(values[:-4], *map(float, values[-4:]))


class _Parts(NamedTuple):
    inner: Array
    near: Array


def _parts(a: Array, b: Array, groups: npt.NDArray[np.int64], levels: Levels) -> _Parts:
    roots = np.sqrt(levels.weights[groups])
    a, b = a * roots, b * roots
    inner = a @ b.T
    apart = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None] - 2 * inner
    return _Parts(inner, np.exp(-np.maximum(apart, 0.0)))


def _covariance(parts: _Parts, levels: Levels) -> Array:
    inner, near = parts
    return np.asarray(OFFSET + inner * (levels.main + levels.pairs * inner) + levels.smooth * near)


def _loss(theta: Array, features: Array, groups: npt.NDArray[np.int64], targets: Array) -> tuple[float, Array]:
    """Minus the log posterior of the levels, and its gradient."""
    levels = _levels(theta)
    parts = _parts(features, features, groups, levels)
    covariance = _covariance(parts, levels)
    covariance[np.diag_indices(len(targets))] += levels.noise + JITTER
    root = cholesky(covariance, lower=True, check_finite=False, overwrite_a=True)
    weights = cho_solve((root, True), targets, check_finite=False)
    loss = 0.5 * targets @ weights + np.log(np.diag(root)).sum()
    inverse = np.tril(dpotri(root, lower=1)[0])
    inverse += np.tril(inverse, -1).T
    slope = 0.5 * (inverse - np.outer(weights, weights))  # of the loss by the covariance
    by_near = 2 * levels.smooth * slope * parts.near
    by_inner = slope * (levels.main + 2 * levels.pairs * parts.inner) + by_near
    columns = (features * (by_inner @ features)).sum(axis=0) - by_near.sum(axis=1) @ (features * features)
    by_weights = np.bincount(groups, columns, len(levels.weights)) * levels.weights
    by_levels = [
        levels.main * (slope * parts.inner).sum(),
        levels.pairs * (slope * parts.inner**2).sum(),
        levels.smooth * (slope * parts.near).sum(),
        levels.noise * np.trace(slope),
    ]
    middle, deviation = _prior(len(levels.weights))
    scaled = (theta - middle) / deviation
    return float(loss + 0.5 * scaled @ scaled), np.concatenate([by_weights, by_levels]) + scaled / deviation


def fit_levels(features: Array, groups: npt.NDArray[np.int64], values: Array) -> Levels:
    """The most likely levels by rows of features (n, columns) and their values (n,)."""
    values = (values - values.mean()) / (values.std() or 1.0)
    start, deviation = _prior(int(groups.max(initial=-1)) + 1)
    found = minimize(
        _loss,
        start,
        (features, groups, values),
        jac=True,
        method="L-BFGS-B",
        bounds=list(zip(start - 5 * deviation, start + 5 * deviation, strict=True)),
        options={"maxiter": STEPS},
    )
    return _levels(found.x)


class Surrogate:
    """What is believed of all rows, by the values of some; rows that run now count as if they gave what is believed."""

    def __init__(
        self, features: Array, groups: npt.NDArray[np.int64], values: Array, levels: Levels, running: Array
    ) -> None:
        self.levels, self._groups = levels, groups
        self._middle, self._unit = float(values.mean()), float(values.std()) or 1.0
        self._features = np.vstack([features, running])
        count = len(values)
        covariance = _covariance(_parts(self._features, self._features, groups, levels), levels)
        covariance[np.diag_indices(len(covariance))] += levels.noise + JITTER
        self._root = cholesky(covariance, lower=True, check_finite=False)
        targets = (values - self._middle) / self._unit
        seen = cho_solve((self._root[:count, :count], True), targets, check_finite=False)
        self._weights = np.concatenate([seen, np.zeros(len(running))])
        self.fitted: Array = self._middle + self._unit * (targets - (levels.noise + JITTER) * seen)
        """What is expected of the rows that gave the values, (n,)."""

    @property
    def noise(self) -> float:
        """Standard deviation of a value about what is believed, in the values' unit."""
        return self._unit * math.sqrt(self.levels.noise)

    def _cross(self, features: Array) -> Array:
        return _covariance(_parts(features, self._features, self._groups, self.levels), self.levels)

    def mean(self, features: Array) -> Array:
        """float64 (n,): what is expected, without noise."""
        return np.asarray(self._middle + self._unit * (self._cross(features) @ self._weights))

    def predict(self, features: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the noiseless value: float64 (n,) each."""
        cross = self._cross(features)
        known = solve_triangular(self._root, cross.T, lower=True, check_finite=False)
        inner = (features * features) @ self.levels.weights[self._groups]
        prior = OFFSET + inner * (self.levels.main + self.levels.pairs * inner) + self.levels.smooth
        deviation = np.sqrt(np.maximum(prior - (known * known).sum(axis=0), 1e-12))
        return self._middle + self._unit * (cross @ self._weights), self._unit * deviation

    def joint(self, features: Array) -> tuple[Array, Array]:
        """Mean (n,) and covariance (n, n) of the noiseless values."""
        cross = self._cross(features)
        known = solve_triangular(self._root, cross.T, lower=True, check_finite=False)
        prior = _covariance(_parts(features, features, self._groups, self.levels), self.levels)
        return self._middle + self._unit * (cross @ self._weights), self._unit**2 * (prior - known.T @ known)
