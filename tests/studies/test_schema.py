"""The one place that names what a trial stores."""

import dataclasses

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from studies.schema import FIRST_COLUMNS, LAST_COLUMNS, Status, TrialRecord

NUMBERS = st.none() | st.floats(0, 1e6)
COUNTS = st.none() | st.integers(0, 10**12)
TEXTS = st.none() | st.text()
RECORDS = st.builds(
    TrialRecord,
    status=st.sampled_from([Status.TRAINED, Status.STOPPED_EARLY, Status.FAILED]),
    choices=st.dictionaries(st.text(min_size=1), st.booleans() | st.integers() | st.floats(0, 9) | st.text()),
    spec=TEXTS,
    fingerprint=TEXTS,
    params=COUNTS,
    macs=COUNTS,
    predicted_latency_ms=NUMBERS,
    predicted_low_ms=NUMBERS,
    predicted_high_ms=NUMBERS,
    measured_latency_ms=NUMBERS,
    accuracy=NUMBERS,
    history=st.lists(st.floats(0, 1)).map(tuple),
    train_s=NUMBERS,
    epochs=COUNTS,
    seed=COUNTS,
    error=TEXTS,
    reward=NUMBERS,
)


@given(RECORDS)
def test_a_record_survives_its_attributes_and_optunas_trial(record: TrialRecord) -> None:
    attrs = record.to_attrs()
    assert TrialRecord.from_attrs(attrs, {}, state="COMPLETE") == record
    trial = optuna.trial.create_trial(value=0.5, user_attrs=attrs)
    assert TrialRecord.from_frozen(trial) == record


def test_drawn_parameters_are_the_choices_where_none_are_stored() -> None:
    assert TrialRecord.from_attrs({}, {"stage1.kernel": 3}, state="RUNNING").choices == {"stage1.kernel": 3}
    attrs = {"choices": {"stage1.layers": 0}}
    assert TrialRecord.from_attrs(attrs, {"stage1.kernel": 3}, state="RUNNING").choices == {"stage1.layers": 0}


@pytest.mark.parametrize(
    ("stored", "state", "expected"),
    [
        ("running", "RUNNING", Status.RUNNING),
        (None, "WAITING", Status.RUNNING),
        ("running", "FAIL", Status.INTERRUPTED),
        (None, "FAIL", Status.INTERRUPTED),
        ("failed", "FAIL", Status.FAILED),
        (None, "PRUNED", Status.STOPPED_EARLY),
        (None, "COMPLETE", Status.TRAINED),
        ("trained", "COMPLETE", Status.TRAINED),
    ],
)
def test_optunas_state_says_whether_a_trial_is_over_and_the_status_how(
    stored: str | None, state: str, expected: Status
) -> None:
    attrs = {} if stored is None else {"status": stored}
    assert TrialRecord.from_attrs(attrs, {}, state=state).status is expected


def test_every_field_of_a_record_but_choices_and_history_is_a_column() -> None:
    names = {column.name for column in (*FIRST_COLUMNS, *LAST_COLUMNS)}
    fields = {field.name for field in dataclasses.fields(TrialRecord)}
    assert names == (fields - {"choices", "history"}) | {"trial", "started_at"}
