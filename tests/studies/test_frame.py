"""Studies in pandas: types, round trips, the Pareto front, the winner."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import optuna
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import studies
from searchspace.errors import InfeasibleBudget, InvalidArgument, InvalidSpec, StorageError, StudyMismatch
from searchspace.spec import NetworkSpec
from studies.frame import read_summary
from studies.schema import FIRST_COLUMNS, LAST_COLUMNS, MEASURED, Status, TrialRecord

MakeStudy = Callable[..., optuna.Study]
REPOSITORY = Path(__file__).parents[2]
CHOICES = {"stage2.kernel": 5, "stage10.se": True, "stage2.activation": "relu", "stage2.width_mult": 1.0, "mixed": 1}
TRAINED = TrialRecord(
    status=Status.TRAINED,
    choices=CHOICES,
    params=1000,
    macs=10**10,
    predicted_latency_ms=10.0,
    accuracy=0.5,
    history=(0.25, 0.5),
    train_s=3.5,
    epochs=2,
    seed=0,
    reward=0.5,
)
FAILED = TrialRecord(status=Status.FAILED, choices={"stage2.kernel": 3, "mixed": "x"}, error="NaN, at step 3")


def trained(accuracy: float, latency_ms: float) -> TrialRecord:
    return replace(TRAINED, accuracy=accuracy, reward=accuracy, predicted_latency_ms=latency_ms)


def test_every_column_has_its_type_also_where_values_are_missing(make_study: MakeStudy) -> None:
    make_study("s", TRAINED, FAILED, replace(FAILED, status=Status.INTERRUPTED), TrialRecord())
    df = studies.load("s")
    choices = {
        "mixed": "string",
        "stage2.activation": "category",
        "stage2.kernel": "Int64",
        "stage2.width_mult": "Float64",
        "stage10.se": "boolean",
    }
    expected = {**dict(FIRST_COLUMNS), **choices, **dict(LAST_COLUMNS)}
    assert {name: str(dtype) for name, dtype in df.dtypes.items()} == expected
    assert list(df.columns) == list(expected)
    assert list(df["status"]) == ["trained", "failed", "interrupted", "running"]
    assert list(df["trial"]) == [0, 1, 2, 3]
    assert df["accuracy"].isna().tolist() == [False, True, True, True]
    assert list(df["mixed"][:2]) == ["1", "x"]
    assert df["error"][1] == "NaN, at step 3"
    assert df["macs"][0] == 10**10


def test_started_at_is_the_moment_in_utc(make_study: MakeStudy) -> None:
    before = pd.Timestamp.now("UTC")
    make_study("s", TRAINED)
    assert before <= studies.load("s")["started_at"][0] <= pd.Timestamp.now("UTC")


def test_the_settings_travel_with_the_frame(make_study: MakeStudy, studies_root: Path) -> None:
    make_study("s", TRAINED, budget_ms=12.5).set_user_attr("spent_s", 60.0)
    attrs = studies.load("s").attrs
    assert attrs["settings"] == {"name": "s", "budget_ms": 12.5}
    assert (attrs["name"], attrs["folder"], attrs["spent_s"]) == ("s", str(studies_root / "s"), 60.0)


def test_an_empty_study_has_all_columns_and_no_row(make_study: MakeStudy) -> None:
    make_study("s")
    df = studies.load("s")
    assert list(df.columns) == [column.name for column in (*FIRST_COLUMNS, *LAST_COLUMNS)]
    assert df.empty
    assert studies.pareto(df).empty
    assert studies.history("s").empty


def test_measured_latencies_of_the_study_stand_with_their_trials(make_study: MakeStudy) -> None:
    study = make_study("s", TRAINED, TRAINED)
    study.set_user_attr(MEASURED, {"1": 9.5})
    assert studies.load("s")["measured_latency_ms"].fillna(0.0).tolist() == [0.0, 9.5]


def test_a_choice_named_like_a_column_does_not_replace_it(make_study: MakeStudy) -> None:
    make_study("s", replace(TRAINED, choices={"seed": 7}))
    df = studies.load("s")
    assert (df["seed"][0], df["choice.seed"][0]) == (0, 7)


def test_csv_read_by_plain_pandas_has_the_same_columns_rows_and_values(make_study: MakeStudy) -> None:
    make_study("s", TRAINED, FAILED)
    path = studies.write_trials_csv("s")
    df, again = studies.load("s"), pd.read_csv(path)
    assert list(again.columns) == list(df.columns)
    assert len(path.read_text().splitlines()) == 3
    for name in ("trial", "accuracy", "macs", "stage2.kernel", "stage2.activation"):
        assert again[name].dropna().tolist() == df[name].dropna().tolist()
    assert NetworkSpec.from_json(again["spec"][0]) == NetworkSpec.from_json(df["spec"][0])


def test_history_has_one_row_an_epoch(make_study: MakeStudy) -> None:
    make_study("s", FAILED, TRAINED)
    rows = studies.history("s")
    assert rows.to_numpy().tolist() == [[1, 1, 0.25], [1, 2, 0.5]]


POINTS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.1, 0.2, 0.3, None]) | st.floats(0, 1),
        st.sampled_from([1.0, 2.0, 3.0, None]) | st.floats(0.1, 100),
        st.sampled_from(["trained", "trained", "failed"]),
    ),
    max_size=30,
)


@given(POINTS)
def test_the_pareto_front_is_what_no_trained_trial_beats(
    points: list[tuple[float | None, float | None, str]],
) -> None:
    df = pd.DataFrame(points, columns=["accuracy", "predicted_latency_ms", "status"])
    df = df.astype({"accuracy": "Float64", "predicted_latency_ms": "Float64", "status": "category"})
    valid = [
        (a, ms, i) for i, (a, ms, kind) in enumerate(points) if kind == "trained" and a is not None and ms is not None
    ]
    expected = [
        i for a, ms, i in valid if not any(b >= a and other <= ms and (b > a or other < ms) for b, other, _ in valid)
    ]
    front = studies.pareto(df)
    assert sorted(front.index) == expected
    assert front["predicted_latency_ms"].is_monotonic_increasing
    assert front["accuracy"].is_monotonic_increasing


def test_best_so_far_is_the_most_accurate_within_the_budget(make_study: MakeStudy, network: NetworkSpec) -> None:
    slow, over, good, tie = trained(0.9, 21.0), trained(0.8, 19.0), trained(0.7, 15.0), trained(0.7, 14.0)
    study = make_study("s", slow, over, good, tie, FAILED)
    study.set_user_attr(MEASURED, {"1": 20.5})
    best = studies.best("s")
    assert (best.trial, best.accuracy, best.predicted_latency_ms, best.finished) == (3, 0.7, 14.0, False)
    assert (best.measured_latency_ms, best.test_accuracy) == (None, None)
    assert best.spec == network


def finish(folder: Path, network: NetworkSpec, trial: int) -> None:
    winner = {"trial": trial, "test_accuracy": 0.66, "test_low": 0.6, "test_high": 0.7, "measured_latency_ms": 18.5}
    (folder / "summary.json").write_text(json.dumps({"study": "s", "winner": winner, "within_budget": True}))
    (folder / "best.json").write_text(network.to_json())


def test_best_of_a_finished_study_is_its_winner(
    make_study: MakeStudy, network: NetworkSpec, studies_root: Path
) -> None:
    make_study("s", trained(0.9, 19.0), trained(0.7, 15.0))
    finish(studies_root / "s", network.with_name("winner"), 1)
    best = studies.best("s")
    assert (best.finished, best.trial, best.accuracy, best.test_accuracy) == (True, 1, 0.7, 0.66)
    assert (best.measured_latency_ms, best.spec.name, best.macs) == (18.5, "winner", 10**10)
    (studies_root / "s" / "best.json").write_text("{}")
    with pytest.raises(InvalidSpec, match=r"best\.json"):
        studies.best("s")
    (studies_root / "s" / "summary.json").write_text("{")
    with pytest.raises(StorageError, match=r"summary\.json"):
        studies.best("s")


def test_best_says_what_is_missing_where_nothing_is_within_the_budget(make_study: MakeStudy) -> None:
    study = make_study("s", FAILED)
    with pytest.raises(InfeasibleBudget, match="no trained network yet"):
        studies.best("s")
    make_study("t", trained(0.9, 25.0), trained(0.9, 22.0))
    with pytest.raises(InfeasibleBudget, match=r"none of the 2 .* 22\.00 ms"):
        studies.best("t")
    del study


def test_an_unknown_study_and_an_unreadable_trial_are_errors(make_study: MakeStudy) -> None:
    study = make_study("digits-20ms", TRAINED)
    with pytest.raises(InvalidArgument, match="did you mean digits-20ms"):
        studies.load("digits")
    study.ask().set_user_attr("accuracy", "high")
    with pytest.raises(StudyMismatch, match=r"study\.db .*damaged"):
        studies.load("digits-20ms")


def test_importing_studies_and_its_storage_imports_nothing_heavy_and_load_needs_no_torch(
    make_study: MakeStudy,
) -> None:
    make_study("s", TRAINED)
    code = (
        "import sys, studies, studies.storage, searchspace.files, studies.schema; studies.names()\n"
        "heavy = {'torch', 'optuna', 'pandas', 'sqlalchemy'}; assert not heavy & set(sys.modules)\n"
        "studies.load('s'); assert heavy & set(sys.modules) == heavy - {'torch'}"
    )
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)


def test_all_names_are_there_and_another_is_an_attribute_error() -> None:
    for name in studies.__all__:
        assert getattr(studies, name)
        assert name in dir(studies)
    with pytest.raises(AttributeError, match="load"):
        _ = studies.laod


@pytest.mark.parametrize(
    "text", ["[1]", "{}", '{"winner": 5}', '{"winner": {"trial": "77"}}', '{"winner": {"trial": 7}}', '"x"']
)
def test_a_summary_that_no_search_wrote_is_refused_with_the_next_step(text: str, tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(text)
    with pytest.raises(StorageError, match=r"summary\.json must be the summary that a search wrote"):
        read_summary(tmp_path / "summary.json")
