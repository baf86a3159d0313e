"""A study's file: SQLite through Optuna's public `RDBStorage`. Importing this imports Optuna.

Write-ahead log with synchronous=NORMAL: a killed process loses nothing that was stored, a power cut at most the last
trials. With four writers, one of them killed again and again, nothing is lost either, in half of the time that
JournalStorage takes (`python -m tests.benchmarks.study_storage`).
"""

import fcntl
import os
import shutil
import sqlite3
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

from searchspace.errors import PhinasError, StorageError, StudyMismatch
from searchspace.files import full_path, storage_error
from studies import checksums

_BUSY_S = 30.0
_BUSY = "another process holds it: wait for it to end, then run the same command again"
_PERMISSIONS = "choose another folder with PHINAS_STUDIES, or change permissions"
_BROKEN = ("decode to UTF-8", "no such table", "no such column", "no column named", "syntax error", "no such module")
_fitting = set[str]()  # versions of tables that Optuna has found to be its own, in this process
_NEXT_STEP = {
    sqlite3.SQLITE_FULL: "the disk is full: free some space and run the same command again; what was stored is kept",
    sqlite3.SQLITE_READONLY: f"it cannot be written: {_PERMISSIONS}",
    sqlite3.SQLITE_CANTOPEN: f"it cannot be opened: {_PERMISSIONS}",
    sqlite3.SQLITE_PERM: "it may not be opened: change its permissions",
    sqlite3.SQLITE_AUTH: "it may not be opened: change its permissions",
    sqlite3.SQLITE_IOERR: "the disk failed or is full: look at it, then run the same command again",
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
    sqlite3.SQLITE_PROTOCOL: _BUSY,
}


class StoredStudy(NamedTuple):
    """A study's user attributes and all its trials by number."""

    attrs: dict[str, Any]
    trials: list[FrozenTrial]


def open_study(path: Path, *, name: str) -> optuna.Study:
    """The study in the file at the absolute `path`, to be written; it is made if it is missing.

    Raises StorageError or StudyMismatch, as later reads and writes of the study do.
    """
    with _errors_of(path), _only_opener(path):
        with closing(_connect(path)) as connection:
            _check_sound(connection, path)
            connection.execute("PRAGMA journal_mode = WAL")
            tables = _version_of_tables(connection)
        storage = _storage(path, {"creator": lambda: _keeping(path)}, tables)
        with closing(_connect(path)) as connection:
            checksums.add_to(connection)
        storage.engine.dispose()  # the connection that made the tables keeps no checksums
        sqlalchemy.event.listen(storage.engine, "handle_error", lambda context: _raise_ours(context, path))
        # A study that nobody writes is one plain file that opens everywhere; a killed one keeps its -wal beside it.
        weakref.finalize(storage, _close, storage.engine, path)
        with _unreadable_is_damaged(path):
            study = optuna.create_study(
                storage=storage,
                study_name=_only_name(storage, path) or name,
                direction="maximize",
                load_if_exists=True,
                sampler=optuna.samplers.RandomSampler(),
            )
            _content(study)
    study.study_name = name  # a folder that was renamed goes on under its new name
    return study


def read_study(path: Path) -> StoredStudy:
    """Everything that is stored at this moment, while a search writes too; the file is not changed.

    Raises StorageError if it cannot be read, StudyMismatch if it is damaged.
    """
    with _errors_of(path), closing(sqlite3.connect(":memory:", check_same_thread=False)) as memory:
        _copy(path, memory)
        with _unreadable_is_damaged(path):
            how = {"creator": lambda: memory, "poolclass": sqlalchemy.pool.StaticPool}
            storage = _storage(path, how, _version_of_tables(memory))
            name = _only_name(storage, path)
            if name is None:  # cut off while it was made
                return StoredStudy({}, [])
            return _content(optuna.load_study(study_name=name, storage=storage))


def _content(study: optuna.Study) -> StoredStudy:
    return StoredStudy(study.user_attrs, study.get_trials(deepcopy=False))


@contextmanager
def _unreadable_is_damaged(path: Path) -> Iterator[None]:
    """Whatever Optuna raises at content that it cannot have written; errors of SQLite are `_errors_of`'s."""
    try:
        yield
    except (PhinasError, MemoryError, sqlite3.Error, sqlalchemy.exc.SQLAlchemyError, StorageInternalError):
        raise
    except Exception as error:
        raise damaged(path, f"a value cannot be read: {error!r:.200}") from error


def damaged(path: Path, why: str) -> StudyMismatch:
    """The error for a file that is no sound study; the file itself is left alone."""
    return StudyMismatch(
        f"{path} must be the database of a study and is damaged ({why}); it was left as it is. Restore it from a copy, "
        "or search anew: --fresh sets this study aside, --study NAME takes another name"
    )


def _version_of_tables(connection: sqlite3.Connection) -> str | None:
    """As Optuna writes it; None in a new file."""
    is_there = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
    return str(connection.execute("SELECT * FROM alembic_version").fetchall()) if is_there else None


def _storage(path: Path, engine_kwargs: dict[str, Any], tables: str | None) -> RDBStorage:
    """Optuna's check of its tables takes longer than all else: it is done once for each version of them."""
    try:
        storage = RDBStorage("sqlite://", engine_kwargs, skip_compatibility_check=tables in _fitting)
    except RuntimeError as error:  # tables of another version of Optuna
        raise StudyMismatch(f"{path} cannot be used: {' '.join(str(error).split())}") from error
    if tables:
        _fitting.add(tables)
    return storage


def _only_name(storage: RDBStorage, path: Path) -> str | None:
    names = optuna.get_all_study_names(storage)
    if len(names) > 1:
        raise damaged(path, f"it holds {len(names)} studies, one is allowed")
    return names[0] if names else None


def _connect(path: Path, mode: str = "rwc") -> sqlite3.Connection:
    uri = f"{full_path(path).as_uri()}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_S, check_same_thread=False)
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def _keeping(path: Path) -> sqlite3.Connection:
    """A connection whose writes get checksums."""
    connection = _connect(path)
    checksums.keep(connection)
    return connection


def _copy(path: Path, memory: sqlite3.Connection) -> None:
    """The file's content at one moment into `memory`.

    In a folder that cannot be written SQLite may refuse to open even for reading, because a database with a write-ahead
    log wants its index file beside it; then a copy in the temporary folder is read.
    """
    try:
        with closing(_connect(path, "ro")) as connection:
            _check_sound(connection, path)
            connection.backup(memory)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            raise
        with tempfile.TemporaryDirectory() as folder:
            for source in (path, path.with_name(path.name + "-wal")):
                if source.exists():
                    shutil.copyfile(source, Path(folder) / source.name)
            with closing(_connect(Path(folder) / path.name)) as connection:
                _check_sound(connection, path)
                connection.backup(memory)


def _check_sound(connection: sqlite3.Connection, path: Path) -> None:
    """Raise StudyMismatch if a page is damaged or if it is another program's database: 14 ms for 12 MB."""
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise damaged(path, " ".join(str(found).split()))
    tables = {str(row[0]) for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if tables and not tables & {"studies", "version_info"}:
        raise damaged(path, f"it holds other tables: {', '.join(sorted(tables)[:3])}")
    wrong = checksums.wrong_row(connection)
    if wrong:
        raise damaged(path, wrong)


def _close(engine: sqlalchemy.Engine, path: Path) -> None:
    engine.dispose()
    with suppress(sqlite3.Error, OSError), _only_opener(path, wait=False), closing(_connect(path, "rw")) as connection:
        connection.execute("PRAGMA busy_timeout = 100")
        connection.execute("PRAGMA journal_mode = DELETE")


@contextmanager
def _only_opener(path: Path, *, wait: bool = True) -> Iterator[None]:
    """One process at a time makes tables or changes the journal: a lock on the folder, which leaves no file."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(folder)


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    """Errors of SQLite and of the system about `path` become StorageError or StudyMismatch.

    For opening and reading, whose statements are known to be right: what else SQLite says of them is damage.
    """
    try:
        yield
    except OSError as error:
        raise storage_error("use", path, error) from error
    except (sqlite3.Error, sqlalchemy.exc.SQLAlchemyError, StorageInternalError) as error:
        _raise_ours(error, path)
        raise damaged(path, f"{error!s:.200}".partition("\n")[0]) from error


def _raise_ours(error: BaseException | sqlalchemy.ExceptionContext | None, path: Path) -> None:
    """Raise the error of ours that lies behind one of SQLite's, SQLAlchemy's or Optuna's; others are left to them."""
    if isinstance(error, sqlalchemy.ExceptionContext):
        error = error.original_exception
    while error is not None:
        ours = _translated(error, path)
        if ours is not None:
            raise ours from error
        error = error.__cause__


def _translated(error: BaseException, path: Path) -> PhinasError | None:
    if not isinstance(error, sqlite3.Error):
        return None
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _NEXT_STEP:
        return StorageError(f"cannot use {path} ({error}): {_NEXT_STEP[code]}")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or any(words in str(error) for words in _BROKEN):
        return damaged(path, str(error))
    return None
