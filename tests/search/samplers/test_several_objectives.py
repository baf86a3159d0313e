"""Several objectives: the front is found, in any direction, and costs that are free may be objectives."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna._hypervolume import compute_hypervolume

from search.samplers import BlockSampler, recommend
from search.samplers.acquisition import front_of, hypervolume_improvement

optuna.logging.set_verbosity(optuna.logging.ERROR)
VALUES = range(5)
NAMES = "abcdef"


def ms(params: dict[str, Any]) -> float:
    return float(sum(params.values()))


def accuracy(params: dict[str, Any]) -> float:
    """Some choices give more for their ms than others, and d and e only together."""
    a, b, c, d, e, f = (params[name] for name in NAMES)
    return float(3 * a + b + 0.2 * c + d * e - 0.1 * f)


def covered(found: np.ndarray[Any, Any]) -> float:
    """The share of the true front's hypervolume, of (accuracy, ms)."""
    every = [dict(zip(NAMES, values, strict=True)) for values in itertools.product(VALUES, repeat=len(NAMES))]
    true = np.array([(accuracy(params), ms(params)) for params in every])
    worst, best = np.array([0.0, 24.0]), np.array([true[:, 0].max(), 0.0])
    losses = lambda values: (best - values) * np.array([1.0, -1.0]) / abs(best - worst)  # noqa: E731
    whole, part = (compute_hypervolume(losses(values).clip(max=1.1), np.full(2, 1.1)) for values in (true, found))
    return float(part / whole)


def suggested(trial: optuna.Trial) -> dict[str, Any]:
    return {name: trial.suggest_int(name, 0, 4) for name in NAMES}


def test_two_objectives_reach_the_front_in_60_trials() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=BlockSampler(seed=0))

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        params = suggested(trial)
        return accuracy(params), ms(params)

    study.optimize(objective, n_trials=60)
    random = optuna.create_study(directions=["maximize", "minimize"], sampler=optuna.samplers.RandomSampler(seed=0))
    random.optimize(objective, n_trials=60)
    found, by_chance = (covered(np.array([trial.values for trial in s.best_trials])) for s in (study, random))
    assert found > 0.97 > by_chance
    front = recommend(study)
    assert covered(np.array([(accuracy(params), ms(params)) for params in front])) > 0.97


def test_a_free_cost_may_be_an_objective_of_a_study_that_has_one() -> None:
    sampler = BlockSampler(seed=0, cost=lambda choices: {"ms": ms(choices)}, minimize=["ms"])
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.optimize(lambda trial: accuracy(suggested(trial)), n_trials=60)
    front = recommend(study)
    assert covered(np.array([(accuracy(params), ms(params)) for params in front])) > 0.97
    costs = [ms(params) for params in front]
    assert costs == sorted(costs, reverse=True)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 3))
def test_no_other_point_is_better_than_one_of_the_front_in_all_objectives(seed: int, objectives: int) -> None:
    values = np.random.default_rng(seed).integers(0, 5, (30, objectives)).astype(float)
    front = set(front_of(values).tolist())
    for place, row in enumerate(values):
        beaten = ((values >= row).all(axis=1) & (values > row).any(axis=1)).any()
        assert (place in front) <= (not beaten)
        assert beaten or any((values[other] == row).all() for other in front)


@settings(max_examples=10)
@given(st.integers(0, 1000))
def test_the_expected_improvement_of_known_values_is_in_proportion_to_the_hypervolume_they_add(seed: int) -> None:
    rng = np.random.default_rng(seed)
    believed, new = rng.random((8, 2)), rng.random((60, 2))
    gains = hypervolume_improvement(new, np.full((60, 2), 1e-9), believed, np.random.default_rng(0))
    front = believed[front_of(believed)]
    extent = front.max(axis=0) - front.min(axis=0)
    if (extent < 0.05).any():
        return
    reference = -(front.min(axis=0) - 0.1 * extent)
    before = compute_hypervolume(-front / extent, reference / extent)
    added = [
        compute_hypervolume(np.minimum(-np.vstack([front, row]), reference) / extent, reference / extent) - before
        for row in new
    ]
    assert np.allclose(gains, np.array(added).clip(0), atol=1e-6)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_seed_gives_the_same_front(seed: int) -> None:
    def front() -> list[list[float]]:
        study = optuna.create_study(directions=["maximize", "minimize"], sampler=BlockSampler(seed=seed))
        study.optimize(lambda t: (accuracy(p := suggested(t)), ms(p)), n_trials=14)
        return [trial.values for trial in study.trials]

    assert front() == front()
