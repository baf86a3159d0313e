"""Where studies stand on disk: a folder each, with Optuna's study.db. Importing this imports no Optuna, no pandas."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from searchspace.errors import InvalidArgument
from searchspace.files import full_path, storage_error

if TYPE_CHECKING:
    import optuna

DATABASE = "study.db"
BEST = "best.json"
SUMMARY = "summary.json"
TRIALS_CSV = "trials.csv"
LOCK = ".lock"
ITERATIONS = "iterations"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def root() -> Path:
    """The folder of all studies: PHINAS_STUDIES, or ./studies."""
    return Path(os.environ.get("PHINAS_STUDIES") or "studies")


def folder(name: str) -> Path:
    """The folder of a study, whether it exists or not. Raises InvalidArgument if the name cannot be one."""
    if not _NAME.fullmatch(name) or name.endswith("."):
        raise InvalidArgument(
            "a study's name must be 1 to 100 letters, digits, '-', '_' or '.', begin with a letter or digit and not "
            f"end in '.', got {name!r}: choose another name"
        )
    if name.lower() in _modules():
        raise InvalidArgument(
            f"a study may not have the name of a module of this program, got {name!r}: choose another name, "
            f"for example {name + '-1'!r}"
        )
    return root() / name


def names() -> list[str]:
    """The names of all studies, sorted."""
    try:
        return sorted(path.name for path in root().glob("*") if _NAME.fullmatch(path.name) and _is_study(path))
    except OSError as error:
        raise storage_error("list", root(), error) from error


def existing(name: str) -> Path:
    """The folder of a study that exists. Raises InvalidArgument naming the nearest and all names."""
    path = folder(name)
    if _is_study(path):
        return path
    known = names()
    if not known:
        raise InvalidArgument(
            f"there is no study {name!r}, nor any other in {full_path(root())}: make one with python -m search.run "
            "--budget-ms 20, go to the folder that holds studies/, or set PHINAS_STUDIES"
        )
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    shown = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
    raise InvalidArgument(f"there is no study {name!r} in {full_path(root())}: {hint}There are: {shown}")


def _is_study(path: Path) -> bool:
    """Whether a folder has a database, or what a search keeps beside one that got lost (see `check_not_lost`)."""
    return os.path.lexists(path / DATABASE) or ((path / LOCK).exists() and (path / TRIALS_CSV).exists())


def open_study(name: str, *, create: bool = True) -> optuna.Study:
    """The study, to be written; with `create` folder and file are made if missing.

    Raises InvalidArgument (no such study), StorageError (read-only or full disk), StudyMismatch (damaged file, which
    is left as it is). Later writes raise the same errors.
    """
    path = (folder(name) if create else existing(name)) / DATABASE
    if create:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error("make", path.parent, error) from error
    check_not_lost(path)
    from studies import database

    return database.open_study(full_path(path), name=name)


def check_not_lost(path: Path) -> None:
    """Raises StudyMismatch for results whose database is gone or empty: they are all that is left of the study."""
    results = [name for name in (BEST, SUMMARY, TRIALS_CSV) if (path.parent / name).exists()]
    is_file = path.is_file()
    if (os.path.lexists(path) and not is_file) or (results and not (is_file and path.stat().st_size)):
        from studies.database import damaged

        what = "empty" if is_file else "no file" if path.exists() else "missing"
        raise damaged(path, f"it is {what} beside {' and '.join(results)}" if results else f"it is {what}")


def state(name: str) -> str:
    """What a study does: "running" while a search holds its lock, "finished" with a summary, else "stopped"."""
    path = existing(name)
    if _locked(path / LOCK):
        return "running"
    return "finished" if (path / SUMMARY).exists() else "stopped"


def _locked(path: Path) -> bool:
    import fcntl

    try:
        with open(path, "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return isinstance(error, BlockingIOError)
    return False


def set_aside(name: str) -> Path | None:
    """Rename a study's folder to NAME.1, .2, ...: its new path, or None if there was nothing to set aside.

    The caller's lock file NAME/.lock, if there is one, stays the same file under the same name.
    """
    old = folder(name)
    try:
        if not old.is_dir() or {path.name for path in old.iterdir()} <= {LOCK}:
            return None
        new = next(path for n in range(1, 10_000) if not (path := old.with_name(f"{name}.{n}")).exists())
        old.rename(new)
        old.mkdir()
        if (new / LOCK).exists():
            (new / LOCK).rename(old / LOCK)
    except OSError as error:
        raise storage_error("set aside", old, error) from error
    return new


def _modules() -> set[str]:
    here = Path(__file__).parent
    return {path.stem for path in here.glob("*.py")} | {path.parent.name for path in here.glob("*/__init__.py")}
