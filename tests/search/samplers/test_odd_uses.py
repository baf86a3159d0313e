"""BlockSampler as a stranger uses it: odd values, functions that miss a choice, changed limits, stopped trials."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import TrialState, create_trial

from search.samplers import BlockSampler, importance, recommend
from search.samplers.history import Reader
from searchspace.errors import InfeasibleBudget, InvalidArgument

optuna.logging.set_verbosity(optuna.logging.ERROR)
SPACE = {"n": list(range(8)), "m": list(range(8))}


def both(trial: optuna.Trial) -> float:
    return float(sum(trial.suggest_categorical(name, values) for name, values in SPACE.items()))


def run(trials: int, objective: Callable[[optuna.Trial], float] = both, **given: Any) -> optuna.Study:
    study = optuna.create_study(sampler=BlockSampler(seed=0, **given), direction="maximize")
    study.optimize(objective, n_trials=trials)
    return study


def different(study: optuna.Study) -> int:
    return len({repr(sorted(trial.params.items())) for trial in study.trials})


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ([True, 1, 1.0, "1", None, 0, False], 4),  # Optuna tells True from neither 1 nor 1.0
        ([math.nan, 1, 2, None], 4),
        ([[1], [1, 2], [3]], 3),
        ([(1,), (1, 2)], 2),
    ],
)
def test_any_categorical_values_come_once_each(values: list[Any], count: int) -> None:
    def objective(trial: optuna.Trial) -> float:
        fresh = [float(str(value)) if value != value else value for value in values]  # another NaN in each trial
        trial.suggest_categorical("x", fresh)
        return trial.suggest_int("y", 0, 2)

    assert different(run(3 * count, objective)) == 3 * count


def test_seventy_choices_of_one_value_are_no_burden() -> None:
    study = run(
        6, lambda trial: sum(trial.suggest_int(f"x{i}", 1, 1) for i in range(70)) + trial.suggest_int("y", 0, 5)
    )
    assert different(study) == 6


def test_choices_that_are_never_asked_for_make_no_point_new_and_have_no_importance() -> None:
    study = run(64, space=SPACE | {"other": [1, 2, 3]})
    assert different(study) == 64
    assert set(importance(study).parameter) == {"n", "m"}


def test_an_enqueued_value_that_is_none_of_the_parameters_ends_its_trial_as_optuna_says() -> None:
    study = run(7, lambda trial: trial.suggest_int("n", 0, 9))
    study.enqueue_trial({"n": "many"})
    with pytest.raises(ValueError, match="many"):
        study.optimize(lambda trial: trial.suggest_int("n", 0, 9), n_trials=1)


def test_an_enqueued_trial_over_a_limit_does_not_run_on() -> None:
    study = run(2, space=SPACE, cost=lambda choices: {"ms": choices["n"]}, limits={"ms": 3})
    study.enqueue_trial({"n": 5, "m": 0})
    with pytest.raises(InfeasibleBudget, match="enqueued"):
        study.optimize(both, n_trials=1)
    assert study.trials[-1].state == TrialState.FAIL


def test_a_cost_without_a_number_is_left_out_before_the_space_is_known() -> None:
    study = run(12, cost=lambda choices: {"ms": None if choices.get("n", 0) > 3 else 1.0}, limits={"ms": 5})
    assert all(trial.params["n"] <= 3 for trial in study.trials[1:])


def test_an_infinite_limit_is_none_and_an_infinite_cost_no_number() -> None:
    costs = {"ms": math.inf, "kb": 0.0}
    study = run(8, space=SPACE, cost=lambda c: {"ms": c["n"], "kb": c["m"]}, limits=costs)
    assert different(study) == 8
    assert {trial.params["m"] for trial in study.trials} == {0}
    free = run(16, space=SPACE, cost=lambda c: {"ms": math.inf if c["n"] > 3 else c["n"]}, minimize=("ms",))
    assert all(trial.params["n"] <= 3 for trial in free.trials)


def test_an_interval_may_be_an_array() -> None:
    study = run(8, space=SPACE, cost=lambda c: {"ms": np.array([c["n"], c["n"] + 1.0])}, limits={"ms": np.float64(4)})
    assert all(trial.params["n"] <= 3 for trial in study.trials)


def test_limits_that_are_replaced_or_added_between_trials_hold() -> None:
    study = run(8, space=SPACE, cost=lambda c: {"ms": c["n"], "kb": c["m"]}, limits={"ms": 7})
    sampler = study.sampler
    assert isinstance(sampler, BlockSampler)
    sampler.limits = {"kb": 1}
    study.optimize(both, n_trials=8)
    assert all(trial.params["m"] <= 1 for trial in study.trials[8:])
    sampler.limits["mb"] = 1
    with pytest.raises(InvalidArgument, match="limits name mb, but cost gives ms, kb"):
        study.optimize(both, n_trials=1)


def test_a_cost_to_minimise_that_there_is_not_is_named() -> None:
    with pytest.raises(InvalidArgument, match="minimize name mss, but cost gives ms"):
        run(1, space=SPACE, cost=lambda c: {"ms": c["n"]}, minimize=("mss",))


@pytest.mark.parametrize("identity", [lambda c: [c["n"]], lambda c: np.array([c["n"], c["m"]])])
def test_an_identity_that_cannot_be_hashed_is_named(identity: Callable[[dict[str, Any]], Any]) -> None:
    with pytest.raises(InvalidArgument, match="identity must give what can be hashed"):
        run(3, space=SPACE, identity=identity)


def test_trials_that_ended_before_they_asked_for_all_are_no_trouble_for_identity_and_features() -> None:
    def objective(trial: optuna.Trial) -> float:
        if trial.suggest_categorical("n", SPACE["n"]) == 2:
            raise MemoryError
        return both(trial)

    given: dict[str, Any] = {"identity": lambda c: (c["n"], c["m"]), "features": lambda c: [c["n"] + c["m"]]}
    study = optuna.create_study(sampler=BlockSampler(seed=0, **given), direction="maximize")
    study.ask().suggest_categorical("n", SPACE["n"])  # it runs on
    study.optimize(objective, n_trials=30, catch=(MemoryError,))
    assert TrialState.FAIL in {trial.state for trial in study.trials}
    complete = [str(trial.params) for trial in study.trials if trial.state == TrialState.COMPLETE]
    assert len(set(complete)) == len(complete)


@pytest.mark.parametrize("values", [5, {1, 2}, np.array([1, 2])])
def test_values_that_have_no_order_of_their_own_are_refused(values: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"space gives 'a' .* give a list"):
        BlockSampler(space={"a": values})


def test_what_is_of_one_objective_says_so() -> None:
    study = optuna.create_study(sampler=BlockSampler(seed=0), directions=["maximize", "minimize"])
    study.optimize(lambda trial: (trial.suggest_int("n", 0, 9), trial.suggest_int("m", 0, 9)), n_trials=8)
    assert isinstance(study.sampler, BlockSampler)
    with pytest.raises(InvalidArgument, match="a posterior is of one objective"):
        study.sampler.posterior(study)
    with pytest.raises(InvalidArgument, match="objective must be the place of one, from 0 to 1, got 2"):
        importance(study, objective=2)


def test_of_trials_with_the_same_choices_the_one_of_the_best_value_is_recommended() -> None:
    distributions: dict[str, BaseDistribution] = {
        "a": CategoricalDistribution([0, 1]),
        "lr": optuna.distributions.FloatDistribution(0, 1),
    }
    study = optuna.create_study(sampler=BlockSampler(seed=0), direction="maximize")
    for number in range(30):
        lr = (7 * number % 30) / 30
        params = {"a": number % 2, "lr": lr}
        study.add_trial(create_trial(params=params, distributions=distributions, value=number % 2 - abs(lr - 0.5)))
    best = max((t for t in study.trials if t.params["a"] == 1), key=lambda t: t.values[0])
    assert recommend(study) == best.params


def stopped(count: int) -> Sequence[optuna.trial.FrozenTrial]:
    """Trials of which every second one was stopped early."""
    rng = np.random.default_rng(0)
    space: dict[str, BaseDistribution] = {f"p{i}": CategoricalDistribution([0, 1, 2, 3]) for i in range(4)}
    found = []
    for number in range(count):
        state, value = (TrialState.PRUNED, None) if number % 2 else (TrialState.COMPLETE, float(rng.normal()))
        params = {name: int(rng.integers(4)) for name in space}
        found.append(
            create_trial(
                params=params, distributions=space, value=value, state=state, intermediate_values={1: float(number % 7)}
            )
        )
    return found


def test_the_levels_are_not_fitted_anew_because_another_trial_completed_behind_those_that_were_stopped() -> None:
    study = optuna.create_study(sampler=BlockSampler(seed=0), direction="maximize")
    study.add_trials(stopped(41))
    reader, seen = Reader({}), []
    for count in (39, 41):
        seen.append(reader.fitted(reader.read(study, study.trials[:count])))
    assert seen[0] is seen[1]
