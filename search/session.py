"""Studies and who may write in them: one process at a time."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna

from search.settings import check_same
from searchspace.errors import StudyMismatch
from searchspace.files import remove_left_over, storage_error
from searchspace.latency.table import LatencyTable
from studies.schema import SETTINGS
from studies.storage import ITERATIONS, LOCK, folder, open_study, set_aside


@contextmanager
def sole_runner(folder: Path) -> Iterator[None]:
    """Only one process searches in a study at a time; the lock goes with the process, however it ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LOCK).touch()
    except OSError as error:
        raise storage_error("write in", folder, error) from error
    with open(folder / LOCK, "rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StudyMismatch(
                f"another process is searching in {folder}: wait until it ends, stop it, or give --study NAME"
            ) from None
        remove_left_over(folder)
        yield


def stored_settings(study: optuna.Study) -> dict[str, Any] | None:
    """The settings that were used in a study; one in which nothing was done yet is not bound to any."""
    begun = bool(study.get_trials(deepcopy=False)) or (folder(study.study_name) / ITERATIONS).exists()
    return study.user_attrs.get(SETTINGS) if begun else None


def given_table(latency: Path | str | None, table: LatencyTable | None) -> dict[str, str]:
    """What tells the table of --latency from others of its device; nothing where the device's own was taken."""
    if latency is None or table is None:
        return {}
    return {"table": table.fingerprint()}


@contextmanager
def opened_study(name: str, about: dict[str, Any], *, fresh: bool = False) -> Iterator[optuna.Study]:
    """The study, made or opened, with no other process in it; `about` is what defines it. `fresh` sets one that is
    there aside.

    Raises StudyMismatch for a study of other settings or one that is in use, StorageError.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with sole_runner(folder(name)):
        if fresh:
            set_aside(name)
        study = open_study(name)
        plain = json.loads(json.dumps(about))
        stored = stored_settings(study)
        if stored is None:
            study.set_user_attr(SETTINGS, plain)
        else:
            check_same(name, stored, plain)
        yield study
