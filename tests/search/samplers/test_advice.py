"""What a study taught: what to hand over, which choices mattered, when to stop."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from search.samplers import BlockSampler, expected_gain, importance, recommend
from searchspace.errors import InvalidArgument

optuna.logging.set_verbosity(optuna.logging.ERROR)
STEPS = {"layers": 2.0, "kernel": 1.0, "se": 0.3, "stem": 0.0}  # what a step of each choice is worth


def true_value(params: dict[str, Any]) -> float:
    return sum(step * params[name] for name, step in STEPS.items())


def noisy_study(
    sampler: optuna.samplers.BaseSampler, trials: int, seed: int, direction: str = "maximize"
) -> optuna.Study:
    rng = np.random.default_rng(seed)
    sign = 1.0 if direction == "maximize" else -1.0

    def objective(trial: optuna.Trial) -> float:
        params = {name: trial.suggest_int(name, 0, 3) for name in STEPS}
        return sign * true_value(params) + rng.normal(0, 1.0)

    study = optuna.create_study(direction=direction, sampler=sampler)
    study.optimize(objective, n_trials=trials)
    return study


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_what_is_recommended_is_better_than_the_best_noisy_value(direction: str) -> None:
    recommended, luckiest = [], []
    for seed in range(8):
        study = noisy_study(optuna.samplers.RandomSampler(seed=seed), 40, seed, direction)
        recommended.append(true_value(recommend(study)))
        luckiest.append(true_value(study.best_params))
    assert np.mean(recommended) > np.mean(luckiest)


def test_choices_come_in_the_order_of_what_they_are_worth_and_their_intervals_hold_it() -> None:
    held = []
    for seed in range(6):
        frame = importance(noisy_study(optuna.samplers.RandomSampler(seed=seed), 60, seed)).set_index("parameter")
        assert frame.index[:2].tolist() == ["layers", "kernel"]
        assert (frame.loc[["layers", "kernel"], "low"] > 0).all()
        assert frame.loc["stem", "low"] < 0
        assert frame.loc["layers", ["best", "worst"]].tolist() == [3, 0]
        held += [frame.loc[n, "low"] <= 3 * STEPS[n] <= frame.loc[n, "high"] for n in ("layers", "kernel")]
    assert np.mean(held) >= 0.75


def test_importance_is_drawn(tmp_path: Path) -> None:
    if not find_spec("matplotlib"):
        pytest.skip("matplotlib is an extra")
    importance(noisy_study(BlockSampler(seed=0), 15, 0), plot=tmp_path / "choices.png")
    assert (tmp_path / "choices.png").stat().st_size > 1000


def test_the_expected_gain_falls_to_nothing_as_a_space_is_learnt() -> None:
    study = noisy_study(BlockSampler(seed=0), 11, 0)
    early = expected_gain(study)
    assert 0 < early.next_trial <= early.at_most
    study = noisy_study(BlockSampler(seed=0), 120, 0)
    late = expected_gain(study)
    assert late.at_most < early.at_most / 2
    assert late.at_most < 1.0


def test_with_few_trials_everything_is_still_to_gain_and_nothing_is_said_of_choices() -> None:
    study = noisy_study(BlockSampler(seed=0), 5, 0)
    assert expected_gain(study).next_trial == np.inf
    assert recommend(study) == study.best_params
    with pytest.raises(InvalidArgument, match="has 5 trials to learn from"):
        importance(study)
    with pytest.raises(InvalidArgument, match="no complete trial"):
        recommend(optuna.create_study())
