"""Studies on disk: names, damage, read-only and full disks, kill -9, reading while a search writes."""

import fcntl
import gc
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy

from searchspace.errors import InvalidArgument, StorageError, StudyMismatch
from studies import database, storage
from studies.schema import Status, TrialRecord

MakeStudy = Callable[..., optuna.Study]
REPOSITORY = Path(__file__).parents[2]
TRAINED = TrialRecord(
    status=Status.TRAINED, choices={"stage1.kernel": 3}, predicted_latency_ms=10.0, accuracy=0.5, reward=0.5
)
WRITER = """
import optuna, sys
from studies.storage import open_storage
optuna.logging.set_verbosity(optuna.logging.ERROR)
study = optuna.create_study(storage=open_storage("s", create=True), study_name="s", direction="maximize")
print("ready", flush=True)
while True:
    trial = study.ask()
    kernel = trial.suggest_categorical("stage1.kernel", [3, 5, 7])
    trial.set_user_attr("spec", "x" * 5000)
    trial.set_user_attr("accuracy", 0.5)
    trial.set_user_attr("status", "trained")
    study.tell(trial, 0.5)
    print(trial.number, flush=True)
"""


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-x", ".x", "x.", "a b", "ä", "x" * 101, "a\n"])
def test_a_name_that_cannot_be_a_folder_is_refused_with_the_rule(name: str) -> None:
    with pytest.raises(InvalidArgument, match="1 to 100 letters"):
        storage.folder(name)


@pytest.mark.parametrize("name", ["report", "frame"])
def test_the_name_of_a_module_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument, match=f"{name}-1"):
        storage.folder(name)


def test_studies_stand_in_the_folder_of_the_variable_or_in_studies(
    monkeypatch: pytest.MonkeyPatch, studies_root: Path
) -> None:
    assert storage.folder("digits-20ms") == studies_root / "digits-20ms"
    monkeypatch.delenv("PHINAS_STUDIES")
    assert storage.folder("digits-20ms") == Path("studies/digits-20ms")


def test_an_unknown_study_is_an_error_that_names_the_nearest(make_study: MakeStudy, studies_root: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"python -m search\.run"):
        storage.existing("digits")
    for name in ("digits-20ms", "photos", "other"):
        make_study(name)
    (studies_root / "no-study").mkdir()
    assert storage.names() == ["digits-20ms", "other", "photos"]
    with pytest.raises(InvalidArgument, match=r"did you mean digits-20ms\? There are: digits-20ms, other, photos"):
        storage.open_storage("digits-25ms", create=False)
    assert not (studies_root / "digits-25ms").exists()


def test_the_fast_storage_stores_what_optunas_own_does_and_we_read_the_same(tmp_path: Path, studies_root: Path) -> None:
    def fill(own: optuna.storages.BaseStorage) -> list[tuple[Any, ...]]:
        study = optuna.create_study(storage=own, study_name="s", sampler=optuna.samplers.RandomSampler(seed=0))
        for number in range(3):
            trial = study.ask()
            trial.suggest_categorical("kernel", [3, 5, "x", None, True])
            trial.suggest_int("layers", 1, 4)
            trial.suggest_int("layers", 1, 4)
            trial.suggest_float("width", 0.5, 2.0, log=True)
            for value in ("a", {"b": [1, None, 0.1]}, float("inf")):
                trial.set_user_attr("attr", value)
                trial.set_user_attr(f"attr {number}", value)
            study.tell(trial, float(number))
        return [(t.number, t.state, t.params, t.distributions, t.user_attrs, t.value) for t in study.get_trials()]

    plain = fill(optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/plain.db"))
    assert fill(storage.open_storage("s", create=True)) == plain
    read = database.read_study(studies_root / "s" / "study.db").trials
    assert [(t.number, t.params, t.attrs) for t in read] == [(row[0], row[2], row[4]) for row in plain]


def test_a_finished_trial_and_another_kind_of_choice_are_refused_as_optuna_does(make_study: MakeStudy) -> None:
    study = make_study("s", TRAINED)
    backend = study._storage
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        backend.set_trial_user_attr(study.get_trials()[0]._trial_id, "late", 1)
    study.ask().suggest_categorical("stage1.kernel", [3, 5])
    with pytest.raises(ValueError, match="CategoricalDistribution"):
        study.ask().suggest_categorical("stage1.kernel", [9, 11])


def test_a_study_nobody_writes_is_one_plain_file(make_study: MakeStudy, studies_root: Path) -> None:
    study = make_study("s", TRAINED)
    del study
    gc.collect()
    assert os.listdir(studies_root / "s") == ["study.db"]


def test_a_renamed_folder_goes_on_under_its_new_name(make_study: MakeStudy, studies_root: Path) -> None:
    make_study("old", TRAINED)
    (studies_root / "old").rename(studies_root / "new")
    again = storage.open_storage("new", create=False)
    assert len(optuna.load_study(storage=again, study_name="new").get_trials()) == 1


def test_setting_aside_keeps_the_study_and_the_callers_lock(make_study: MakeStudy, studies_root: Path) -> None:
    make_study("s", TRAINED)
    with open(studies_root / "s" / ".lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert storage.set_aside("s") == studies_root / "s.1"
        assert os.listdir(studies_root / "s") == [".lock"]
        with open(studies_root / "s" / ".lock") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert storage.set_aside("s") is None
    make_study("s", TRAINED, TRAINED)
    assert storage.set_aside("s") == studies_root / "s.2"
    assert [len(database.read_study(studies_root / f"s.{n}" / "study.db").trials) for n in (1, 2)] == [1, 2]
    assert storage.set_aside("never-was") is None


def test_the_state_tells_a_running_search_by_its_lock(make_study: MakeStudy, studies_root: Path) -> None:
    make_study("s")
    assert storage.state("s") == "stopped"
    (studies_root / "s" / "summary.json").write_text("{}")
    assert storage.state("s") == "finished"
    with open(studies_root / "s" / ".lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert storage.state("s") == "running"


def damage_text(path: Path) -> None:
    path.write_text("this is no database, and it is long enough to have a header" * 3)


def damage_pages(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)


def damage_end(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20_000])


def damage_value(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE trial_user_attributes SET value_json = '{half'")


def other_program(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")


@pytest.mark.parametrize("damage", [damage_text, damage_pages, damage_end, damage_value, other_program])
def test_a_damaged_study_is_named_and_left_as_it_is(
    make_study: MakeStudy, studies_root: Path, damage: Callable[[Path], None]
) -> None:
    study = make_study("s", *[TRAINED] * 5)
    del study
    gc.collect()
    path = studies_root / "s" / "study.db"
    damage(path)
    before = path.read_bytes()
    with pytest.raises(StudyMismatch, match=r"study\.db .*damaged .*--fresh"):
        database.read_study(path)
    if damage is not damage_value:
        with pytest.raises(StudyMismatch, match=r"study\.db .*damaged .*--fresh"):
            storage.open_storage("s", create=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize("missing", ["everything", "the last tables"])
def test_a_study_cut_off_while_it_was_made_is_empty_and_can_go_on(studies_root: Path, missing: str) -> None:
    path = studies_root / "s" / "study.db"
    storage.open_storage("s", create=True)
    gc.collect()
    if missing == "everything":
        path.write_bytes(b"")
    else:
        with sqlite3.connect(path) as connection:
            for table in ("trials", "trial_params", "alembic_version"):
                connection.execute(f"DROP TABLE {table}")
    assert database.read_study(path).trials == ()
    study = optuna.create_study(storage=storage.open_storage("s", create=True), study_name="s")
    study.tell(study.ask(), 1.0)
    assert len(database.read_study(path).trials) == 1


def test_a_full_disk_is_a_storage_error_and_loses_nothing(make_study: MakeStudy, studies_root: Path) -> None:
    make_study("s", TRAINED)
    backend = storage.open_storage("s", create=False)
    assert isinstance(backend, optuna.storages.RDBStorage)
    study = optuna.load_study(storage=backend, study_name="s")
    trial = study.ask()
    shrink = "PRAGMA max_page_count = 1"  # no page may be added
    sqlalchemy.event.listen(backend.engine, "begin", lambda connection: connection.exec_driver_sql(shrink))
    for write in (study.set_user_attr, trial.set_user_attr):
        with pytest.raises(StorageError, match=r"study\.db .*full.*free some space"):
            write("large", "x" * 100_000)
    stored = database.read_study(studies_root / "s" / "study.db").trials
    assert stored[0].attrs["accuracy"] == 0.5


def test_a_disk_that_refuses_is_a_storage_error(studies_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    studies_root.parent.mkdir(exist_ok=True)
    studies_root.write_text("a file where the folder should be")
    with pytest.raises(StorageError, match="part of that path is a file"):
        storage.open_storage("s", create=True)
    studies_root.unlink()

    def refuse(*args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StorageError, match="choose another folder"):
        storage.open_storage("s", create=True)


def as_stranger(action: Callable[[], None]) -> int:
    """Run `action` in a child without the right to write (as nobody if we are root): its exit code."""
    child = os.fork()
    if child == 0:
        try:
            if os.getuid() == 0:
                os.setuid(65534)
            action()
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_study_is_read_in_a_folder_that_cannot_be_written(make_study: MakeStudy, studies_root: Path) -> None:
    study = make_study("s", TRAINED)
    source = studies_root / "s"
    with tempfile.TemporaryDirectory() as temporary:
        folders = [Path(temporary) / kind for kind in ("killed", "killed-without-shm", "wal-closed", "closed")]
        for folder in folders:
            folder.mkdir()
        names = ("study.db", "study.db-wal", "study.db-shm")
        for folder, count in zip(folders[:2], (3, 2), strict=True):
            for name in names[:count]:
                (folder / name).write_bytes((source / name).read_bytes())
        assert not database.read_study(source / "study.db").trials[1:]
        del study
        gc.collect()
        for folder in folders[2:]:
            (folder / "study.db").write_bytes((source / "study.db").read_bytes())
        with sqlite3.connect(folders[2] / "study.db") as connection:
            connection.execute("PRAGMA journal_mode = WAL")
        connection.close()
        for folder in folders:
            folder.chmod(0o555)
        Path(temporary).chmod(0o755)

        def read() -> None:
            tempfile.tempdir = None
            for folder in folders:
                assert not os.access(folder, os.W_OK)
                stored = database.read_study(folder / "study.db")
                assert [trial.attrs["accuracy"] for trial in stored.trials] == [0.5], folder

        assert as_stranger(read) == 0
        for folder in folders:
            folder.chmod(0o755)


def test_kill_9_leaves_every_finished_trial_and_reading_never_waits(studies_root: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", WRITER], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    path = studies_root / "s" / "study.db"
    counts = []
    while not counts or counts[-1] < 12:
        trials = database.read_study(path).trials
        counts.append(len(trials))
        assert all(trial.attrs["accuracy"] == 0.5 for trial in trials if trial.state == "COMPLETE")
    assert counts == sorted(counts)
    process.send_signal(signal.SIGKILL)
    told = process.stdout.read().split()
    process.wait()
    finished = [trial.number for trial in database.read_study(path).trials if trial.state == "COMPLETE"]
    assert finished == list(range(len(finished)))
    assert len(finished) >= len(told) >= 10
    again = optuna.load_study(storage=storage.open_storage("s", create=False), study_name="s")
    again.tell(again.ask(), 0.5)
    assert len(database.read_study(path).trials) > len(finished)


@pytest.mark.parametrize("empty", [True, False])
def test_results_whose_database_is_lost_are_never_searched_over(
    empty: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHINAS_STUDIES", str(tmp_path))
    (tmp_path / "lost").mkdir()
    (tmp_path / "lost" / "best.json").write_text("{}")
    if empty:
        (tmp_path / "lost" / "study.db").touch()
    with pytest.raises(
        StudyMismatch, match=r"it is (empty|missing) beside best\.json\); .*--fresh sets this study aside"
    ):
        storage.open_storage("lost", create=True)
    assert (tmp_path / "lost" / "best.json").read_text() == "{}"
