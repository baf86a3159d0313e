"""Costs that are known before a trial: what is over a limit is never evaluated, and what cannot be met is named."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from search.samplers.block_sampler import BlockSampler
from searchspace.errors import InfeasibleBudget, InvalidArgument

optuna.logging.set_verbosity(optuna.logging.ERROR)
SPACE = {f"width{i}": [8, 16, 24, 32, 48, 64] for i in range(6)}


def cost(choices: dict[str, Any]) -> dict[str, Any]:
    """A chain of six convolutions; a latency as an interval, parameters, and a memory that falls as the first grows."""
    widths = [3, *(choices[name] for name in SPACE)]
    params = sum(a * b for a, b in itertools.pairwise(widths))
    return {"ms": (params / 2000, params / 1800), "params": params, "unused_bytes": 100 - widths[1]}


def objective(trial: optuna.Trial) -> float:
    widths = [trial.suggest_categorical(name, values) for name, values in SPACE.items()]
    return sum(math.log(width) for width in widths)


def new_study(**kwargs: Any) -> optuna.Study:
    return optuna.create_study(direction="maximize", sampler=BlockSampler(seed=0, **kwargs))


@settings(max_examples=8)
@given(st.sampled_from([0.002, 0.05, 0.3, 1.0]), st.booleans())
def test_nothing_over_a_limit_is_ever_evaluated(share: float, given_space: bool) -> None:
    """`share` of random points keep the limit; without a space, the first trials are drawn choice by choice."""
    rng = np.random.default_rng(0)
    drawn = [{name: int(rng.choice(values)) for name, values in SPACE.items()} for _ in range(2000)]
    limit = float(np.quantile([cost(choices)["ms"][1] for choices in drawn], share))
    study = new_study(cost=cost, limits={"ms": limit, "params": 1e9}, **({"space": SPACE} if given_space else {}))
    study.optimize(objective, n_trials=18)
    complete = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    assert len(complete) >= 17
    assert all(cost(trial.params)["ms"][1] <= limit for trial in complete)
    assert len({tuple(sorted(trial.params.items())) for trial in complete}) == len(complete)


def test_under_a_limit_the_best_is_found() -> None:
    """Of 46,656 points, 4% keep it."""
    keeping = [
        sum(map(math.log, widths))
        for widths in itertools.product(*SPACE.values())
        if cost(dict(zip(SPACE, widths, strict=True)))["params"] <= 2000
    ]
    study = new_study(cost=cost, limits={"params": 2000}, space=SPACE)
    study.optimize(objective, n_trials=60)
    assert study.best_value >= sorted(keeping)[-3]


def test_a_limit_that_nothing_keeps_names_the_cheapest() -> None:
    with pytest.raises(InfeasibleBudget, match=r"cheapest found takes params 344.*params alone is not met"):
        new_study(cost=cost, limits={"params": 300}, space=SPACE).optimize(objective, n_trials=1)


def test_limits_that_exclude_each_other_are_named() -> None:
    """A first width of at least 48 takes more than 500 parameters."""
    limits = {"ms": 100.0, "params": 500, "unused_bytes": 52}
    with pytest.raises(InfeasibleBudget, match="params and unused_bytes exclude each other"):
        new_study(cost=cost, limits=limits, space=SPACE).optimize(objective, n_trials=1)


def test_an_enqueued_trial_over_a_limit_is_refused() -> None:
    study = new_study(cost=cost, limits={"params": 5000}, space=SPACE)
    study.enqueue_trial(dict.fromkeys(SPACE, 64))
    with pytest.raises(InfeasibleBudget, match="was enqueued with"):
        study.optimize(objective, n_trials=1)
    assert all(trial.state != TrialState.COMPLETE for trial in study.trials)


def test_choices_that_cost_raises_for_are_left_out_counted_and_said_once() -> None:
    def broken(choices: dict[str, Any]) -> dict[str, Any]:
        if choices["width0"] == 8:
            raise ZeroDivisionError("no such kernel")
        return {"params": math.nan} if choices["width1"] == 8 else cost(choices)

    study = new_study(cost=broken, limits={"params": 5000}, space=SPACE)
    with pytest.warns(UserWarning, match="no number for are left out") as said:
        study.optimize(objective, n_trials=25)
    assert len(said) == 1
    assert all(trial.params["width0"] != 8 and trial.params["width1"] != 8 for trial in study.trials)
    assert study.sampler.rejected["without_cost"] > 0  # type: ignore[attr-defined]


@pytest.mark.filterwarnings("ignore:BlockSampler")
@pytest.mark.parametrize("limits", [{"params": 5000}, {}])
def test_a_cost_that_has_no_number_for_anything_says_why(limits: dict[str, float]) -> None:
    def broken(choices: dict[str, Any]) -> dict[str, Any]:
        raise ZeroDivisionError("no table")

    study = new_study(cost=broken, limits=limits, space=SPACE)
    with pytest.raises(InvalidArgument, match=r"any of .*no table"):
        study.optimize(objective, n_trials=1)


def test_without_a_given_space_what_costs_no_number_is_left_out_too() -> None:
    study = new_study(cost=lambda choices: {"ms": math.nan if choices["a"] else 1.0}, limits={"ms": 2.0})
    study.optimize(lambda trial: float(trial.suggest_categorical("a", [0, 1])), n_trials=3)
    assert {trial.params["a"] for trial in study.trials} == {0}


def test_a_limit_that_cost_does_not_give_is_named() -> None:
    with pytest.raises(InvalidArgument, match="limits name flash, but cost gives ms, params, unused_bytes"):
        new_study(cost=cost, limits={"flash": 1.0}, space=SPACE).optimize(objective, n_trials=1)


@pytest.mark.parametrize("arguments", [{"limits": {"ms": 1.0}}, {"minimize": ["ms"]}])
def test_limits_without_a_cost_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="need cost="):
        BlockSampler(**arguments)
