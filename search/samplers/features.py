"""Candidates as rows of numbers that a Gaussian process learns from."""

import math

import numpy as np

from search.candidates import Candidate
from search.samplers.gaussian_process import Array
from searchspace.blocks.protocol import Value
from searchspace.spaces.space import SearchSpace


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
