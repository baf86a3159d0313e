"""The most accurate network within a latency, by surrogates of both: evolution over the whole space, in seconds.

Regularised evolution's idea (arXiv:1802.01548) in batches, since scores cost microseconds: parents are the most
accurate networks so far that are within the limit, children change one or two choices of a parent or mix two.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Any

import numpy as np

from search.measured.features import StageFeatures
from search.measured.networks import Floats, MeasuredNetworks
from search.measured.surrogate import Surrogate
from searchspace.errors import InfeasibleBudget
from searchspace.spaces.space import Choices, SearchSpace

SCORES = 40_000  # networks that are looked at, at most
PATIENCE = 6  # batches without a better network after which the search ends
_PARENTS = 200
_BATCH = 2_000
_SHOWN = 20  # networks that a result has
_KEY = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Found:
    """A network and what is known of it: predicted with its 95 % interval, and measured where the table has it."""

    choices: Choices
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    latency_ms: float
    latency_low_ms: float
    latency_high_ms: float
    measured_accuracy: float | None
    measured_latency_ms: float | None


@dataclass(frozen=True)
class TableSearch:
    """What is searched: a table, its surrogates of accuracy (a fraction) and of latency (ms), and the limit.

    confidence: the probability of being within the limit that the latency surrogate's own error must leave a network
    that was not measured; a measured one is within it or not.
    """

    networks: MeasuredNetworks
    accuracy: Surrogate
    latency: Surrogate
    accuracies: Floats
    latencies_ms: Floats
    limit_ms: float
    confidence: float

    @classmethod
    def of(
        cls, networks: MeasuredNetworks, *, accuracy: str, latency: str, limit_ms: float, confidence: float
    ) -> "TableSearch":
        """Fit both surrogates to two columns. Raises InvalidTable."""
        accuracies, latencies = networks.accuracy(accuracy), networks.latency_ms(latency)
        features = StageFeatures(networks.space)
        surrogates = (
            Surrogate(features, networks.choices, accuracies),
            Surrogate(features, networks.choices, latencies, positive=True),
        )
        return cls(networks, *surrogates, accuracies, latencies, limit_ms, confidence)

    @property
    def prediction_limit_ms(self) -> float:
        """The largest prediction of a network that counts as within the limit."""
        return self.limit_ms * math.exp(-NormalDist().inv_cdf(self.confidence) * self.latency.fit.deviation)

    def run(self, seed: int, *, on_progress: Callable[[float], None] = lambda share: None) -> list[Found]:
        """The most accurate networks within the limit, best first, each once.

        Raises InfeasibleBudget, naming the fastest network seen, where none is within it.
        """
        rng = random.Random(seed)
        space = self.networks.space
        known: dict[_KEY, tuple[float, float]] = {}
        batch = [*self.networks.choices, *(space.sample(rng) for _ in range(_BATCH))]
        best, waited = -math.inf, 0
        while True:
            self._score(batch, known)
            inside = sorted(
                (key for key in known if self._is_within(key, known[key][1])), key=lambda key: -known[key][0]
            )
            on_progress(min(1.0, len(known) / SCORES))
            top = known[inside[0]][0] if inside else -min(ms for _, ms in known.values())
            best, waited = (top, 0) if top > best else (best, waited + 1)
            if len(known) >= min(SCORES, space.size()) or waited == PATIENCE:
                break
            parents = [dict(key) for key in inside[:_PARENTS]]
            parents = parents or [dict(key) for key in sorted(known, key=lambda key: known[key][1])[:_PARENTS]]
            batch = _children(space, parents, known, rng)
            if len(batch) < _BATCH // 20:
                break  # all near the best ones is known
        if not inside:
            fastest = min(known, key=lambda key: known[key][1])
            raise InfeasibleBudget(
                f"no network of the table's space is surely within {self.limit_ms:g} ms: the fastest of {len(known):,} "
                f"is predicted at {known[fastest][1]:.3g} ms; raise --budget-ms"
            )
        return self._found([dict(key) for key in inside[:_SHOWN]])

    def _score(self, batch: list[Choices], known: dict[_KEY, tuple[float, float]]) -> None:
        accuracies, latencies = self.accuracy.predict(batch), self.latency.predict(batch)
        for choices, accuracy, latency in zip(batch, accuracies, latencies, strict=True):
            known[tuple(choices.items())] = float(accuracy), float(latency)

    def _is_within(self, key: _KEY, predicted_ms: float) -> bool:
        measured = self._measured.get(key)
        if measured is not None and not math.isnan(measured[1]):
            return measured[1] <= self.limit_ms
        return predicted_ms <= self.prediction_limit_ms

    @cached_property
    def _measured(self) -> dict[_KEY, tuple[float, float]]:
        """(accuracy, ms) of the table's networks."""
        values = zip(self.networks.choices, self.accuracies, self.latencies_ms, strict=True)
        return {tuple(each.items()): (float(accuracy), float(ms)) for each, accuracy, ms in values}

    def _found(self, networks: list[Choices]) -> list[Found]:
        columns = (
            self.accuracy.predict(networks),
            *self.accuracy.interval(networks),
            self.latency.predict(networks),
            *self.latency.interval(networks),
        )
        measured = [self._measured.get(tuple(choices.items()), (math.nan, math.nan)) for choices in networks]
        rows = zip(networks, *columns, measured, strict=True)
        return [
            Found(choices, *map(float, numbers), *(None if np.isnan(value) else value for value in table))
            for choices, *numbers, table in rows
        ]


def _children(
    space: SearchSpace, parents: list[Choices], known: dict[_KEY, tuple[float, float]], rng: random.Random
) -> list[Choices]:
    """New networks near the parents: one or two choices changed, or every stage from one of two parents."""
    values = {name: each for name, each in space.parameters().items() if len(each) > 1}
    middle = {name: each[len(each) // 2] for name, each in space.parameters().items()}
    stages = [stage.name for stage in space.stages]
    found: dict[_KEY, Choices] = {}
    for _ in range(5 * _BATCH):
        child = {**middle, **parents[min(int(rng.expovariate(8 / len(parents))), len(parents) - 1)]}
        if rng.random() < 0.3:
            other = {**middle, **rng.choice(parents)}
            taken = {stage for stage in stages if rng.random() < 0.5}
            child = {name: (other if name.partition(".")[0] in taken else child)[name] for name in child}
        for name in rng.sample(list(values), rng.choice((1, 1, 2, 3))):
            child[name] = rng.choice(values[name])
        child = space.canonical(child)
        key = tuple(child.items())
        if key not in known:
            found[key] = child
        if len(found) == _BATCH:
            break
    return list(found.values())
