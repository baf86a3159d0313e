"""A Gaussian process over choices: main effects, pair interactions and a smooth function of all, levels by likelihood.

With features phi of a parameter's value (see Parameters.features) and a weight w of each parameter, rows a and b have
    inner(a, b) = sum of w phi(a) . phi(b),   near(a, b) = exp(-sum of w |phi(a) - phi(b)|^2)
    covariance  = OFFSET + main inner + pairs inner^2 + smooth near + noise where a is b.
The first is Bayesian ridge regression on the choices, the second on their products. The weights (automatic relevance
determination) and the four levels are the most likely ones under a log-normal prior, by L-BFGS.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.linalg.lapack import dpotri
from scipy.optimize import minimize

Array = npt.NDArray[np.float64]
OFFSET = 0.3  # prior variance of the mean; values are scaled to variance 1
JITTER = 1e-6
MOST = 200  # rows that the likelihood is worked out for
LEVELS = {"main": (1.0, 1.0), "pairs": (0.2, 1.0), "smooth": (0.3, 1.0), "noise": (0.1, 1.5)}
"""Prior median of each level, and the standard deviation of its logarithm."""
SHARED = 0.5  # prior standard deviation of the weight of an earlier study, about 1
RELEVANCE = 1.0  # prior standard deviation of a weight's logarithm; its median is 1 / parameters, see Parameters.usual
STEPS = 20  # of L-BFGS


class Levels(NamedTuple):
    """What the covariance is made of: a weight for each parameter, and the levels."""

    weights: Array
    main: float
    pairs: float
    smooth: float
    noise: float


def _prior(usual: Array) -> tuple[Array, Array]:
    medians, deviations = zip(*LEVELS.values(), strict=True)
    middle = np.log(np.concatenate([usual, medians]))
    return middle, np.concatenate([np.full(len(usual), RELEVANCE), deviations])


def _levels(theta: Array) -> Levels:
    values = np.exp(theta)
    return Levels(values[:-4], *map(float, values[-4:]))


class _Scaled(NamedTuple):
    """Features times the roots of their parameters' weights (n, columns), and the squared length of each row."""

    rows: Array
    squares: Array


def _scaled(features: Array, groups: npt.NDArray[np.int64], levels: Levels) -> _Scaled:
    rows = features * np.sqrt(levels.weights)[groups]
    return _Scaled(rows, np.einsum("ij,ij->i", rows, rows))


class _Parts(NamedTuple):
    inner: Array
    near: Array


def _parts(a: _Scaled, b: _Scaled) -> _Parts:
    inner = a.rows @ b.rows.T
    near = 2 * inner
    near -= a.squares[:, None]
    near -= b.squares[None]
    np.minimum(near, 0.0, out=near)
    return _Parts(inner, np.exp(near, out=near))


def _covariance(parts: _Parts, levels: Levels) -> Array:
    inner, near = parts
    return np.asarray(OFFSET + inner * (levels.main + levels.pairs * inner) + levels.smooth * near)


def _loss(
    theta: Array, features: Array, groups: npt.NDArray[np.int64], targets: Array, usual: Array
) -> tuple[float, Array]:
    """Minus the log posterior of the levels, and its gradient."""
    levels = _levels(theta)
    scaled = _scaled(features, groups, levels)
    parts = _parts(scaled, scaled)
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
    middle, deviation = _prior(usual)
    apart = (theta - middle) / deviation
    return float(loss + 0.5 * apart @ apart), np.concatenate([by_weights, by_levels]) + apart / deviation


def fit_levels(features: Array, groups: npt.NDArray[np.int64], values: Array, usual: Array) -> Levels:
    """The most likely levels by rows of features (n, columns) and their values (n,).

    usual: the prior median of each group's weight.
    """
    return _fitted(features, groups, values, usual)[0]


def _fitted(features: Array, groups: npt.NDArray[np.int64], values: Array, usual: Array) -> tuple[Levels, float]:
    """The levels, and minus the logarithm of how likely the values are by them."""
    unit = values.std() or 1.0
    values = (values - values.mean()) / unit
    start, deviation = _prior(usual)
    found = minimize(
        _loss,
        start,
        (features, groups, values, usual),
        jac=True,
        method="L-BFGS-B",
        bounds=list(zip(start - 5 * deviation, start + 5 * deviation, strict=True)),
        options={"maxiter": STEPS},
    )
    # what the last bits of a sum, which differ from process to process, do not move
    return _levels(np.round(found.x, 2)), float(found.fun) + len(values) * math.log(unit)


class Slope(NamedTuple):
    """What is believed from elsewhere, `mean` of features, times how much of it holds here."""

    mean: Callable[[Array], Array]
    weight: float

    def of(self, features: Array) -> Array:
        """float64 (n,)."""
        if not self.weight or not len(features):
            return np.zeros(len(features))
        return self.weight * self.mean(features)


def fit_slope(
    features: Array, groups: npt.NDArray[np.int64], values: Array, usual: Array, mean: Callable[[Array], Array]
) -> tuple[Levels, Slope]:
    """The levels, and how much of an earlier belief the values share: 0 where they are likelier without it.

    The weight is the most likely one under a normal prior about 1 of deviation SHARED, in units that make the earlier
    belief vary as the values do.
    """
    levels, loss = _fitted(features, groups, values, usual)
    earlier = mean(features)
    unit, spread = float(values.std()) or 1.0, float(earlier.std())
    if spread < 1e-12:
        return levels, Slope(mean, 0.0)
    line, targets = (earlier - earlier.mean()) / spread, (values - values.mean()) / unit
    scaled = _scaled(features, groups, levels)
    covariance = _covariance(_parts(scaled, scaled), levels)
    covariance[np.diag_indices(len(line))] += levels.noise + JITTER
    root = cholesky(covariance, lower=True, check_finite=False)
    known = cho_solve((root, True), line, check_finite=False)
    share = float((known @ targets + 1 / SHARED**2) / (known @ line + 1 / SHARED**2))
    weight = round(max(0.0, share), 3) * unit / spread
    with_it, its_loss = _fitted(features, groups, values - weight * earlier, usual)
    its_loss += 0.5 * ((share - 1) / SHARED) ** 2
    return (with_it, Slope(mean, weight)) if weight and its_loss < loss else (levels, Slope(mean, 0.0))


class Surrogate:
    """What is believed of all rows, by the values of some; rows that run now count as if they gave what is believed.

    slope: what is believed before any value.
    """

    def __init__(
        self,
        features: Array,
        groups: npt.NDArray[np.int64],
        values: Array,
        levels: Levels,
        running: Array,
        slope: Slope | None = None,
    ) -> None:
        self.levels, self._groups, self._slope = levels, groups, slope
        before = self._before(features)
        values = values - before
        self._middle, self._unit = float(values.mean()), float(values.std()) or 1.0
        self._rows = _scaled(np.vstack([features, running]), groups, levels)
        count = len(values)
        covariance = _covariance(_parts(self._rows, self._rows), levels)
        covariance[np.diag_indices(len(covariance))] += levels.noise + JITTER
        self._root = cholesky(covariance, lower=True, check_finite=False)
        targets = (values - self._middle) / self._unit
        seen = cho_solve((self._root[:count, :count], True), targets, check_finite=False)
        self._weights = np.concatenate([seen, np.zeros(len(running))])
        self.fitted: Array = before + self._middle + self._unit * (targets - (levels.noise + JITTER) * seen)
        """What is expected of the rows that gave the values, (n,)."""

    @property
    def noise(self) -> float:
        """Standard deviation of a value about what is believed, in the values' unit."""
        return self._unit * math.sqrt(self.levels.noise)

    def _before(self, features: Array) -> Array:
        return np.zeros(len(features)) if self._slope is None else self._slope.of(features)

    def _cross(self, rows: _Scaled) -> Array:
        return _covariance(_parts(rows, self._rows), self.levels)

    def _prior(self, rows: _Scaled) -> Array:
        inner = rows.squares
        return OFFSET + inner * (self.levels.main + self.levels.pairs * inner) + self.levels.smooth

    def mean(self, features: Array) -> Array:
        """float64 (n,): what is expected, without noise."""
        cross = self._cross(_scaled(features, self._groups, self.levels))
        return np.asarray(self._before(features) + self._middle + self._unit * (cross @ self._weights))

    def predict(self, features: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the noiseless value: float64 (n,) each."""
        rows = _scaled(features, self._groups, self.levels)
        cross = self._cross(rows)
        known = solve_triangular(self._root, cross.T, lower=True, check_finite=False)
        variance = np.maximum(self._prior(rows) - np.einsum("ij,ij->j", known, known), 1e-12)
        mean = self._before(features) + self._middle + self._unit * (cross @ self._weights)
        return mean, self._unit * np.sqrt(variance)

    def joint(self, features: Array) -> tuple[Array, Array]:
        """Mean (n,) and covariance (n, n) of the noiseless values."""
        rows = _scaled(features, self._groups, self.levels)
        cross = self._cross(rows)
        known = solve_triangular(self._root, cross.T, lower=True, check_finite=False)
        prior = _covariance(_parts(rows, rows), self.levels)
        mean = self._before(features) + self._middle + self._unit * (cross @ self._weights)
        return mean, self._unit**2 * (prior - known.T @ known)
