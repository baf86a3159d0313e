"""Searchers for tests.benchmarks.block_sampler: each asks a landscape point by point, and hands one over.

A searcher is `method(task, seed)`; it calls `task.evaluate(point)`, a row of indices -> noisy values, the first the
accuracy (higher is better), the second, where there are two, the price (lower is better). BlockSampler hands over what
`recommend` says, the others the best value.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.study import StudyDirection

from tests.benchmarks.block_landscapes import NOISE, Landscape, neighbours

Array = npt.NDArray[Any]
POPULATION, SAMPLE = 20, 10  # of regularised evolution


@dataclass
class Task:
    """A landscape with its noise, the limit on the price (None: none), how many objectives and trials there are."""

    land: Landscape
    limit: float | None
    objectives: int
    trials: int
    noise: np.random.Generator
    points: list[Array] = field(default_factory=list)
    values: list[list[float]] = field(default_factory=list)
    handed_over: dict[int, Array] = field(default_factory=dict)
    """Trials so far -> the point handed over then, where the method says; else the one of the best value."""

    @property
    def left(self) -> int:
        """Trials that are left."""
        return self.trials - len(self.points)

    def price(self, point: Array) -> float:
        """What a point costs, known before it is evaluated."""
        return float(self.land.price(point[None])[0])

    def fits(self, point: Array) -> bool:
        """Whether it keeps the limit."""
        return self.limit is None or self.price(point) <= self.limit

    def evaluate(self, point: Array) -> list[float]:
        """A noisy accuracy, and the price where that is an objective."""
        value = float(self.land.values(point[None])[0] + self.noise.normal(0, NOISE))
        found = [value, self.price(point)][: self.objectives]
        self.points.append(point)
        self.values.append(found)
        return found

    def chosen(self, trials: int) -> Array:
        """What is handed over after so many trials: of those that keep the limit the best, if any does."""
        if trials in self.handed_over:
            return self.handed_over[trials]
        order = sorted(range(trials), key=lambda i: (self.fits(self.points[i]), self.values[i][0]))
        return self.points[order[-1]]


def _random_point(task: Task, rng: np.random.Generator) -> Array:
    while True:
        point: Array = task.land.draw(1, rng)[0]
        if task.fits(point):
            return point


def random_search(task: Task, seed: int) -> None:
    """Uniform over what fits."""
    rng = np.random.default_rng([seed, 1])
    while task.left:
        task.evaluate(_random_point(task, rng))


def evolution(task: Task, seed: int) -> None:
    """Regularised evolution (arXiv:1802.01548): one choice of the best of SAMPLE of the last POPULATION is changed."""
    rng, sizes = np.random.default_rng([seed, 2]), np.array(task.land.sizes)
    while task.left:
        count = len(task.points)
        if count < POPULATION:
            task.evaluate(_random_point(task, rng))
            continue
        while True:
            drawn = rng.choice(np.arange(count - POPULATION, count), SAMPLE, replace=False)
            point = task.points[max(drawn, key=lambda i: task.values[i][0])].copy()
            place = int(rng.integers(len(sizes)))
            point[place] = (point[place] + rng.integers(1, sizes[place])) % sizes[place]
            if task.fits(point):
                break
        task.evaluate(point)


def local_search(task: Task, seed: int) -> None:
    """First improvement over single changes in random order (arXiv:2004.08996), from random points again and again."""
    rng = np.random.default_rng([seed, 3])
    known: dict[bytes, float] = {}

    def value(point: Array) -> float:
        key = point.tobytes()
        if key not in known:
            known[key] = task.evaluate(point)[0]
        return known[key]

    while task.left:
        point = _random_point(task, rng)
        here = value(point)
        improved = True
        while improved:
            improved = False
            for other in rng.permutation(neighbours(point, task.land.sizes)):
                if not task.left:
                    return
                if task.fits(other) and value(other) > here:
                    point, here, improved = other, known[other.tobytes()], True
                    break


def space_of(land: Landscape) -> dict[str, BaseDistribution]:
    """The landscape's choices for Optuna."""
    return {name: CategoricalDistribution(values) for name, values in land.parameters.items()}


def _constraint(limit: float) -> Callable[[optuna.trial.FrozenTrial], list[float]]:
    return lambda trial: [trial.user_attrs["price"] - limit]


def _study(task: Task, sampler: optuna.samplers.BaseSampler) -> optuna.Study:
    """Run all trials through Optuna; returns the study."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    directions = [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE][: task.objectives]
    study = optuna.create_study(directions=directions, sampler=sampler)
    space = space_of(task.land)
    while task.left:
        trial = study.ask(space)
        point = task.land.point(trial.params)[0]
        trial.set_user_attr("price", task.price(point))
        study.tell(trial, task.evaluate(point))
        _hand_over(task, study)
    return study


def _hand_over(task: Task, study: optuna.Study) -> None:
    from search.samplers import BlockSampler, recommend

    if isinstance(study.sampler, BlockSampler) and task.objectives == 1 and len(task.points) in (50, 100, 200):
        task.handed_over[len(task.points)] = task.land.point(recommend(study))[0]


def _optuna(make: Callable[..., optuna.samplers.BaseSampler]) -> Callable[[Task, int], None]:
    def method(task: Task, seed: int) -> None:
        constrained = {} if task.limit is None else {"constraints_func": _constraint(task.limit)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _study(task, make(seed=seed, **constrained))

    return method


def block_sampler(task: Task, seed: int) -> None:
    """The price is a cost that is known before."""
    from search.samplers import BlockSampler

    def cost(choices: dict[str, Any]) -> dict[str, float]:
        return {"price": task.price(task.land.point(choices)[0])}

    limits = {"price": task.limit} if task.limit is not None else {}
    _study(task, BlockSampler(seed=seed, space=space_of(task.land), cost=cost if limits else None, limits=limits))


METHODS: dict[str, Callable[[Task, int], None]] = {
    "random": random_search,
    "tpe": _optuna(optuna.samplers.TPESampler),
    "gp": _optuna(optuna.samplers.GPSampler),
    "nsga2": _optuna(optuna.samplers.NSGAIISampler),
    "evolution": evolution,
    "local": local_search,
    "block": block_sampler,
}
