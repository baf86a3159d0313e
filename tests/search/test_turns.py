"""Several budgets take turns in one search loop: whose candidate is asked for, and which are compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

import studies
from search.budget import LatencyBudget
from search.console import Progress
from search.loop import Search, recover
from search.published import Published
from search.session import StudyClock
from search.settings import Settings
from search.turns import TURN, Turn
from searchspace.spaces.space import Choices
from searchspace.spec import NetworkSpec
from studies.storage import open_study
from tests.scripted import ScriptedEstimator
from tests.search.test_loop import PRICED, SPACE, TABLE

pytestmark = pytest.mark.usefixtures("one_thread")
BUDGETS = (6.0, 20.0)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHINAS_STUDIES", str(tmp_path / "studies"))


def searched(
    trials: int,
    accuracy: Callable[[NetworkSpec], float],
    *,
    budgets: Sequence[float] = BUDGETS,
    published: Sequence[Sequence[Published]] = ((), ()),
    until_settled: bool = False,
) -> Search:
    """A search that has run, with an instant estimator."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = open_study("s")
    settings = Settings(
        budget_ms=max(budgets),
        budgets_ms=tuple(budgets),
        trials=trials,
        sampler="block" if until_settled else "random",
        until_settled=until_settled,
    )
    turns = [Turn(LatencyBudget(ms, TABLE, confidence=0.5), some) for ms, some in zip(budgets, published, strict=True)]
    search = Search(
        study,
        settings,
        PRICED,
        turns[-1].budget,
        ScriptedEstimator(accuracy),
        StudyClock(None),
        Progress(lambda: None, quiet=True),
        recover(study)[0],
        turns=turns,
    )
    search.run()
    return search


def in_turn(*accuracies: float) -> Callable[[NetworkSpec], float]:
    """One accuracy after the other, whatever the network."""
    left = iter(accuracies)
    return lambda spec: next(left)


def test_candidates_are_asked_for_within_each_budget_in_turn_and_those_of_smaller_ones_count_for_larger_ones() -> None:
    search = searched(4, in_turn(0.5, 0.6, 0.7, 0.8))
    trials = search.study.get_trials()
    assert [trial.user_attrs[TURN] for trial in trials] == [6.0, 20.0, 6.0, 20.0]
    df = studies.load("s")
    assert (df["predicted_latency_ms"] <= [6.0, 20.0, 6.0, 20.0]).all()
    small, large = search.turns
    search.take(small)
    within = {trial.number for trial in search.finished()}
    assert {0, 2} <= within == set(df.index[df["predicted_latency_ms"] <= 6.0])
    search.take(large)
    assert {trial.number for trial in search.finished()} == {0, 1, 2, 3}


def test_a_candidate_is_stopped_early_by_those_of_its_own_budget_alone() -> None:
    """Else the larger ones, which are better, would have all of a small budget stopped."""
    searched(4, in_turn(0.2, 0.9, 0.3, 0.8))
    assert list(studies.load("s")["status"]) == ["trained", "trained", "trained", "stopped_early"]


def test_each_budget_has_published_networks_of_its_own_and_none_is_judged_twice() -> None:
    specs = [SPACE.spec(SPACE.corner("smallest")).with_classes(classes) for classes in (3, 4)]
    both, one = (Published(name, spec, name, True) for name, spec in zip(("both", "one"), specs, strict=True))
    search = searched(4, in_turn(0.5, 0.6, 0.7, 0.8), published=((both,), (both, one)))
    names = [trial.user_attrs.get("network") for trial in search.study.get_trials()]
    assert names == ["both", "one", None, None]


def test_where_every_network_within_one_budget_was_tried_the_others_go_on() -> None:
    fastest = PRICED.fastest().latency_ms
    search = searched(4, in_turn(0.5, 0.6, 0.7, 0.8), budgets=(1.0001 * fastest, 20.0))
    counted = [trial.user_attrs[TURN] for trial in search.study.get_trials() if "status" in trial.user_attrs]
    assert counted == [1.0001 * fastest, 20.0, 20.0, 20.0]
    assert [turn.is_exhausted for turn in search.turns] == [True, False]


def test_a_queued_network_is_judged_for_the_largest_budget_and_one_that_was_cut_off_for_its_own() -> None:
    fastest = PRICED.fastest().latency_ms
    budgets = (1.0001 * fastest, 20.0)  # within the smaller one is one network
    accuracies = iter([0.5, 0.6])

    def cut_off(spec: NetworkSpec) -> float:
        found = next(accuracies, None)
        if found is None:
            raise KeyboardInterrupt
        return found

    with pytest.raises(KeyboardInterrupt):
        searched(4, cut_off, budgets=budgets)
    search = searched(4, in_turn(0.7, 0.8), budgets=budgets)
    trained = [trial.user_attrs for trial in search.study.get_trials() if trial.state == TrialState.COMPLETE]
    assert [attrs[TURN] for attrs in trained] == [budgets[0], 20.0, 20.0, 20.0]
    large = next(each for each in trained if each["predicted_latency_ms"] > budgets[0])
    choices = next(there for there in SPACE.neighbours(large["choices"]) if is_new(there, search))
    search.study.enqueue_trial({**first_values(), **choices})
    again = searched(5, in_turn(0.9), budgets=budgets)
    assert again.study.get_trials()[-1].user_attrs[TURN] == 20.0
    assert again.study.get_trials()[-1].state == TrialState.COMPLETE


def first_values() -> Choices:
    return {name: values[0] for name, values in SPACE.parameters().items() if len(values) > 1}


def is_new(choices: Choices, search: Search) -> bool:
    candidate = PRICED.price(choices)
    smallest, largest = search.turns
    is_within = smallest.budget.limit_ms < candidate.latency_ms <= largest.budget.limit_ms
    return is_within and candidate.fingerprint not in search.known


def test_budgets_that_are_settled_are_so_when_the_search_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.loop.settled", lambda finished, trials: 0.001 if trials else None)
    assert len(searched(9, in_turn(0.5, 0.6), until_settled=True).study.get_trials()) == 2
    assert len(searched(9, in_turn(), until_settled=True).study.get_trials()) == 2
