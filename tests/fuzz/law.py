"""The law for a file that was damaged: no traceback, no wrong answer without a word, and the file stays as it is."""

from __future__ import annotations

import gc
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from searchspace.errors import PhinasError
from tests.fuzz import damage


@dataclass(frozen=True)
class Subject:
    """A kind of file.

    make: writes a sound one, and what belongs to it, into an empty folder; gives its path. read: what the program says
    of it, as a value to compare. sealed: whether what is accepted must be what was written: files that a person writes,
    and those of before, carry no checksum. renewed: whether None ("it is made again") is an answer too. form: "json",
    "text" or "bytes", by what can happen to it. needs: a package without which it cannot be read.
    """

    name: str
    make: Callable[[Path], Path]
    read: Callable[[Path], Any]
    sealed: bool = True
    renewed: bool = False
    form: str = "bytes"

    def damages(self) -> st.SearchStrategy[damage.Damage]:
        """What happens to it."""
        own = {"json": damage.in_json(), "text": damage.in_text()}
        return damage.in_bytes() if self.form == "bytes" else damage.in_bytes() | own[self.form]


def check(
    subject: Subject, folder: Path, inputs: int, *, start: int = 0, tick: Callable[[], None] = lambda: None
) -> None:
    """Damage a file `inputs` times. Raises AssertionError or what the program raised, for the smallest damage found."""
    path = subject.make(folder)
    sound, beside = path.read_bytes(), sorted(folder.rglob("*"))
    written = subject.read(path)

    @seed(start)
    @settings(
        max_examples=inputs,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(subject.damages())
    def damaged(change: damage.Damage) -> None:
        content = change(sound)
        path.write_bytes(content)
        try:
            found = _read(subject, path)
        except PhinasError:
            found = written
        finally:
            kept = path.read_bytes()
            path.write_bytes(sound)
            tick()
        is_sound = found == written or content == sound or (subject.renewed and found is None)
        assert is_sound or not subject.sealed, f"{subject.name}: accepted, and not what was written: {found!r:.400}"
        assert kept == content, f"{subject.name}: the file was changed by reading it"
        missing = [one for one in beside if not one.exists()]
        assert not missing, f"{subject.name}: {missing} is gone"

    gc.freeze()  # readers that collect garbage look at their own alone
    try:
        damaged()
    finally:
        gc.unfreeze()


def _read(subject: Subject, path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return subject.read(path)


def fresh(folder: Path) -> Path:
    """The folder, empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
