"""Optuna's SQLite storage, made fast, safe against kill -9, and clear when it fails. Import it late: it needs Optuna.

WAL with synchronous=NORMAL: a killed process loses nothing that was stored, a power cut at most the last trials.
"""

import contextlib
import json
import sqlite3
import weakref
from pathlib import Path
from typing import Any

import sqlalchemy
from optuna.distributions import BaseDistribution, check_distribution_compatibility, distribution_to_json
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage

from searchspace.errors import StudyMismatch
from studies.database import BUSY_S, check_sound, database_errors, translate

_INSERT_PARAM = (
    "INSERT OR IGNORE INTO trial_params (trial_id, param_name, param_value, distribution_json) "
    "SELECT trial_id, ?, ?, ? FROM trials WHERE trial_id = ? AND state = 'RUNNING'"
)
_INSERT_ATTR = (
    "INSERT INTO trial_user_attributes (trial_id, key, value_json) "
    "SELECT trial_id, ?, ? FROM trials WHERE trial_id = ? AND state = 'RUNNING' "
    "ON CONFLICT (trial_id, key) DO UPDATE SET value_json = excluded.value_json"
)
# The folder's name is the study's: a folder that was renamed goes on under its new name.
_NAME_ONLY_STUDY = "UPDATE studies SET study_name = ? WHERE (SELECT count(*) FROM studies) = 1"


class StudyStorage(RDBStorage):
    """RDBStorage on one file, whose errors are StorageError and StudyMismatch.

    Its two most frequent writes are one SQL statement each; what that statement does not write (a finished trial, a
    parameter set twice) goes Optuna's own way, which knows the right error. A trial of 40 choices and 14 attributes
    takes 44 ms instead of 104 (203 without WAL), most of it Optuna's own.
    """

    def __init__(self, path: Path, *, name: str) -> None:
        with database_errors(path), contextlib.closing(_connect(path)) as connection:
            check_sound(connection, path)
            connection.execute("PRAGMA journal_mode = WAL")
        try:
            super().__init__(f"sqlite:///{path.name}", {"creator": lambda: _connect(path)})
        except (sqlalchemy.exc.DBAPIError, StorageInternalError) as error:
            _raise_ours(error, path)
            raise
        except RuntimeError as error:  # tables of another version of Optuna
            raise StudyMismatch(f"{path} cannot be used: {' '.join(str(error).split())}") from error
        sqlalchemy.event.listen(
            self.engine, "handle_error", lambda context: _raise_ours(context.original_exception, path)
        )
        # A study that nobody writes is one plain file that opens everywhere; a killed one keeps its -wal beside it.
        weakref.finalize(self, _close, self.engine, path)
        with self.engine.begin() as connection:
            connection.exec_driver_sql(_NAME_ONLY_STUDY, (name,))

    def _set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
        previous_distribution: BaseDistribution | None,
    ) -> None:
        if previous_distribution is not None:
            check_distribution_compatibility(previous_distribution, distribution)
            values = (param_name, param_value_internal, distribution_to_json(distribution), trial_id)
            if self._write(_INSERT_PARAM, values):
                return
        super()._set_trial_param(trial_id, param_name, param_value_internal, distribution, previous_distribution)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Store a trial's attribute. Raises KeyError or UpdateFinishedTrialError as RDBStorage does."""
        if not self._write(_INSERT_ATTR, (key, json.dumps(value), trial_id)):
            super().set_trial_user_attr(trial_id, key, value)

    def _write(self, statement: str, values: tuple[object, ...]) -> bool:
        with self.engine.begin() as connection:
            return connection.exec_driver_sql(statement, values).rowcount == 1


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_S, check_same_thread=False)
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def _raise_ours(error: BaseException | None, path: Path) -> None:
    """Raise the error of ours that lies behind one of SQLAlchemy's or Optuna's; others are left to them."""
    while error is not None:
        ours = translate(error, path)
        if ours is not None:
            raise ours from error
        error = error.__cause__


def _close(engine: sqlalchemy.Engine, path: Path) -> None:
    engine.dispose()
    uri = f"{path.as_uri()}?mode=rw"
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(uri, uri=True, timeout=0.1)) as connection,
    ):
        connection.execute("PRAGMA journal_mode = DELETE")
