"""Studies on disk: names, damage, read-only and full disks, kill -9, reading while a search writes."""

import ctypes
import fcntl
import gc
import multiprocessing
import os
import re
import signal
import sqlite3
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
import sqlalchemy

import studies
from searchspace.errors import InvalidArgument, StorageError, StudyMismatch
from studies import database, storage
from studies.__main__ import main
from studies.schema import Status, TrialRecord

MakeStudy = Callable[..., optuna.Study]
TRAINED = TrialRecord(
    status=Status.TRAINED, choices={"stage1.kernel": 3}, predicted_latency_ms=10.0, accuracy=0.5, reward=0.5
)


def write_trials(count: int, finished: Path) -> None:
    """Write trials into the study "s"; the numbers of those that are stored stand in `finished`, one a line."""
    study = storage.open_study("s")
    for _ in range(count):
        trial = study.ask()
        trial.suggest_categorical("stage1.kernel", [3, 5, 7])
        trial.set_user_attr("spec", "x" * 5000)
        trial.set_user_attr("accuracy", 0.5)
        trial.set_user_attr("status", "trained")
        study.tell(trial, 0.5)
        with finished.open("a") as file:
            file.write(f"{trial.number}\n")


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
        storage.open_study("digits-25ms", create=False)
    assert not (studies_root / "digits-25ms").exists()


def test_what_is_read_is_what_optuna_stored(make_study: MakeStudy, studies_root: Path) -> None:
    study = make_study("s")
    for number in range(2):
        trial = study.ask()
        trial.suggest_categorical("kernel", [3, 5, "x", None, True])
        trial.suggest_int("layers", 1, 4)
        trial.suggest_float("width", 0.5, 2.0, log=True)
        for value in ("a", {"b": [1, None, 0.1]}, float("inf")):
            trial.set_user_attr("attr", value)
        study.tell(trial, float(number))
    attrs, trials = database.read_study(studies_root / "s" / "study.db")
    assert (attrs, trials) == (study.user_attrs, study.get_trials())


def test_a_study_of_the_version_before_is_read_and_goes_on(studies_root: Path) -> None:
    (studies_root / "moved").mkdir(parents=True)
    with sqlite3.connect(studies_root / "moved" / "study.db") as connection:
        connection.executescript((Path(__file__).parent / "study_before.sql").read_text())
    connection.close()
    df = studies.load("moved")
    assert list(df["status"]) == ["trained", "stopped_early", "failed", "running"]
    assert (df["measured_latency_ms"][0], df["predicted_latency_ms"][0], df["params"][0]) == (12.75, 12.5, 1000)
    assert list(studies.history("moved")["accuracy"]) == [0.25, 0.5, 0.25, 0.5]
    assert studies.best("moved").trial == 0
    study = storage.open_study("moved")
    assert (study.study_name, study.user_attrs["settings"]["budget_ms"]) == ("moved", 20.0)
    study.tell(study.ask(study.trials[0].distributions), 0.75)
    assert list(studies.load("moved")["trial"]) == [0, 1, 2, 3, 4]


def test_a_study_nobody_writes_is_one_plain_file(make_study: MakeStudy, studies_root: Path) -> None:
    study = make_study("s", TRAINED)
    del study
    gc.collect()
    assert os.listdir(studies_root / "s") == ["study.db"]


@pytest.mark.parametrize("how", ["gone", "folder", "dangling", "loop"])
def test_a_study_whose_database_got_lost_is_listed_as_damaged(
    how: str, make_study: MakeStudy, studies_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_study("lost", TRAINED)
    make_study("sound", TRAINED)
    gc.collect()
    (studies_root / "lost" / ".lock").touch()
    studies.frame.write_trials_csv("lost")
    path = studies_root / "lost" / "study.db"
    path.unlink()
    if how == "folder":
        path.mkdir()
    elif how != "gone":
        path.symlink_to("study.db" if how == "loop" else "nowhere")
    assert main([]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert "damaged" in lines["lost"]
    assert "damaged" not in lines["sound"]
    assert main(["lost"]) == 2
    assert re.search("study.db .*is damaged .it is (missing|no file) beside trials.csv", capsys.readouterr().err)


def test_a_renamed_folder_goes_on_under_its_new_name(make_study: MakeStudy, studies_root: Path) -> None:
    make_study("old", TRAINED)
    (studies_root / "old").rename(studies_root / "new")
    again = storage.open_study("new", create=False)
    assert (again.study_name, len(again.trials)) == ("new", 1)


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
            storage.open_study("s")
    assert path.read_bytes() == before


@pytest.mark.parametrize("missing", ["everything", "the last tables"])
def test_a_study_cut_off_while_it_was_made_is_empty_and_can_go_on(studies_root: Path, missing: str) -> None:
    path = studies_root / "s" / "study.db"
    storage.open_study("s")
    gc.collect()
    if missing == "everything":
        path.write_bytes(b"")
    else:
        with sqlite3.connect(path) as connection:
            for table in ("trials", "trial_params", "alembic_version"):
                connection.execute(f"DROP TABLE {table}")
    assert database.read_study(path).trials == []
    study = storage.open_study("s")
    study.tell(study.ask(), 1.0)
    assert len(database.read_study(path).trials) == 1


def test_a_full_disk_is_a_storage_error_and_loses_nothing(make_study: MakeStudy, studies_root: Path) -> None:
    make_study("s", TRAINED)
    study = storage.open_study("s")
    trial = study.ask()

    def shrink(connection: sqlalchemy.Connection) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")  # no page may be added

    sqlalchemy.event.listen(sqlalchemy.Engine, "begin", shrink)
    try:
        for write in (study.set_user_attr, trial.set_user_attr):
            with pytest.raises(StorageError, match=r"study\.db .*full.*free some space"):
                write("large", "x" * 100_000)
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "begin", shrink)
    stored = database.read_study(studies_root / "s" / "study.db").trials
    assert stored[0].user_attrs["accuracy"] == 0.5


def test_a_file_in_the_way_is_a_storage_error(studies_root: Path) -> None:
    studies_root.parent.mkdir(exist_ok=True)
    studies_root.write_text("a file where the folder should be")
    with pytest.raises(StorageError, match="part of that path is a file"):
        storage.open_study("s")
    studies_root.unlink()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_folder_that_may_not_be_written_is_a_storage_error(studies_root: Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        Path(temporary).chmod(0o555)

        def make() -> None:
            os.environ["PHINAS_STUDIES"] = temporary
            with pytest.raises(StorageError, match="choose another folder"):
                storage.open_study("s")

        assert as_stranger(make) == 0


def obey_permissions() -> None:
    """Root gives up its right to write where the permissions forbid it, for this process (Linux: capset)."""
    if os.getuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        header = struct.pack("Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
        if libc.capset(header, bytes(24)) != 0:  # effective, permitted, inheritable: none
            raise OSError(ctypes.get_errno(), "capset")


def as_stranger(action: Callable[[], None]) -> int:
    """Run `action` in a child without the right to write: its exit code."""
    child = os.fork()
    if child == 0:
        try:
            obey_permissions()
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
                assert [trial.user_attrs["accuracy"] for trial in stored.trials] == [0.5], folder

        assert as_stranger(read) == 0
        for folder in folders:
            folder.chmod(0o755)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kill_9_among_four_writers_leaves_every_finished_trial_and_reading_never_waits(
    studies_root: Path, tmp_path: Path
) -> None:
    context = multiprocessing.get_context("fork")
    files = [tmp_path / str(number) for number in range(4)]
    jobs = list(zip((100_000, 8, 8, 8), files, strict=True))
    writers = [context.Process(target=write_trials, args=job) for job in jobs]
    for writer in writers:
        writer.start()
    path = studies_root / "s" / "study.db"
    while not files[1].exists() and writers[1].is_alive():  # all of them make the study at the same time
        time.sleep(0.01)
    counts = [0]
    while counts[-1] < 12:
        trials = database.read_study(path).trials
        counts.append(len(trials))
        assert all(trial.user_attrs["accuracy"] == 0.5 for trial in trials if trial.state.is_finished())
    assert counts == sorted(counts)
    writers[0].kill()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [-signal.SIGKILL, 0, 0, 0]
    trials = database.read_study(path).trials
    assert [trial.number for trial in trials] == list(range(len(trials)))
    finished = {trial.number for trial in trials if trial.state.is_finished()}
    assert finished >= {int(line) for file in files for line in file.read_text().splitlines()}
    assert len(trials) - len(finished) <= 1  # what the killed one had just begun
    again = storage.open_study("s", create=False)
    again.tell(again.ask(), 0.5)
    assert len(database.read_study(path).trials) == len(trials) + 1


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
        storage.open_study("lost")
    assert (tmp_path / "lost" / "best.json").read_text() == "{}"
