"""A row of study.db that has changed is noticed; what others write through Optuna is taken as it is."""

import gc
import sqlite3
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

import studies
from searchspace.errors import StudyMismatch
from studies.__main__ import main
from studies.checksums import CHECKSUMS
from studies.schema import Status, TrialRecord
from tests.studies.conftest import MakeStudy

TRAINED = TrialRecord(status=Status.TRAINED, accuracy=0.5, reward=0.5, params=10, macs=100)


@pytest.fixture
def database(make_study: MakeStudy, studies_root: Path) -> Path:
    make_study("s", TRAINED, TRAINED)
    gc.collect()
    return studies_root / "s" / "study.db"


def changed(path: Path, *statements: str) -> None:
    """As if the bytes had changed: without the triggers that tell a change by Optuna."""
    connection = sqlite3.connect(path)
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE trial_user_attributes SET value_json = '0.9' WHERE key = 'accuracy' AND trial_id = 1",
        "UPDATE trial_values SET value = 0.75 WHERE trial_id = 2",
        "UPDATE trials SET state = 'FAIL' WHERE trial_id = 1",
        "DELETE FROM trials WHERE trial_id = 2",
        "UPDATE study_user_attributes SET value_json = '{}'",
    ],
)
def test_a_changed_or_lost_row_is_damage(database: Path, statement: str) -> None:
    assert len(studies.load("s")) == 2
    changed(database, statement)
    with pytest.raises(StudyMismatch, match=r"study\.db .*is damaged \(row \d of \w+ is not what was written\)"):
        studies.load("s")
    with pytest.raises(StudyMismatch, match="is not what was written"):
        studies.storage.open_study("s")


def test_what_optuna_writes_without_this_program_is_no_damage(database: Path) -> None:
    url = f"sqlite:///{database}"
    study = optuna.load_study(study_name=optuna.get_all_study_names(url)[0], storage=url)
    study.set_user_attr("settings", {"budget_ms": 7.0})
    study.set_user_attr("note", "mine")
    study.tell(study.ask(), 0.25)
    del study
    gc.collect()
    df = studies.load("s")
    assert (len(df), df.attrs["settings"]["budget_ms"], df.attrs["note"]) == (3, 7.0, "mine")


def test_a_study_of_before_has_no_checksums_and_opens(database: Path) -> None:
    changed(database, f"DROP TABLE {CHECKSUMS}")
    assert len(studies.load("s")) == 2
    study = studies.storage.open_study("s")
    study.set_user_attr("note", "now kept")
    del study
    gc.collect()
    changed(database, "UPDATE study_user_attributes SET value_json = '1' WHERE key = 'note'")
    with pytest.raises(StudyMismatch, match="row 2 of study_user_attributes"):
        studies.load("s")


def test_checksums_under_a_damaged_name_are_not_taken_for_none(database: Path) -> None:
    changed(database, f"ALTER TABLE {CHECKSUMS} RENAME TO phinas_checksuns")
    with pytest.raises(StudyMismatch, match="its checksums stand in the table phinas_checksuns"):
        studies.load("s")


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data.replace(b"value_json", b"valuf_json"),
        lambda data: data.replace(b"CREATE TABLE trials", b"CREATE TABLE trialz"),
        lambda data: data[: len(data) // 2],
        lambda data: data[:31] + data,
        lambda data: data[:100] + b"\xff" * 4096 + data[4196:],
        lambda data: b"SQLite format 3\0" + bytes(5000),
        lambda data: b"something else",
    ],
)
def test_one_damaged_study_is_listed_as_such_beside_the_others(
    damage: Callable[[bytes], bytes], database: Path, make_study: MakeStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    make_study("other", TRAINED)
    gc.collect()
    database.write_bytes(damage(database.read_bytes()))
    content = database.read_bytes()
    assert main([]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert "damaged" in lines["s"]
    assert "1" in lines["other"]
    assert main(["s"]) == 2
    assert "study.db must be the database of a study and is damaged" in capsys.readouterr().err
    assert database.read_bytes() == content
