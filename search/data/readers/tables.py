"""Images in rows: a parquet file, or a dataset of the Hugging Face hub, both through the `datasets` library.

Cells stay undecoded here, so that a corrupt image is named and counted instead of ending the reading.
"""

import os
import re
import socket
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from search.data.prepare import EncodedSource
from search.data.readers.files import FileSource
from search.data.readers.layout import check_classes
from search.data.readers.names import read_parts
from search.data.source import Content, Item, Listing, Part, digest_of, one_line, printable, some
from search.sources import SourceText
from searchspace.errors import InvalidData

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?(:[\w.-]+)?")
_BATCH_ROWS = 64
_LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "target", "category")
_IMAGE_COLUMNS = ("image", "img", "picture", "photo", "bytes")
_PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


class _Columns(NamedTuple):
    image: str
    label: str
    names: tuple[str, ...] | None  # of a ClassLabel
    notes: tuple[str, ...]


class _TableSource(EncodedSource):
    """What a parquet file and a hub dataset share."""

    _where: str

    @property
    @abstractmethod
    def _tables(self) -> Mapping[str, Any]:
        """By the name of a split: its `datasets` dataset."""

    def listing(self) -> Listing:
        """Every labelled row. Raises InvalidData."""
        notes: list[str] = []
        items: list[Item] = []
        parts = self._parts(notes)
        for split, part in parts.items():
            rows = self._items(split, part)
            labelled = [item for item in rows if item.label]
            if len(labelled) < len(rows):
                notes.append(f"{len(rows) - len(labelled)} rows of {split} have no label and are left out")
            items += labelled
        columns = self._columns(next(iter(parts)))
        classes = _ordered(columns, {item.label for item in items})
        if columns.names and len(classes) < len(columns.names):
            absent = sorted(set(columns.names) - set(classes))
            notes.append(f"classes without images are left out: {some(absent)}")
        listing = Listing(tuple(items), classes, (*columns.notes, *notes))
        check_classes(listing, where=self._where)
        return listing

    def read(self, items: Sequence[Item]) -> Iterator[Content]:
        """The rows' image cells, in the order of the table."""
        wanted: dict[str, dict[int, Item]] = {}
        for item in items:
            wanted.setdefault(item.name.split("/")[0], {})[item.at] = item
        for split, rows in wanted.items():
            column = self._columns(split).image
            cells = (cell for batch in self._batches(split, [column]) for cell in batch.column(column).to_pylist())
            yield from ((rows[at], self._content(cell)) for at, cell in enumerate(cells) if at in rows)

    def _content(self, cell: Any) -> bytes | Exception:
        """The bytes of {"bytes": ..., "path": ...} or of a plain binary cell."""
        content = cell.get("bytes") if isinstance(cell, dict) else cell
        return content if isinstance(content, bytes) else ValueError("the cell holds no image bytes")

    def _parts(self, notes: list[str]) -> dict[str, Part | None]:
        """Which split of the table is which of ours; a lone one is split by us."""
        if len(self._tables) == 1:
            return dict.fromkeys(self._tables)
        named: dict[str, Part | None] = {**read_parts(self._tables)}
        if "train" not in named.values():
            raise InvalidData(f"{self._where} must have a split named train, got {some(list(self._tables))}")
        left = sorted(set(self._tables) - set(named))
        if left:
            notes.append(f"splits that are neither train, validation nor test are left out: {some(left)}")
        for split, part in list(named.items()):
            if part != "train" and not any(item.label for item in self._items(split, None)):
                notes.append(f"the split {split} has no labels and is left out")
                del named[split]
        return named if len(named) > 1 else dict.fromkeys(named)

    def _items(self, split: str, part: Part | None) -> list[Item]:
        """Every row; an empty label where there is none."""
        columns = self._columns(split)
        items: list[Item] = []
        for batch in self._batches(split, [columns.image, columns.label]):
            labels = batch.column(columns.label).to_pylist()
            for value, size in zip(labels, _sizes(batch.column(columns.image)), strict=True):
                at = len(items)
                items.append(Item(f"{split}/{at:08d}", _label(value, columns), part, size, at))
        return items

    def _batches(self, split: str, columns: list[str]) -> Iterator[Any]:
        """The table in pieces (pyarrow tables). Raises InvalidData where the file is damaged."""
        try:
            table = self._tables[split].select_columns(columns)
            yield from table.with_format("arrow").iter(batch_size=_BATCH_ROWS)
        except Exception as error:  # pyarrow, fsspec and datasets raise errors of their own
            raise InvalidData(
                f"{self._where} must be readable and is damaged ({one_line(error)}): copy or download it again"
            ) from error

    def _columns(self, split: str) -> _Columns:
        features = self._tables[split].features
        if features is None:
            raise InvalidData(f"{self._where} must name its columns and does not")
        return _find_columns(features, where=self._where)


class ParquetSource(_TableSource, FileSource):
    """A .parquet file with a column of encoded images and a column of labels."""

    suffixes = (".parquet",)

    def __init__(self, path: Path, how: SourceText | None = None) -> None:
        FileSource.__init__(self, path, how)
        self._where = f"the file {self.path}"

    @cached_property
    def _tables(self) -> Mapping[str, Any]:
        import datasets
        from pyarrow import parquet

        try:
            parquet.read_schema(self.path)  # the library would log what is wrong besides raising it
            # Streamed: else the whole file would first be copied into the library's own cache.
            table = datasets.load_dataset("parquet", data_files=str(self.path), split="train", streaming=True)
        except Exception as error:  # pyarrow and datasets raise errors of their own
            raise InvalidData(
                f"{self.path} must be a parquet file and cannot be read ({one_line(error)}): copy or write it again"
            ) from error
        return {"row": table}


class HubSource(_TableSource):
    """A dataset of the Hugging Face hub: owner/name, name, or owner/name:configuration.

    `load_dataset(path, configuration)` is that of `datasets`; `reachable()` says whether the hub takes connections.
    """

    def __init__(
        self, name: str, *, load_dataset: Callable[..., Any] | None = None, reachable: Callable[[], bool] | None = None
    ) -> None:
        super().__init__(name, f"hub:{name}")
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


def _find_columns(features: Mapping[str, Any], *, where: str) -> _Columns:
    """The image and the label column. Raises InvalidData naming what there is."""
    import datasets

    images = [name for name, kind in features.items() if isinstance(kind, datasets.Image)]
    images += [name for name in _IMAGE_COLUMNS if name in features and name not in images and _is_bytes(features[name])]
    classed = [name for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    plain = [name for name in _LABEL_COLUMNS if name in features and _is_plain(features[name])]
    labels = [name for name in _LABEL_COLUMNS if name in classed] + classed + plain
    if not images or not labels:
        got = ", ".join(
            f"{name} ({getattr(kind, 'dtype', None) or type(kind).__name__})" for name, kind in features.items()
        )
        raise InvalidData(
            f"{where} must have a column of encoded images (named image or img) and a column of whole numbers or "
            f"names (named label), got {got or 'no columns'}: rename or add them"
        )
    image = next((name for name in _IMAGE_COLUMNS if name in images), images[0])
    others = sorted({*images, *labels} - {image, labels[0]})
    notes = (f"images from the column {image}, labels from {labels[0]}; left out: {some(others)}",) if others else ()
    names = getattr(features[labels[0]], "names", None)
    return _Columns(image, labels[0], tuple(names) if names else None, notes)


def _is_bytes(kind: Any) -> bool:
    cell = kind.get("bytes") if isinstance(kind, dict) else kind
    return getattr(cell, "dtype", None) in ("binary", "large_binary")


def _is_plain(kind: Any) -> bool:
    dtype = str(getattr(kind, "dtype", ""))
    return dtype in ("string", "large_string", "bool") or dtype.lstrip("u").startswith("int")


def _label(value: Any, columns: _Columns) -> str:
    """The class's name, empty where there is none (null, or -1 of a hidden ClassLabel)."""
    if columns.names is not None:
        return columns.names[value] if value is not None and 0 <= value < len(columns.names) else ""
    return "" if value is None else printable(str(value))


def _ordered(columns: _Columns, found: set[str]) -> tuple[str, ...]:
    """Classes in the order of a ClassLabel, of numbers, or of names."""
    if columns.names is not None:
        return tuple(name for name in columns.names if name in found)
    if all(re.fullmatch(r"-?\d+", name) for name in found):
        return tuple(sorted(found, key=int))
    return tuple(sorted(found))


def _sizes(column: Any) -> list[int]:
    """The cells' lengths in bytes, 0 where there are none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_struct(column.type):
        column = pc.struct_field(column, "bytes")
    return [size or 0 for size in pc.binary_length(column).to_pylist()]
