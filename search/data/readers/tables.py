"""Parquet files, and datasets of the Hugging Face hub, both through the `datasets` library."""

import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from search.data.readers.choice import Choice
from search.data.readers.files import FileSource
from search.data.readers.parts import parts_of_names
from search.data.readers.rows import TableSource
from search.data.source import digest_of, one_line, printable, some
from search.sources import SourceText
from searchspace.errors import InvalidData

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?(:[\w.-]+)?")
_PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
_SHARD = re.compile(r"([-_.]\d{3,}(-of-\d+)?(-[0-9a-f]{8,})?)?\.parquet$", re.IGNORECASE)


class ParquetSource(TableSource, FileSource):
    """A .parquet file, or a folder of such files, with a column of encoded images and a column of labels.

    `files`: those of a folder, relative to it; their names or folders say which split each belongs to.
    """

    suffixes = (".parquet",)

    def __init__(self, path: Path, how: SourceText | None = None, *, files: Sequence[str] = ()) -> None:
        FileSource.__init__(self, path, how)
        self._where = f"the {'folder' if files else 'file'} {self.path}"
        self._files = files

    def signature(self) -> str:
        """From the size and time of change of the file or of all files."""
        if not self._files:
            return FileSource.signature(self)
        stats = [(name, os.stat(self.path / name)) for name in self._files]
        return digest_of([[name, status.st_size, status.st_mtime_ns] for name, status in stats])

    @cached_property
    def _tables(self) -> Mapping[str, Any]:
        import datasets

        splits = shards(self._files, self.choice) if self._files else {"row": ["."]}
        paths = {split: [str(self.path / name) for name in names] for split, names in splits.items()}
        filled = _filled([path for of_split in paths.values() for path in of_split])
        paths = {split: kept for split, names in paths.items() if (kept := [name for name in names if name in filled])}
        if not paths:
            raise InvalidData(f"{self._where} must hold a row for each image and has no rows: write it with images")
        # Streamed: else the whole file would first be copied into the library's own cache.
        load = partial(datasets.load_dataset, "parquet", split="train", streaming=True)
        try:
            return {split: load(data_files=of_split) for split, of_split in paths.items()}
        except Exception as error:  # datasets raises errors of its own
            raise _unreadable(self._where, error) from error


class HubSource(TableSource):
    """A dataset of the Hugging Face hub: owner/name, name, or owner/name:configuration.

    `load_dataset(path, configuration)` is that of `datasets`; `reachable()` says whether the hub takes connections.
    """

    def __init__(
        self,
        name: str,
        how: SourceText | None = None,
        *,
        load_dataset: Callable[..., Any] | None = None,
        reachable: Callable[[], bool] | None = None,
    ) -> None:
        self.how = (how or SourceText(name))._replace(place=name)
        super().__init__(name, f"hub:{self.how}")
        self._where = f"the hub's dataset {name}"
        self._load_dataset = load_dataset
        self._reachable = reachable or hub_answers

    def signature(self) -> str:
        """From the fingerprint and length of each split. Raises InvalidData if the hub cannot be reached."""
        return digest_of({split: [table._fingerprint, len(table)] for split, table in self._tables.items()})

    @cached_property
    def _tables(self) -> Mapping[str, Any]:
        import datasets

        load_dataset = self._load_dataset or datasets.load_dataset
        path, _, configuration = self.name.partition(":")
        if path.isidentifier() and find_spec(f"datasets.packaged_modules.{path}"):
            # The library would take it for a reader, and read whatever lies in the working folder.
            raise InvalidData(f"{path!r} is a file format, not a dataset of the hub: give a path, or owner/name")
        reachable = self._reachable()
        try:
            with _offline(not reachable):
                tables = load_dataset(path, configuration or None)
        except Exception as error:  # the library raises dozens of types for a name that is wrong or out of reach
            reason = one_line(error) if reachable else "the hub cannot be reached, and no copy is on this machine"
            raise InvalidData(
                f"there is no file or folder {self.name!r} here, and the Hugging Face hub's dataset of that name "
                f"cannot be had: {reason}. Give the path of a folder, .tar, .zip or .parquet that exists, or look at "
                "the name (owner/name, owner/name:configuration) and the network"
            ) from error
        return dict(tables) if isinstance(tables, dict) else {"train": tables}

    def _content(self, cell: Any) -> bytes | Exception:
        """Downloaded image folders keep their files: such a cell holds a path in the library's own cache."""
        content = super()._content(cell)
        path = cell.get("path") if isinstance(cell, dict) else None
        if isinstance(content, Exception) and path:
            try:
                return Path(path).read_bytes()
            except OSError as error:
                return error
        return content


def hub_answers() -> bool:
    """Whether the hub takes connections; without this the library retries for 24 s."""
    from huggingface_hub import constants

    if any(os.environ.get(name) for name in _PROXIES):
        return True
    address = urlsplit(constants.ENDPOINT)
    try:
        socket.create_connection((address.hostname or "", address.port or 443), timeout=5).close()
    except OSError:
        return False
    return True


def shards(files: Sequence[str], choice: Choice | None = None) -> dict[str, list[str]]:
    """Files of tables by the split that their names or folders say; all as `row` where those say none.

    `data/train-00000-of-00002.parquet` belongs to train, and so does `train/0000.parquet`.
    """
    steps = [(*path.split("/")[:-1], _SHARD.sub("", path.split("/")[-1])) for path in files]
    for level in range(max(map(len, steps))):
        names = {path[level] for path in steps if len(path) > level}
        found = choice.parts(names) if choice else parts_of_names(names) if len(names) > 1 else {}
        if "train" in found.values():
            by_name: dict[str, list[str]] = {}
            for file, path in zip(files, steps, strict=True):
                by_name.setdefault(path[level] if len(path) > level else "", []).append(file)
            return by_name
    return {"row": list(files)}


def _filled(paths: Sequence[str]) -> set[str]:
    """Those of the files that have rows.

    Raises InvalidData for a file that is no parquet file, or whose columns are not those of the first.
    """
    from pyarrow import parquet

    first: dict[str, str | None] = {}
    filled: set[str] = set()
    for path in paths:
        try:
            about = parquet.read_metadata(path)  # the library would log what is wrong besides raising it
        except Exception as error:  # pyarrow raises errors of its own
            raise _unreadable(path, error) from error
        own = {field.name: _kind(field.type) for field in about.schema.to_arrow_schema()}
        first = first or own
        unlike = [name for name in first if _differ(first[name], own.get(name))]
        if first.keys() != own.keys() or unlike:
            one, other = (
                printable(some([f"{name} ({kinds[name]})" if unlike else name for name in unlike or kinds])) or "none"
                for kinds in (first, own)
            )
            raise InvalidData(
                f"all parquet files must have the same columns; {paths[0]} has {one}, and {path} has {other}: give "
                "one of the two kinds alone"
            )
        filled |= {path} if about.num_rows else set()
    return filled


def _kind(of_column: Any) -> str | None:
    """What files may not have unlike in a column: its type, of which all numbers are one kind and all names another."""
    import pyarrow as pa

    kind = of_column.value_type if pa.types.is_dictionary(of_column) else of_column
    if pa.types.is_null(kind):
        return None
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "names"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return "numbers"
    return "bytes" if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) else str(kind).split("<")[0]


def _differ(one: str | None, other: str | None) -> bool:
    return one is not None and other is not None and one != other


def _unreadable(path: str, error: Exception) -> InvalidData:
    return InvalidData(f"{path} must be a parquet file and cannot be read ({one_line(error)}): copy or write it again")


@contextmanager
def _offline(wanted: bool) -> Iterator[None]:
    """Let the library use only what it has downloaded before."""
    import datasets

    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = wanted or before
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before
