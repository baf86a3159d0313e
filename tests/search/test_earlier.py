"""--from-study and --until-settled: what a search takes over from another, and where it ends."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

import studies
from search.accuracy import register
from search.earlier import earlier_study
from search.machinery import Machinery
from search.pipeline import run_search
from search.settled import GAIN, LEAST, SETTLED, settled
from searchspace.errors import InvalidArgument, StudyMismatch
from studies.storage import open_study
from tests.scripted import ScriptedEstimator, ScriptedTrainer
from tests.search.test_loop import SPACE, for_trials, make_search
from tests.small_search import scripted_settings, space_in, with_table

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHINAS_STUDIES", str(tmp_path / "studies"))


def study_of(name: str, **settings: Any) -> None:
    open_study(name).set_user_attr("settings", {"sampler": "block", "space": SPACE.to_dict(), **settings})


def test_a_study_of_other_classes_and_pixels_is_taken() -> None:
    study_of("a", space={**SPACE.to_dict(), "classes": 99, "resolution": 96})
    found = earlier_study("a", SPACE, own="b")
    assert found is not None
    assert found.study_name == "a"
    assert earlier_study(None, SPACE, own="b") is None


def test_a_study_of_another_space_is_named_with_the_difference() -> None:
    study_of("a", space=SPACE.with_choices({"stage3.kernel": (3,)}).to_dict())
    with pytest.raises(StudyMismatch, match=r"differs in stage3.kernel \(\[3\] there, \[3, 5, 7\] here\)"):
        earlier_study("a", SPACE, own="b")
    study_of("d", space=replace(SPACE, smaller_resolutions=(160,)).to_dict())
    with pytest.raises(StudyMismatch, match=r"differs in --resolution \(\[160, 224\] there, \[224\] here\)"):
        earlier_study("d", SPACE, own="b")
    study_of("c", space={**SPACE.to_dict(), "head_width": 64})
    with pytest.raises(StudyMismatch, match=r"head_width \(64 there"):
        earlier_study("c", SPACE, own="b")


def test_a_study_that_is_none_of_search_run_or_is_this_one_or_is_not_there_is_told() -> None:
    open_study("a").set_user_attr("settings", {"kind": "netadapt"})
    with pytest.raises(StudyMismatch, match="netadapt"):
        earlier_study("a", SPACE, own="b")
    with pytest.raises(InvalidArgument, match="which is this one"):
        earlier_study("a", SPACE, own="a")
    with pytest.raises(InvalidArgument, match="there is no study 'z'"):
        earlier_study("z", SPACE, own="b")


def test_a_search_learns_from_another_of_the_same_space(tmp_path: Path) -> None:
    register("scripted")(lambda settings: ScriptedEstimator(epochs=settings.recipe.epochs))
    with_table(tmp_path, space_in(tmp_path))
    machinery = Machinery(trainer=ScriptedTrainer)
    run_search(scripted_settings(tmp_path, 1000.0, study="first"), quiet=True, machinery=machinery)
    asked = scripted_settings(tmp_path, 900.0, study="second", from_study="first")
    assert run_search(asked, quiet=True, machinery=machinery)["settings"]["from_study"] == "first"
    with pytest.raises(StudyMismatch, match="--from-study"):
        run_search(scripted_settings(tmp_path, 900.0, study="second"), quiet=True, machinery=machinery)


def trials_of(*gains: float) -> list[optuna.trial.FrozenTrial]:
    first = [create_trial(value=0.5, user_attrs={"deviation": 0.01}) for _ in range(LEAST)]
    return [*first, *(create_trial(value=0.5, user_attrs={"deviation": 0.01, GAIN: gain}) for gain in gains)]


def test_it_is_settled_where_three_in_a_row_are_worth_less_than_a_tenth_of_the_deviation() -> None:
    little, much = 0.9 * SETTLED * 0.01, 1.1 * SETTLED * 0.01
    assert settled(trials_of(much, little, little, little), trials_of(much, little, little, little)) == little
    for gains in ((little, little), (little, much, little), ()):
        assert settled(trials_of(*gains), trials_of(*gains)) is None
    few = trials_of(little, little, little)[LEAST - 2 :]
    assert settled(few, few) is None
    failed = [SimpleNamespace(state=TrialState.FAIL, user_attrs={GAIN: much})]
    assert settled(trials_of(little, little, little), [*trials_of(little, little, little), *failed]) == little


def test_a_search_in_which_all_networks_are_alike_ends_before_its_trials() -> None:
    search = make_search(for_trials(60, sampler="block", until_settled=True), ScriptedEstimator(lambda _: 0.9))
    search.run()
    gains = [trial.user_attrs[GAIN] for trial in search.study.trials if GAIN in trial.user_attrs]
    assert LEAST <= len(studies.load("s")) < 40
    assert max(gains[-3:]) < SETTLED * search.finished()[0].user_attrs["deviation"]
    again = make_search(for_trials(60, sampler="block", until_settled=True), ScriptedEstimator(lambda _: 0.9))
    again.run()  # and does not begin anew
    assert len(again.study.trials) == len(search.study.trials)
