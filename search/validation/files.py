"""The files of a reference set: FILE.csv (a row for each training), FILE.json (settings), FILE.scores.csv (estimators).

FILE.latency.json is the table that priced the networks, if there is one.

Each row is on disk before the next one is begun; every file is written whole.
"""

import csv
import fcntl
import io
import json
import math
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Generic, Self, TypeVar, get_type_hints

from search.differences import CONTENT_OF, in_words
from search.training.variation import before, checked
from searchspace.errors import InvalidArgument, StorageError, StudyMismatch
from searchspace.files import locked_file, read_json, storage_error, write_atomic, write_json
from searchspace.latency.changes import keep_table, told_changes
from searchspace.latency.table import LatencyTable
from searchspace.strict_json import CHECKSUM, is_almost_checksum

SCHEMA = 1
AUGMENT = "augment"  # what --augment came to


@dataclass(frozen=True, kw_only=True)
class Trained:
    """One training of one network.

    Attributes:
        network: Its name.
        kind: "published", "known" or "random".
        fingerprint: Of its spec.
        seed: Of the training; the first training of a network has the set's own.
        accuracy: On the held-out half of the validation images, a fraction; None where the training failed.
        judged: How many of these images that is.
        seconds: Of the training, without what came before it.
        images: Training images seen, with repetition.
        parent: Whose weights it began with; "" for random ones.
        price: In ms by the latency table, or MACs, as the set's budget is.
        macs: Multiply-adds at the set's pixels.
        params: Learnable parameters.
        depth: Convolutions and linear layers on the longest way.
        failed: Why there is no accuracy; else "".
        choices: JSON of the point of the search space; "" for a network outside it.
        spec: JSON of the network where it has no choices; else "".
    """

    network: str
    kind: str
    fingerprint: str
    seed: int
    accuracy: float | None
    judged: int
    seconds: float
    images: int
    parent: str
    price: float
    macs: int
    params: int
    depth: int
    failed: str = ""
    choices: str = ""
    spec: str = ""

    def __post_init__(self) -> None:
        if self.accuracy is not None and not 0 <= self.accuracy <= 1:
            raise ValueError(f"an accuracy is a fraction from 0 to 1, got {self.accuracy}")
        if self.macs <= 0:
            raise ValueError(f"MACs are above 0, got {self.macs}")


@dataclass(frozen=True, kw_only=True)
class Score:
    """What one estimator says of one network.

    Attributes:
        estimator: Its name.
        identity: A digest of what its scores depend on, besides the images.
        fingerprint: Of the network.
        score: Higher is better; None where it could not judge the network.
        deviation: Its own standard deviation; None for proxies.
        seconds: Of this score.
        prepare_s: What the estimator did once, before all scores.
        failed: Why there is no score; else "".
    """

    estimator: str
    identity: str
    fingerprint: str
    score: float | None
    deviation: float | None
    seconds: float
    prepare_s: float
    failed: str = ""


RowType = TypeVar("RowType", bound=Trained | Score)


class Rows(Generic[RowType]):
    """The rows of one CSV file. Raises StorageError for a file that cannot be read or holds something else."""

    def __init__(self, path: Path, kind: type[RowType]) -> None:
        self.path, self.kind = path, kind
        self.rows: list[RowType] = list(_read(path, kind)) if path.exists() else []

    def __iter__(self) -> Iterator[RowType]:
        return iter(self.rows)

    def add(self, row: RowType) -> None:
        """Keep a row, behind those that other processes have added meanwhile. Raises StorageError."""
        with _one_writer(self.path.parent):
            self.rows = [*(_read(self.path, self.kind) if self.path.exists() else ()), row]
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow([*(field.name for field in fields(self.kind)), CHECKSUM])
            for each in self.rows:
                cells = [_cell(value) for value in asdict(each).values()]
                writer.writerow([*cells, _checksum(cells)])
            write_atomic(self.path, text.getvalue())


@contextmanager
def _one_writer(folder: Path) -> Iterator[None]:
    """Waits until no other process writes rows in the folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return repr(round(value, 6)) if isinstance(value, float) else str(value)


def _checksum(cells: Sequence[str]) -> str:
    """Of a row. Rows that are gone are not noticed: they are made again."""
    return f"{zlib.crc32(repr(list(cells)).encode()):08x}"


def _read(path: Path, kind: type[RowType]) -> Iterator[RowType]:
    types: dict[str, Any] = get_type_hints(kind)
    try:
        with open(path, newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file, strict=True)
        if any(map(is_almost_checksum, header)):
            raise ValueError(f'its "{CHECKSUM}" has another name')
        for row in filter(None, rows):
            cells = dict(zip(header, row, strict=True))
            if CHECKSUM in cells and cells[CHECKSUM] != _checksum([cells[name] for name in types]):
                raise ValueError(f"the row of {row[0]} is not what was written")  # files of before have no checksums
            yield kind(**{name: _value(cells[name], types[name]) for name in types})
    except OSError as error:
        raise storage_error("read", path, error) from error
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise StorageError(
            f"{path} must hold the columns {', '.join(types)} with values that can be, and does not "
            f"({type(error).__name__}: {error}): bring it back from a copy, or name another file"
        ) from None


def _value(text: str, kind: Any) -> Any:
    if kind is str:
        return text
    if kind is int:
        return int(text)
    if kind is not float and not text:
        return None
    value = float(text)
    if kind is float and not math.isfinite(value):
        raise ValueError(f"{text} is no figure")
    return value


@dataclass(frozen=True)
class ReferenceFiles:
    """The three files of a set."""

    path: Path

    @classmethod
    def named(cls, path: str | Path) -> Self:
        """By the name of the CSV. Raises InvalidArgument for another suffix."""
        path = Path(path)
        if path.suffix != ".csv" or path.name.endswith(".scores.csv"):
            raise InvalidArgument(f"--reference must be a file that ends in .csv, got {str(path)!r}: name the file so")
        return cls(path)

    @property
    def about_path(self) -> Path:
        """Of the settings."""
        return self.path.with_suffix(".json")

    @property
    def state_path(self) -> Path:
        """Of the training under way."""
        return self.path.with_suffix(".ckpt")

    @property
    def table_path(self) -> Path:
        """Of the latency table that priced the networks."""
        return self.path.with_suffix(".latency.json")

    def trained(self) -> Rows[Trained]:
        """The trainings. Raises StorageError where two rows of one training say different things."""
        rows, seen = Rows(self.path, Trained), dict[tuple[str, int], Trained]()
        for row in rows:
            first = seen.setdefault((row.fingerprint, row.seed), row)
            if first.accuracy != row.accuracy:
                raise StorageError(
                    f"{self.path} must have one row for each training, and two of {row.network}, seed {row.seed}, say "
                    f"{first.accuracy} and {row.accuracy}: delete the wrong one"
                )
        return rows

    def scores(self) -> Rows[Score]:
        """What estimators said."""
        return Rows(self.path.with_suffix(".scores.csv"), Score)

    def about(self) -> dict[str, Any]:
        """The settings. Raises InvalidArgument where there is no set, StudyMismatch for another file, StorageError."""
        if not self.about_path.exists():
            if self.path.exists():
                raise StudyMismatch(f"{self.path} has no {self.about_path.name} beside it: name another --reference")
            raise InvalidArgument(f"there is no reference set {self.path} yet: leave --as-is out, and it is trained")
        about = read_json(self.about_path)
        if not isinstance(about, dict) or about.get("schema") != SCHEMA or not isinstance(about.get("settings"), dict):
            raise StorageError(
                f"{self.about_path} must hold the settings of a reference set: bring it back from a copy"
            )
        about = {AUGMENT: before(about["settings"].get("data")), **about}
        try:
            checked(str(about[AUGMENT]), or_auto=False)
        except InvalidArgument:
            raise StorageError(f"{self.about_path} names no ways to vary images: bring it back from a copy") from None
        return about

    def begun(self) -> str | None:
        """What `--augment` came to when the set was begun; None where there is none yet."""
        return str(self.about()[AUGMENT]) if self.about_path.exists() else None

    def bind(self, about: dict[str, Any], *, command: str, table: LatencyTable | None = None) -> None:
        """Store what defines the set, or check that the file is of the same one (see `check`)."""
        if self.about_path.exists() or self.path.exists():
            self.check(about, table=table)
        else:
            content = {"schema": SCHEMA, **about, "command": command}
            write_json(self.about_path, content)
            if table is not None:
                self.table_path.unlink(missing_ok=True)
                keep_table(self.table_path, table)

    def check(self, about: dict[str, Any], *, table: LatencyTable | None = None) -> None:
        """Raises StudyMismatch, which names what differs, where the set was made with other settings.

        Files are known by their content, where both say it, not by their names.
        """
        flat = (
            {**each["settings"], **each, "settings": None} for each in (self.about(), json.loads(json.dumps(about)))
        )
        was, now = flat
        by_content = {place for place, content in CONTENT_OF.items() if content in was and content in now}
        other = {name: value for name, value in now.items() if was.get(name) != value and name not in by_content}
        if other:
            told = {} if table is None else {"table": told_changes(self.table_path, table)}
            differing = [in_words(name, was, now, told.get(name, "")) for name in other]
            raise StudyMismatch(
                f"{self.path} was made with other settings: {'; '.join(differing)}. Give the same flags to go on with "
                "it, or another --reference"
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Only one process trains a set at a time; the lock goes with the process. The set must be bound.

        Others may judge meanwhile what is trained.
        """
        refusal = f"another process trains {self.path}: wait until it ends; --as-is compares what is there meanwhile"
        with locked_file(self.about_path, refusal):
            yield
