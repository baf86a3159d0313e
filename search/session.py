"""A study that one process works in: its lock, what defines it, the time spent on it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna

from search.console import Now
from search.data.contents import CONTENTS, keep_contents, told_changes
from search.differences import flag_of, moved
from search.settings import check_same
from searchspace.errors import PhinasError
from searchspace.files import locked_file, remove_left_over, storage_error
from searchspace.latency.changes import KEPT, keep_table
from searchspace.latency.changes import told_changes as told_table_changes
from searchspace.latency.table import LatencyTable
from studies.schema import SETTINGS
from studies.storage import DATABASE, ITERATIONS, LOCK, TRIALS_CSV, folder, open_study, set_aside

if TYPE_CHECKING:
    from search.data import Dataset

Note = Callable[[str], None]


class StudyClock:
    """Seconds spent on a study, those of earlier runs of the command included. `now` gives seconds from any start.

    This run counts from `began`, a reading of it (None: the present one). Where `now` goes back, no time passes. A
    stored time that is no number of seconds counts as none.
    """

    def __init__(
        self,
        limit_s: float | None,
        *,
        spent_before_s: float = 0.0,
        now: Now = time.monotonic,
        began: float | None = None,
    ) -> None:
        self.limit_s, self.now = limit_s, now
        self._spent_s = spent_before_s if 0 < spent_before_s < math.inf else 0.0
        self._read_at = now() if began is None else began

    def elapsed_s(self) -> float:
        """Seconds spent so far."""
        at = self.now()
        self._spent_s += max(0.0, at - self._read_at)
        self._read_at = at
        return self._spent_s

    def left_s(self, share: float = 1.0) -> float | None:
        """Seconds until `share` of the limit is used; None without a limit."""
        return None if self.limit_s is None else max(0.0, self.limit_s * share - self.elapsed_s())


@contextmanager
def opened_study(
    name: str,
    about: dict[str, Any] | None = None,
    *,
    fresh: bool = False,
    images: Dataset | None = None,
    note: Note | None = None,
) -> Iterator[optuna.Study]:
    """The study, made or opened, with no other process in it.

    `about` is what defines it (None: the caller binds); `images` and `note` as for `bind`. `fresh` sets a study of this
    name aside first. A new study that is refused before anything is done in it leaves no trace.

    Raises StudyMismatch for a study of other settings or one that is in use, StorageError.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with locked(folder(name)):
        if fresh:
            set_aside(name)
        is_new = not (folder(name) / DATABASE).exists()
        study = open_study(name)
        try:
            if about is not None:
                bind(study, about, images=images, note=note)
            yield study
        except PhinasError:
            if is_new and not _is_begun(study):
                _discard(folder(name))
            raise


@contextmanager
def locked(folder: Path, refusal: str | None = None) -> Iterator[None]:
    """Only one process works in a study at a time; the lock goes with the process, however it ends.

    refusal: What another process is told, where the folder is no study's.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LOCK).touch()
    except OSError as error:
        raise storage_error("write in", folder, error) from error
    refusal = refusal or f"another process is searching in {folder}: wait until it ends, stop it, or give --study NAME"
    with locked_file(folder / LOCK, refusal):
        remove_left_over(folder)
        yield


def _discard(folder: Path) -> None:
    """Take away what opening a study made; the folder stays if it holds anything else, or cannot be changed."""
    with suppress(OSError):
        for path in (*folder.glob(f"{DATABASE}*"), folder / TRIALS_CSV, folder / CONTENTS, folder / KEPT):
            path.unlink(missing_ok=True)
        if {path.name for path in folder.iterdir()} <= {LOCK}:
            (folder / LOCK).unlink(missing_ok=True)
            folder.rmdir()


def bind(
    study: optuna.Study,
    about: dict[str, Any],
    *,
    images: Dataset | None = None,
    table: LatencyTable | None = None,
    note: Note | None = None,
    **unchecked: Any,
) -> None:
    """Store what defines a study in which nothing was done yet, or raise StudyMismatch if it is defined otherwise.

    A file that was moved, with the same content, is stored under its new name, and `note` is told. A listing of
    `images` and the `table` of --latency are kept with the study, to name what changed another time. `unchecked` is
    stored and never compared.
    """
    about = json.loads(json.dumps(about))
    stored = stored_settings(study)
    if stored is None:
        study.set_user_attr(SETTINGS, about | unchecked)
        for kept in (CONTENTS, KEPT):
            (folder(study.study_name) / kept).unlink(missing_ok=True)
    else:
        check_study(study, about, images=images, table=table)
        for setting, (was, now) in (elsewhere := moved(stored, about)).items():
            if note is not None:
                note(f"{flag_of(setting)} {now} holds what {was} held: the study goes on with it")
        if elsewhere:
            study.set_user_attr(SETTINGS, stored | {setting: now for setting, (_, now) in elsewhere.items()})
    if images is not None:
        keep_contents(folder(study.study_name), images.contents, about.get("data"))
    if table is not None and "table" in about:
        keep_table(folder(study.study_name) / KEPT, table)


def check_study(
    study: optuna.Study, asked: dict[str, Any], *, images: Dataset | None = None, table: LatencyTable | None = None
) -> None:
    """Raises StudyMismatch where a study in which something was done differs in any setting of `asked`.

    By `images` and the `table` of --latency it says what in them changed.
    """
    if (stored := stored_settings(study)) is None:
        return
    told, place = dict[str, str](), folder(study.study_name)
    if images is not None and stored.get("data_fingerprint") != images.fingerprint:
        told["data_fingerprint"] = told_changes(place, images.contents, images.skipped)
    if table is not None and stored.get("table") != table.fingerprint():
        told["table"] = told_table_changes(place / KEPT, table)
    check_same(study.study_name, stored, json.loads(json.dumps(asked)), told=told)


def stored_settings(study: optuna.Study) -> dict[str, Any] | None:
    """The settings that were used in a study; one in which nothing was done yet is not bound to any."""
    return study.user_attrs.get(SETTINGS) if _is_begun(study) else None


def _is_begun(study: optuna.Study) -> bool:
    return bool(study.get_trials(deepcopy=False)) or (folder(study.study_name) / ITERATIONS).exists()


def given_table(latency: Path | str | LatencyTable | None, table: LatencyTable | None) -> dict[str, str]:
    """What tells the table of --latency from others of its device; nothing where the device's own was taken."""
    return {"table": table.fingerprint()} if latency is not None and table is not None else {}
