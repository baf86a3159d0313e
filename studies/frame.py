"""Studies as pandas frames: one row a trial, choices as columns, units in names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from searchspace.errors import InfeasibleBudget, StorageError
from searchspace.files import read_json, write_atomic
from searchspace.spec import NetworkSpec, read_spec
from studies import storage
from studies.schema import FIRST_COLUMNS, LAST_COLUMNS, MEASURED, SETTINGS, Status, TrialRecord, Value

if TYPE_CHECKING:
    from studies.database import StoredStudy


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """A study's winner, or, while it is not `finished`, its most accurate trial within the budget so far.

    accuracy is the validation accuracy of the search's short training, test_accuracy that of the winner; fractions.
    """

    name: str
    folder: Path
    finished: bool
    spec: NetworkSpec
    trial: int
    accuracy: float
    test_accuracy: float | None
    predicted_latency_ms: float | None
    measured_latency_ms: float | None
    params: int
    macs: int
    summary: dict[str, Any]


def load(name: str) -> pd.DataFrame:
    """All trials of a study: one row each by number, columns FIRST_COLUMNS, choices, LAST_COLUMNS.

    All columns can hold missing values. `attrs` holds "name", "folder", "settings" and what else the study stores.
    Raises InvalidArgument (no such study; names the nearest), StudyMismatch (damaged), StorageError (unreadable).
    """
    path, stored = _read(name)
    with _damage_of(path):
        frame = _frame(stored)
    frame.attrs = {SETTINGS: {}}
    frame.attrs |= {key: value for key, value in stored.attrs.items() if key != MEASURED}
    frame.attrs |= {"name": name, "folder": str(path.parent)}
    return frame


def history(name: str) -> pd.DataFrame:
    """Validation accuracy of every trial after each epoch: columns trial, epoch (from 1), accuracy (fraction)."""
    path, stored = _read(name)
    with _damage_of(path):
        rows = [
            (trial.number, epoch, accuracy)
            for trial in stored.trials
            for epoch, accuracy in enumerate(TrialRecord.from_trial(trial).history, start=1)
        ]
    frame = pd.DataFrame(rows, columns=["trial", "epoch", "accuracy"])
    return frame.astype({"trial": "Int64", "epoch": "Int64", "accuracy": "Float64"})


def pareto(df: pd.DataFrame) -> pd.DataFrame:
    """The Pareto front of a frame of `load`: the trained trials that no other one beats.

    One trial beats another if it is as cheap and as accurate, and better in one of the two; equal trials stay together.
    Cheap is by predicted latency, or by MACs or parameters where the study's budget is one of those.
    """
    cost, _ = budget_of(df)
    trained = df[(df["status"] == Status.TRAINED) & df["accuracy"].notna() & df[cost].notna()]
    ordered = trained.sort_values([cost, "accuracy"], ascending=[True, False], kind="stable")
    accuracy = ordered["accuracy"].astype("float64")
    latency_ms = ordered[cost].astype("float64")
    best_as_fast = accuracy.groupby(latency_ms).max()
    best_faster = best_as_fast.cummax().shift(fill_value=float("-inf"))
    front = best_as_fast[best_as_fast > best_faster]
    return ordered.loc[accuracy == latency_ms.map(front)]


def within_budget(df: pd.DataFrame) -> pd.DataFrame:
    """Trained trials within the study's budget by prediction and, where measured, by measurement; best first."""
    cost, budget = budget_of(df)
    fits = df[cost] <= budget
    if cost == "predicted_latency_ms":
        fits &= ~(df["measured_latency_ms"] > budget).fillna(False)
    trained: pd.DataFrame = df[(df["status"] == Status.TRAINED) & fits.fillna(False)]
    return trained.sort_values(["accuracy", cost], ascending=[False, True], kind="stable")


def budget_of(df: pd.DataFrame) -> tuple[str, float]:
    """(the column that the study's budget is counted in, the smallest budget; infinite where there is none)."""
    settings = df.attrs.get(SETTINGS, {})
    if settings.get("unit") in ("macs", "params") and settings.get("budgets"):
        return settings["unit"], min(settings["budgets"])
    return "predicted_latency_ms", settings.get("budget_ms", float("inf"))


def summary(name: str) -> dict[str, Any]:
    """The content of the study's summary.json; empty while the search is not finished."""
    path = storage.existing(name) / storage.SUMMARY
    return read_summary(path) if path.exists() else {}


def read_summary(path: Path) -> dict[str, Any]:
    """A summary.json. Raises StorageError if it cannot be read or is not what a search writes."""
    content = read_json(path)
    found: dict[str, Any] = content if isinstance(content, dict) else {}
    winner = found.get("winner")
    if not isinstance(winner, dict) or type(winner.get("trial")) is not int or type(found.get("study")) is not str:
        raise StorageError(
            f"{path} must be the summary that a search wrote, with its name and its winner's trial, and is not: "
            "restore it from a copy, or delete it; the study's search.run command writes it again"
        )
    return found


def best(name: str) -> Best:
    """The winner of a finished study, else the best trial so far.

    Raises InvalidArgument (no such study), InfeasibleBudget (no trained trial within the budget yet), StorageError,
    StudyMismatch or InvalidSpec (damaged files).
    """
    df = load(name)
    folder = storage.existing(name)
    found = summary(name)
    candidates = within_budget(df)
    winner = found.get("winner", {})
    finished = bool(winner) and (folder / storage.BEST).exists()
    if finished:
        candidates = df[df["trial"] == winner["trial"]]
    if candidates.empty and not finished:
        raise InfeasibleBudget(_nothing_yet(name, df))
    # A pruning whose start is within the budget already has a winner that is no trial.
    start = {**winner, "accuracy": winner.get("validation_accuracy")}
    row = start if candidates.empty else candidates.iloc[0].to_dict()
    measured = winner.get("measured_latency_ms", row["measured_latency_ms"])
    return Best(
        name=name,
        folder=folder,
        finished=finished,
        spec=read_spec(folder / storage.BEST) if finished else NetworkSpec.from_json(row["spec"]),
        trial=int(row["trial"]),
        accuracy=float(row["accuracy"]),
        test_accuracy=winner.get("test_accuracy"),
        predicted_latency_ms=_known(winner.get("predicted_latency_ms", row["predicted_latency_ms"])),
        measured_latency_ms=_known(measured),
        params=int(winner.get("params", row["params"])),
        macs=int(winner.get("macs", row["macs"])),
        summary=found,
    )


def _known(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)


def write_trials_csv(name: str) -> Path:
    """Write the frame of `load` to trials.csv in the study's folder; the specs stand in it as one line each."""
    df = load(name)
    path = storage.existing(name) / storage.TRIALS_CSV
    write_atomic(path, to_csv(df))
    return path


def to_csv(df: pd.DataFrame) -> str:
    """A frame of `load` as CSV text."""
    return str(df.assign(spec=df["spec"].map(_one_line, na_action="ignore")).to_csv(index=False))


def _one_line(spec: str) -> str:
    return json.dumps(json.loads(spec), separators=(",", ":"))


def _nothing_yet(name: str, df: pd.DataFrame) -> str:
    trained = df[df["status"] == Status.TRAINED]
    if trained.empty:
        return f"the study {name!r} has no trained network yet ({len(df)} trials): go on with its command"
    cost, budget = budget_of(df)
    least, unit = trained[cost].min(), "ms" if cost == "predicted_latency_ms" else cost
    return (
        f"none of the {len(trained)} trained networks of {name!r} is within {budget:g} {unit}; the cheapest takes "
        f"{least:.{2 if unit == 'ms' else 0}f} {unit}: go on with its command, or raise the budget"
    )


def _read(name: str) -> tuple[Path, StoredStudy]:
    """A study's file and what is stored in it; Optuna is imported here, once a study is there to be read."""
    path = storage.existing(name) / storage.DATABASE
    storage.check_not_lost(path)
    from studies.database import read_study

    return path, read_study(path)


@contextmanager
def _damage_of(path: Path) -> Iterator[None]:
    """What a study stores and no search can have stored is a StudyMismatch."""
    try:
        yield
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        from studies.database import damaged

        raise damaged(path, f"a trial cannot be read: {error}") from error


def _frame(stored: StoredStudy) -> pd.DataFrame:
    measured, settings = stored.attrs.get(MEASURED, {}), stored.attrs.get(SETTINGS, {})
    if not all(isinstance(ms, float | int) and not _is_large(ms) for ms in measured.values()):
        raise ValueError(f"{MEASURED} is {measured!r:.80}")
    _check_budget(settings)
    records = [TrialRecord.from_trial(trial) for trial in stored.trials]
    rows = [
        {name: getattr(record, name) for name in TrialRecord.__slots__}
        | {"trial": trial.number, "started_at": trial.datetime_start and trial.datetime_start.astimezone(UTC)}
        | {MEASURED: measured.get(str(trial.number), record.measured_latency_ms)}
        for trial, record in zip(stored.trials, records, strict=True)
    ]
    first, last = (
        {name: _array([row[name] for row in rows], dtype) for name, dtype in columns}
        for columns in (FIRST_COLUMNS, LAST_COLUMNS)
    )
    choices = {
        f"choice.{name}" if name in {*first, *last} else name: _choice_array([one.choices.get(name) for one in records])
        for name in sorted({name for one in records for name in one.choices}, key=_natural)
    }
    return pd.DataFrame({**first, **choices, **last})


def _check_budget(settings: dict[str, Any]) -> None:
    """Raises ValueError or TypeError for settings whose budget is none."""
    budgets = [settings.get("budget_ms", 1.0), *settings.get("budgets", ()), *(settings.get("budgets_ms") or ())]
    if not all(type(budget) in (int, float) and budget > 0 for budget in budgets if budget is not None):
        raise ValueError(f"its budget is {budgets!r:.80}")


def _array(values: Sequence[Any], dtype: Any) -> Any:
    if dtype == "category":
        return pd.Categorical([str(value) for value in values], categories=[str(status) for status in Status])
    if dtype.startswith("datetime"):
        return pd.Series(values, dtype=dtype).array
    return pd.array(values, dtype=dtype)


def _choice_array(values: Sequence[Value | None]) -> Any:
    """The narrowest nullable type: boolean, Int64, Float64, a category of text; text for what is mixed."""
    kinds = {type(value) if not _is_large(value) else str for value in values if value is not None}
    for types, dtype in (({bool}, "boolean"), ({int}, "Int64"), ({int, float}, "Float64")):
        if kinds <= types:
            return _array(values, dtype)
    texts = [None if value is None else str(value) for value in values]
    return pd.Categorical(texts) if kinds == {str} else _array(texts, "string")


def _is_large(value: Value | None) -> bool:
    """An integer of more than 64 bits, which no type of pandas has; somebody else's, as ours have fewer."""
    return isinstance(value, int) and not -(2**63) <= value < 2**63


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """stage2 before stage10."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", name)]
