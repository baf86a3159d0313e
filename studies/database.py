"""A study's SQLite file, read without Optuna, never changed by reading, and its failures as errors of ours.

Read straight from Optuna's tables because 1,000 trials of 40 choices take Optuna's storage 2.9 s, and this 0.2 s.
"""

import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from searchspace.errors import PhinasError, StorageError, StudyMismatch
from searchspace.files import storage_error
from studies.schema import Value

BUSY_S = 30.0
_TABLES = {"studies", "study_user_attributes", "trials", "trial_params", "trial_user_attributes"}
_NEXT_STEP = {
    sqlite3.SQLITE_FULL: "the disk is full: free some space and run the same command again; what was stored is kept",
    sqlite3.SQLITE_READONLY: "it cannot be written: choose another folder with PHINAS_STUDIES, or change permissions",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: choose another folder with PHINAS_STUDIES, or change permissions",
    sqlite3.SQLITE_PERM: "it may not be opened: change its permissions",
    sqlite3.SQLITE_AUTH: "it may not be opened: change its permissions",
    sqlite3.SQLITE_IOERR: "the disk failed or is full: look at it, then run the same command again",
    sqlite3.SQLITE_BUSY: "another process holds it: wait for it to end, then run the same command again",
    sqlite3.SQLITE_LOCKED: "another process holds it: wait for it to end, then run the same command again",
}


@dataclass(frozen=True, slots=True)
class StoredTrial:
    """One row of Optuna's trials: attributes and parameters decoded, started_at as UTC text."""

    number: int
    state: str
    started_at: str | None
    attrs: dict[str, Any]
    params: dict[str, Value]


@dataclass(frozen=True, slots=True)
class StoredStudy:
    """A study's user attributes and all its trials by number."""

    attrs: dict[str, Any]
    trials: tuple[StoredTrial, ...]


def translate(error: BaseException, path: Path) -> PhinasError | None:
    """The error of ours that an sqlite3.Error means: StorageError or, for a damaged file, StudyMismatch; else None."""
    if not isinstance(error, sqlite3.Error):
        return None
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _NEXT_STEP:
        return StorageError(f"cannot use {path} ({error}): {_NEXT_STEP[code]}")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or "decode to UTF-8" in str(error):
        return damaged(path, str(error))
    return None


def damaged(path: Path, why: str) -> StudyMismatch:
    """The error for a file that is no sound study; the file itself is left alone."""
    return StudyMismatch(
        f"{path} must be the database of a study and is damaged ({why}); it was left as it is. Restore it from a copy, "
        "or search anew: --fresh sets this study aside, --study NAME takes another name"
    )


@contextmanager
def database_errors(path: Path) -> Iterator[None]:
    """sqlite3 and system errors about `path` become StorageError or StudyMismatch."""
    try:
        yield
    except OSError as error:
        raise storage_error("use", path, error) from error
    except sqlite3.Error as error:
        ours = translate(error, path)
        if ours is None:
            raise
        raise ours from error


def check_sound(connection: sqlite3.Connection, path: Path) -> set[str]:
    """The names of the tables. Raises StudyMismatch if a page is damaged or if it is another program's database.

    14 ms for 1,000 trials of 40 choices (12 MB).
    """
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise damaged(path, " ".join(str(found).split()))
    tables = {str(row[0]) for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if tables and not tables & {*_TABLES, "version_info"}:
        raise damaged(path, f"it holds other tables: {', '.join(sorted(tables)[:3])}")
    return tables


def read_study(path: Path) -> StoredStudy:
    """Everything that is stored in the study's database at this moment, while a search writes too.

    Raises StorageError if it cannot be read, StudyMismatch if it is damaged.
    """
    with database_errors(path), _read_only(path) as connection:
        tables = check_sound(connection, path)
        if not tables >= _TABLES:  # cut off while it was made
            return StoredStudy({}, ())
        connection.execute("BEGIN")  # one moment for all tables
        try:
            return _read(connection, path)
        except (ValueError, TypeError, LookupError) as error:
            raise damaged(path, f"a value cannot be read: {error!r}") from error


@contextmanager
def _read_only(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that cannot write.

    In a folder that cannot be written SQLite may refuse to open even for reading, because a database in WAL mode wants
    its index file beside it; then a copy in the temporary folder is read.
    """
    try:
        connection = _connect(path)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            raise
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / path.name
            for source, target in ((path, copy), (_wal(path), _wal(copy))):
                if source.exists():
                    shutil.copyfile(source, target)
            with closing(_connect(copy)) as connection:
                yield connection
        return
    with closing(connection):
        yield connection


def _wal(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _connect(path: Path) -> sqlite3.Connection:
    uri = f"{path.resolve().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None)
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()  # the file is opened at the first look
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _read(connection: sqlite3.Connection, path: Path) -> StoredStudy:
    studies = [row[0] for row in connection.execute("SELECT study_id FROM studies")]
    if not studies:
        return StoredStudy({}, ())
    if len(studies) > 1:
        raise damaged(path, f"it holds {len(studies)} studies, one is allowed")
    attrs = {
        key: json.loads(value) for key, value in connection.execute("SELECT key, value_json FROM study_user_attributes")
    }
    trial_attrs: dict[int, dict[str, Any]] = {}
    for trial_id, key, value in connection.execute("SELECT trial_id, key, value_json FROM trial_user_attributes"):
        trial_attrs.setdefault(trial_id, {})[key] = json.loads(value)
    params = _read_params(connection)
    rows = connection.execute("SELECT trial_id, number, state, datetime_start FROM trials ORDER BY number")
    return StoredStudy(
        attrs,
        tuple(
            StoredTrial(number, state, started_at, trial_attrs.get(trial_id, {}), params.get(trial_id, {}))
            for trial_id, number, state, started_at in rows
        ),
    )


def _read_params(connection: sqlite3.Connection) -> dict[int, dict[str, Value]]:
    """Optuna's parameters by trial, in the order they were drawn."""
    kinds: dict[str, dict[str, Any]] = {}
    params: dict[int, dict[str, Value]] = {}
    query = "SELECT trial_id, param_name, param_value, distribution_json FROM trial_params ORDER BY param_id"
    for trial_id, name, number, distribution in connection.execute(query):
        if distribution not in kinds:
            kinds[distribution] = json.loads(distribution)
        kind = kinds[distribution]
        value: Value = number
        if kind["name"] == "CategoricalDistribution":
            value = kind["attributes"]["choices"][int(number)]
        elif kind["name"] == "IntDistribution":
            value = int(number)
        params.setdefault(trial_id, {})[name] = value
    return params
