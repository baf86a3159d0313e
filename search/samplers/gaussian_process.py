"""A Gaussian process of fixed weights, for a dozen noisy values, and the features of networks that it learns from."""

import math

import numpy as np
import numpy.typing as npt

from search.candidates import Candidate
from searchspace.blocks.protocol import Value
from searchspace.spaces.space import SearchSpace

Array = npt.NDArray[np.float64]


class Features:
    """Candidates as rows of numbers: every choice in [-1, 1] (0 where its stage is absent), then summaries."""

    def __init__(self, space: SearchSpace) -> None:
        self.codes: list[tuple[str, dict[Value, float]]] = []
        groups: dict[str, list[int]] = {}
        for name, values in space.parameters().items():
            kind = name.partition(".")[2]
            for part, code in _codes(values).items():
                groups.setdefault(f"{kind}{part}", []).append(len(self.codes))
                self.codes.append((name, code))
        self._groups = list(groups.values())

    def of(self, candidates: list[Candidate]) -> Array:
        """float64 (candidates, choices + summaries)."""
        return np.array([self._row(candidate) for candidate in candidates])

    def _row(self, candidate: Candidate) -> list[float]:
        choices = candidate.choices
        row = [code[choices[name]] if name in choices else 0.0 for name, code in self.codes]
        present = [name in choices for name, _ in self.codes]
        means = [sum(row[i] for i in group) / max(1, sum(present[i] for i in group)) for group in self._groups]
        layers = sum(int(value) for name, value in choices.items() if name.endswith(".layers"))
        sizes = (candidate.params, candidate.macs, layers, candidate.latency_ms)
        return row + means + [math.log(size) for size in sizes]


def _codes(values: tuple[Value, ...]) -> dict[str, dict[Value, float]]:
    """Columns for one choice: names get one each, numbers their even place between -1 and 1."""
    if len(values) == 1:
        return {}
    if isinstance(values[0], str):
        return {f"={option}": {v: 1.8 * ((v == option) - 1 / len(values)) for v in values} for option in values}
    ordered = sorted(values, key=float)
    return {"": {value: 2 * index / (len(values) - 1) - 1 for index, value in enumerate(ordered)}}


class GaussianProcess:
    """Values as a mean plus linear effects of summaries and choices plus a smooth function of all choices plus noise.

    The weights of the parts are fixed; of a few signal and noise levels (of values scaled to unit variance) the
    likelihood picks one: a dozen noisy values cannot settle more.
    """

    WEIGHTS = (0.5, 0.3, 0.2)  # of summaries, choices, smooth part
    OFFSET = 0.3  # prior variance of the mean
    LEVELS = tuple((signal, noise) for noise in (0.15, 0.4, 1.0) for signal in (0.5, 1.0, 2.0))

    def __init__(self, reference: Array, choices: int) -> None:
        """`reference`: rows of networks like those to predict, which set the scale of the summaries."""
        self._choices = choices
        self._centre = reference.mean(axis=0)
        self._scale = reference.std(axis=0) + 1e-6
        self._scale[:choices] = 1.0

    def _scaled(self, rows: Array) -> tuple[Array, Array]:
        choices, summaries = np.hsplit((rows - self._centre) / self._scale, [self._choices])
        return choices, np.clip(summaries, -3, 3)

    def _kernel(self, a: tuple[Array, Array], b: tuple[Array, Array]) -> Array:
        (choices_a, sums_a), (choices_b, sums_b) = a, b
        size = max(1, choices_a.shape[1])  # a space of one network has no choices
        inner = choices_a @ choices_b.T / size
        apart = (choices_a**2).sum(1)[:, None] / size + (choices_b**2).sum(1)[None] / size - 2 * inner
        smooth = np.exp(-np.maximum(apart, 0.0) / 1.32)
        parts = (sums_a @ sums_b.T / sums_a.shape[1], inner, smooth)
        return np.asarray(self.OFFSET + sum(w * part for w, part in zip(self.WEIGHTS, parts, strict=True)))

    def fit(self, rows: Array, values: Array) -> None:
        """Learn from rows (n, features) and their values (n,), float64."""
        self._rows = self._scaled(rows)
        kernel, best = self._kernel(self._rows, self._rows), -math.inf
        self._middle, self._unit = float(values.mean()), max(float(values.std()), 1e-9)
        targets = (values - self._middle) / self._unit
        for signal, noise in self.LEVELS:
            root = np.linalg.cholesky(signal * kernel + noise * np.eye(len(values)))
            white = np.linalg.solve(root, targets)
            likelihood = float(-0.5 * white @ white - np.log(np.diag(root)).sum())
            if likelihood > best:
                best, self._signal, self._root, self._white = likelihood, signal, root, white

    def predict(self, rows: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the noiseless value: float64 (n,) each."""
        scaled = self._scaled(rows)
        cross = np.linalg.solve(self._root, self._signal * self._kernel(self._rows, scaled))
        mean = cross.T @ self._white
        prior = self._signal * np.diag(self._kernel(scaled, scaled))
        deviation = np.sqrt(np.maximum(prior - (cross**2).sum(axis=0), 0.0))
        return self._middle + self._unit * mean, self._unit * deviation
