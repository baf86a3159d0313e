"""An earlier study as a prior: it helps where it holds, costs little where it misleads, and has the same space."""

from __future__ import annotations

from statistics import fmean
from typing import Any

import numpy as np
import optuna
import pytest

from search.samplers import BlockSampler
from searchspace.errors import StudyMismatch

optuna.logging.set_verbosity(optuna.logging.ERROR)
pytestmark = pytest.mark.usefixtures("one_thread")
STEPS = {"layers": 2.0, "kernel": -1.0, "width": 1.5, "se": 0.5, "expand": -1.5, "stem": 0.0}
SPACE = {name: list(range(5)) for name in STEPS}


def value_of(params: dict[str, Any]) -> float:
    return sum(step * params[name] for name, step in STEPS.items())


def study_of(sampler: optuna.samplers.BaseSampler, trials: int, *, seed: int, sign: float = 1.0) -> optuna.Study:
    rng = np.random.default_rng(seed)

    def objective(trial: optuna.Trial) -> float:
        params = {name: trial.suggest_categorical(name, values) for name, values in SPACE.items()}
        return 5 + sign * value_of(params) + rng.normal(0, 1.0)

    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.optimize(objective, n_trials=trials)
    return study


def best_of(prior: optuna.Study | None, trials: int, seed: int) -> float:
    study = study_of(BlockSampler(seed=seed, space=SPACE, prior=prior), trials, seed=seed)
    return max(value_of(trial.params) for trial in study.trials)


def earlier(sign: float) -> optuna.Study:
    return study_of(optuna.samplers.RandomSampler(seed=9), 40, seed=9, sign=sign)


def test_a_prior_that_holds_finds_in_5_trials_what_takes_longer_alone() -> None:
    prior = earlier(0.3)  # of another unit
    helped, alone = (fmean(best_of(one, 5, seed) for seed in range(6)) for one in (prior, None))
    assert helped > alone + 3


def test_a_prior_that_misleads_costs_little_and_is_dropped() -> None:
    prior = earlier(-1.0)
    misled, alone = (fmean(best_of(one, 20, seed) for seed in range(4)) for one in (prior, None))
    assert misled > alone - 2  # of 20 points from worst to best
    sampler = BlockSampler(seed=0, space=SPACE, prior=prior)
    study = study_of(sampler, 20, seed=0)
    history = sampler.reader.read(study, study.trials)
    (fitted,) = sampler.reader.fitted(history)
    assert fitted.slope is None or fitted.slope.weight == 0


def test_it_needs_no_space_and_proposes_the_same_again() -> None:
    prior = earlier(1.0)
    first, second = (study_of(BlockSampler(seed=1, prior=prior), 9, seed=0) for _ in range(2))
    assert [trial.params for trial in first.trials] == [trial.params for trial in second.trials]
    assert len({tuple(trial.params.values()) for trial in first.trials}) == 9


def test_a_study_of_other_choices_is_named_with_the_difference() -> None:
    other = dict(SPACE) | {"kernel": [3, 5]}
    sampler = BlockSampler(seed=0, space=other, prior=earlier(1.0))
    study = optuna.create_study(direction="maximize", sampler=sampler)
    with pytest.raises(StudyMismatch, match=r"of 'kernel' the study .* this one Categorical.*\(3, 5\)"):
        study.ask({n: optuna.distributions.CategoricalDistribution(v) for n, v in other.items()})


def test_a_study_with_few_trials_teaches_nothing() -> None:
    prior = study_of(optuna.samplers.RandomSampler(seed=9), 3, seed=9)
    with_it, alone = (study_of(BlockSampler(seed=1, space=SPACE, prior=one), 8, seed=0) for one in (prior, None))
    assert [trial.params for trial in with_it.trials] == [trial.params for trial in alone.trials]
