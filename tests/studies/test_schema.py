"""The one place that names what a trial stores."""

import dataclasses
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution

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


def ended(state: str, attrs: dict[str, Any], params: dict[str, Any] | None = None) -> optuna.trial.FrozenTrial:
    """A trial of Optuna in that state."""
    params = params or {}
    return optuna.trial.create_trial(
        state=optuna.trial.TrialState[state],
        value=0.5 if state == "COMPLETE" else None,
        params=params,
        distributions={name: CategoricalDistribution([value]) for name, value in params.items()},
        user_attrs=attrs,
    )


@given(RECORDS)
def test_a_record_survives_its_attributes_and_optunas_trial(record: TrialRecord) -> None:
    assert TrialRecord.from_trial(ended("COMPLETE", record.to_attrs())) == record


def test_drawn_parameters_are_the_choices_where_none_are_stored() -> None:
    drawn = {"stage1.kernel": 3}
    assert TrialRecord.from_trial(ended("RUNNING", {}, drawn)).choices == drawn
    attrs = {"choices": {"stage1.layers": 0}}
    assert TrialRecord.from_trial(ended("RUNNING", attrs, drawn)).choices == {"stage1.layers": 0}


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
    assert TrialRecord.from_trial(ended(state, attrs)).status is expected


def test_every_field_of_a_record_but_choices_and_history_is_a_column() -> None:
    names = {column.name for column in (*FIRST_COLUMNS, *LAST_COLUMNS)}
    fields = {field.name for field in dataclasses.fields(TrialRecord)}
    assert names == (fields - {"choices", "history"}) | {"trial", "started_at"}
