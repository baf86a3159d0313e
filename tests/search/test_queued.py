"""Trials that a person added to a study through Optuna itself: each is trained or says why not; none stops a search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

import studies
from search.samplers.network_sampler import distributions
from searchspace.errors import StudyMismatch
from studies.schema import Status
from studies.storage import open_study
from tests.scripted import ScriptedEstimator
from tests.search.test_loop import PRICED, SPACE, for_trials, make_search

pytestmark = pytest.mark.usefixtures("one_thread")
FASTEST = PRICED.fastest()
LARGEST = SPACE.corner("largest")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHINAS_STUDIES", str(tmp_path / "studies"))


def searched(trials: int = 4, *, sampler: str = "block") -> tuple[Any, ScriptedEstimator]:
    estimator = ScriptedEstimator(lambda _: 0.9)
    search = make_search(for_trials(trials, sampler=sampler), estimator)
    search.run()
    return search, estimator


def test_a_queued_network_is_the_next_candidate() -> None:
    open_study("s").enqueue_trial(dict(FASTEST.choices))
    search, estimator = searched()
    assert estimator.scored[0] == FASTEST.fingerprint
    assert search.finished()[0].user_attrs["fingerprint"] in estimator.scored


def test_what_a_queued_network_leaves_open_is_proposed() -> None:
    open_study("s").enqueue_trial({"stage3.kernel": 7})
    _, estimator = searched()
    df = studies.load("s")
    assert df["stage3.kernel"].iloc[0] == 7
    assert df["status"].iloc[0] == Status.TRAINED or "over the budget" in df["error"].iloc[0]
    assert estimator.calls >= 3


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"learning_rate": 0.1}, "'learning_rate' is no choice of the space"),
        ({"stage3.kernel": 9}, "'stage3.kernel' must be one of"),
        ({"stage3.kernel": "wide"}, "'stage3.kernel' must be one of"),
        ({"stage3.kernel": None}, "'stage3.kernel' must be one of"),
        ({"stage3.kernel": [3]}, "'stage3.kernel' must be one of"),
        ({"stage3.width_mult": 10**400}, "'stage3.width_mult' must be one of"),
        (dict(LARGEST), "over the budget"),
    ],
)
def test_a_queued_network_that_the_space_or_the_budget_does_not_have_is_ended_with_the_reason(
    params: dict[str, Any], words: str
) -> None:
    open_study("s").enqueue_trial(params)
    _, estimator = searched(3, sampler="random")
    df = studies.load("s")
    assert df["status"].iloc[0] == Status.FAILED
    assert words in df["error"].iloc[0]
    assert estimator.calls == 2
    searched(4, sampler="random")  # and the study goes on


KERNEL = optuna.distributions.CategoricalDistribution([3, 5, 99])
OTHERS = {"params": {"stage3.kernel": 3}, "distributions": {"stage3.kernel": KERNEL}}


@pytest.mark.parametrize("more", [{"state": TrialState.WAITING}, {"value": 0.9}])
def test_a_trial_of_other_distributions_than_the_space_is_named_with_the_way_out(more: dict[str, Any]) -> None:
    open_study("s").add_trial(optuna.trial.create_trial(**OTHERS, **more))
    with pytest.raises(StudyMismatch, match=r"trial 0, added through Optuna, has 'stage3.kernel' of .*--fresh"):
        searched(3)
    assert len(studies.load("s")) == 1


def foreign(**more: Any) -> optuna.trial.FrozenTrial:
    return optuna.trial.create_trial(**{"value": 0.99, **more})


EVERY = {name: (LARGEST | FASTEST.choices)[name] for name in distributions(SPACE)}
ADDED = [
    foreign(),
    foreign(user_attrs={"status": "trained", "fingerprint": "me"}),
    foreign(params=EVERY, distributions=distributions(SPACE)),
    foreign(value=float("inf"), params=EVERY, distributions=distributions(SPACE)),
    foreign(value=None, state=TrialState.FAIL, user_attrs={"status": "running"}),
    foreign(value=None, state=TrialState.PRUNED, intermediate_values={0: 0.5}),
    foreign(value=None, state=TrialState.RUNNING),
    foreign(params={"trial": 10**25}, distributions={"trial": optuna.distributions.IntDistribution(0, 10**26)}),
]


def test_trials_that_somebody_added_are_listed_and_cannot_win() -> None:
    study = open_study("s")
    study.set_user_attr("settings", {"budget_ms": 20.0})
    for trial in ADDED:
        study.add_trial(trial)
    counted = sum(trial.user_attrs.get("status") == "trained" for trial in ADDED)
    search, estimator = searched(7 + counted)
    assert {one.user_attrs["fingerprint"] for one in search.finished()} <= set(estimator.scored)
    assert estimator.calls >= 7
    df = studies.load("s")
    assert len(df) >= 7 + len(ADDED)
    assert studies.history("s")["trial"].nunique() >= 7
    assert studies.best("s").spec.fingerprint() in estimator.scored
    assert studies.pareto(df)["fingerprint"].isin(estimator.scored).all()


def test_attributes_that_no_search_writes_are_named_and_stop_no_search() -> None:
    open_study("s").add_trial(foreign(user_attrs={"status": "trained", "accuracy": "high", "history": 7}))
    _, estimator = searched(4)
    assert estimator.calls >= 3
    with pytest.raises(StudyMismatch, match="of trial 0 is"):
        studies.load("s")
