"""What every proposal of BlockSampler keeps: new, repeatable, within the limits; and that it learns."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState, create_trial

from search.samplers.block_sampler import BlockSampler
from search.samplers.network_sampler import distributions
from search.samplers.parameters import ABSENT, Parameters
from searchspace.spaces.space import Choices
from searchspace.spaces.universal import universal_space

optuna.logging.set_verbosity(optuna.logging.ERROR)
ACTIVATIONS = {"relu": 0.0, "swish": 1.0, "gelu": 0.5}


def blocks(trial: optuna.Trial) -> float:
    """Three stages; the second has a kernel where it has layers, the third an SE where it is wide."""
    value = float(trial.suggest_int("width", 8, 64, step=8)) / 16
    value += ACTIVATIONS[str(trial.suggest_categorical("activation", list(ACTIVATIONS)))]
    if trial.suggest_int("layers", 0, 2):
        value += {3: 0.0, 5: 1.0, 7: 0.2}[trial.suggest_categorical("kernel", [3, 5, 7])]
        if trial.suggest_categorical("wide", [False, True]):
            value += trial.suggest_int("se", 0, 3)
    return value


FLAT = {name: [1, 2, 3, 4] for name in "abcd"}


def flat(trial: optuna.Trial) -> float:
    return float(sum(trial.suggest_categorical(name, values) for name, values in FLAT.items()))


def points(study: optuna.Study) -> list[tuple[tuple[str, Any], ...]]:
    return [tuple(sorted(trial.params.items())) for trial in study.trials]


def new_study(sampler: BlockSampler, direction: str = "maximize", **kwargs: Any) -> optuna.Study:
    return optuna.create_study(sampler=sampler, direction=direction, **kwargs)


def test_no_point_comes_twice_where_parameters_hang_on_others() -> None:
    study = new_study(BlockSampler(seed=1))
    study.optimize(blocks, n_trials=60)
    assert len(set(points(study))) == 60


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_the_best_of_700_points_is_found_in_60_trials_in_both_directions(direction: str) -> None:
    """24 x (1 + 2 x 3 x 5) = 744 points; two are the best, and 60 random ones hold one of them once in six times."""
    sign = 1.0 if direction == "maximize" else -1.0
    found = []
    for seed in range(3):
        study = new_study(BlockSampler(seed=seed), direction)
        study.optimize(lambda trial: sign * blocks(trial), n_trials=60)
        found.append(sign * study.best_value)
    assert found == [9.0] * 3


def test_a_space_is_used_up_before_a_point_comes_again_and_that_is_said_once() -> None:
    study = new_study(BlockSampler(seed=0))
    with pytest.warns(UserWarning, match="tried again") as said:
        study.optimize(lambda trial: trial.suggest_int("a", 0, 3) * trial.suggest_int("b", 0, 2), n_trials=15)
    assert len(said) == 1
    assert len(set(points(study)[:12])) == 12
    assert all(trial.state == TrialState.COMPLETE for trial in study.trials)


def journal(path: Path) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(path)))


def test_a_study_that_goes_on_proposes_what_an_undisturbed_one_would(tmp_path: Path) -> None:
    undisturbed = new_study(BlockSampler(seed=3))
    undisturbed.optimize(blocks, n_trials=24)
    for trials in (7, 9, 8):
        study = new_study(BlockSampler(seed=3), study_name="s", storage=journal(tmp_path / "j"), load_if_exists=True)
        study.optimize(blocks, n_trials=trials)
    assert points(study) == points(undisturbed)


def test_another_process_proposes_the_same() -> None:
    code = (
        "import optuna; from tests.search.samplers.test_block_sampler import *\n"
        "study = new_study(BlockSampler(seed=5)); study.optimize(blocks, n_trials=20); print(points(study))"
    )
    root = Path(__file__).parents[3]
    other = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout
    study = new_study(BlockSampler(seed=5))
    study.optimize(blocks, n_trials=20)
    assert other.strip() == str(points(study))


def test_workers_that_share_a_storage_try_no_point_twice(tmp_path: Path) -> None:
    """Four processes, 256 points, of which the best few are what all of them want."""
    storage = tmp_path / "j"
    study = new_study(BlockSampler(seed=0), study_name="s", storage=journal(storage))
    code = (
        "import sys; from tests.search.samplers.test_block_sampler import *\n"
        "sampler = BlockSampler(seed=0, space=FLAT)\n"
        "study = optuna.load_study(study_name='s', storage=journal(sys.argv[1]), sampler=sampler)\n"
        "study.optimize(flat, n_trials=15)"
    )
    root = Path(__file__).parents[3]
    workers = [subprocess.Popen([sys.executable, "-c", code, str(storage)], cwd=root) for _ in range(4)]
    assert [worker.wait() for worker in workers] == [0] * 4
    assert len(study.trials) == 60
    assert len(set(points(study))) == 60


def test_threads_of_one_study_try_no_point_twice() -> None:
    study = new_study(BlockSampler(seed=0))
    study.optimize(blocks, n_trials=40, n_jobs=4)
    assert len(set(points(study))) == 40


def test_points_that_run_now_are_not_proposed_again() -> None:
    study = new_study(BlockSampler(seed=0, space={"a": [1, 2, 3], "b": IntDistribution(0, 1)}))
    space = {"a": CategoricalDistribution([1, 2, 3]), "b": IntDistribution(0, 1)}
    asked = [tuple(study.ask(space).params.items()) for _ in range(6)]
    assert len(set(asked)) == 6


def test_enqueued_trials_come_first_and_what_they_leave_open_is_proposed() -> None:
    study = new_study(BlockSampler(seed=0))
    study.optimize(blocks, n_trials=14)
    study.enqueue_trial({"width": 8, "activation": "relu", "layers": 0})
    study.enqueue_trial({"width": 16, "layers": 2, "wide": True})
    study.optimize(blocks, n_trials=2)
    assert study.trials[14].params == {"width": 8, "activation": "relu", "layers": 0}
    half_given = study.trials[15].params
    assert (half_given["width"], half_given["layers"], half_given["wide"]) == (16, 2, True)
    assert set(half_given) == {"width", "activation", "layers", "kernel", "wide", "se"}


def test_what_failed_is_not_tried_again() -> None:
    def objective(trial: optuna.Trial) -> float:
        value = blocks(trial)
        if value > 7:
            raise MemoryError
        return value

    study = new_study(BlockSampler(seed=0))
    study.optimize(objective, n_trials=50, catch=(MemoryError,))
    assert TrialState.FAIL in {trial.state for trial in study.trials}
    assert len(set(points(study))) == 50


def test_an_identity_tells_which_points_are_the_same_network() -> None:
    study = new_study(BlockSampler(seed=0, identity=lambda choices: choices["a"] * choices["b"]))
    study.optimize(lambda trial: trial.suggest_int("a", 1, 6) * trial.suggest_int("b", 1, 6), n_trials=18)
    products = {a * b for a in range(1, 7) for b in range(1, 7)}
    assert {trial.value for trial in study.trials} == products
    assert len(products) == 18


def test_a_trial_stopped_early_counts_against_what_it_was() -> None:
    """The same points: the next has `se` where those without were stopped low, and none where those with were."""
    space = {"se": CategoricalDistribution([False, True]), **{f"p{i}": IntDistribution(0, 3) for i in range(4)}}
    rng = np.random.default_rng(0)

    def next_one(stopped: bool) -> bool:
        study = new_study(BlockSampler(seed=0))
        for _ in range(24):
            params = {f"p{i}": int(rng.integers(4)) for i in range(4)} | {"se": bool(rng.integers(2))}
            bad = params["se"] == stopped
            study.add_trial(
                create_trial(
                    params=params,
                    distributions=space,
                    value=None if bad else 0.6 + 0.01 * rng.random(),
                    state=TrialState.PRUNED if bad else TrialState.COMPLETE,
                    intermediate_values={1: 0.2} if bad else {1: 0.4, 2: 0.6},
                )
            )
        return bool(study.ask(space).params["se"])

    assert [next_one(True), next_one(False)] == [False, True]


def test_a_failed_training_among_the_values_does_not_hide_the_differences_of_the_others() -> None:
    def objective(trial: optuna.Trial) -> float:
        value = blocks(trial)
        return -1e6 if trial.params["activation"] == "gelu" and trial.params["width"] == 8 else value

    study = new_study(BlockSampler(seed=0))
    study.optimize(objective, n_trials=60)
    assert study.best_value == 9.0


def test_floats_are_left_to_optuna_and_that_is_said_once() -> None:
    def objective(trial: optuna.Trial) -> float:
        return trial.suggest_int("a", 0, 1) - (trial.suggest_float("lr", 1e-5, 1, log=True) - 0.1) ** 2

    study = new_study(BlockSampler(seed=0))
    with pytest.warns(UserWarning, match="TPESampler") as said:
        study.optimize(objective, n_trials=15)
    assert len(said) == 1
    again = new_study(BlockSampler(seed=0))
    with pytest.warns(UserWarning, match="TPESampler"):
        again.optimize(objective, n_trials=15)
    assert points(again) == points(study)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(2, 4), st.integers(2, 4))
def test_conditions_are_inferred_from_trials(seed: int, sizes: int, depth: int) -> None:
    """A chain: each parameter is there where the one before it has one of some values."""
    rng = np.random.default_rng(seed)
    parameters = Parameters({f"p{i}": IntDistribution(0, sizes - 1) for i in range(depth)})
    wanted = [rng.random(sizes) < 0.6 for _ in range(depth - 1)]

    def true_rows(rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        rows = rows.copy()
        for place in range(1, depth):
            there = (rows[:, place - 1] != ABSENT) & np.append(wanted[place - 1], False)[rows[:, place - 1]]
            rows[~there, place] = ABSENT
        return rows

    parameters.learn_conditions(true_rows(parameters.draw(400, rng)))
    rows = parameters.draw(200, rng)
    present = (true_rows(parameters.draw(400, rng)) != ABSENT).any(axis=0)  # of one that never was nothing is known
    assert (parameters.canonical(rows) == true_rows(rows))[:, present].all()


def test_choices_that_come_together_hang_on_what_brings_both_and_not_on_each_other() -> None:
    space = universal_space()
    parameters = Parameters(distributions(space))

    def row_of(choices: Choices) -> np.ndarray[Any, Any]:
        row = parameters.row({name: choices[name] for name in parameters.names if name in choices})
        assert row is not None
        return row

    rng = random.Random(0)
    parameters.learn_conditions(np.array([row_of(space.sample(rng)) for _ in range(200)]))
    every = [{name: rng.choice(values) for name, values in space.parameters().items()} for _ in range(50)]
    found = parameters.canonical(np.array([row_of(choices) for choices in every]))
    assert (found == [row_of(space.canonical(choices)) for choices in every]).all()


def test_rows_and_choices_are_each_others_inverse() -> None:
    parameters = Parameters(
        {
            "mixed": CategoricalDistribution([None, True, 1.5, "x"]),
            "step": IntDistribution(-10, 10, step=4),
            "one": CategoricalDistribution(["only"]),
        }
    )
    for row in parameters.draw(50, np.random.default_rng(0)):
        assert (parameters.row(parameters.choices(row)) == row).all()
    assert parameters.row({"step": 1}) is None
    assert parameters.row({"mixed": "y"}) is None
    assert parameters.row({"one": "only"}).tolist() == [ABSENT, ABSENT, 0]  # type: ignore[union-attr]
