"""Images in the rows of tables of the `datasets` library: what parquet files and the hub share.

Cells stay undecoded here, so that a corrupt image is named and counted instead of ending the reading.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from search.data.prepare import EncodedSource
from search.data.readers.choice import parse_choice
from search.data.readers.columns import Columns, find_columns, is_split_column, ordered
from search.data.readers.layout import check_classes, with_common_names
from search.data.readers.parts import GivenSplits, parts_of_names, parts_of_values
from search.data.source import Content, Item, Listing, Part, count_of, one_line, printable, some
from search.sources import SourceText
from searchspace.errors import InvalidArgument, InvalidData

_BATCH_ROWS = 64


class SplitColumn(NamedTuple):
    """A column whose values say the split of each row: its name, and the split of each value."""

    name: str
    parts: Mapping[str, Part]


class TableSource(EncodedSource):
    """What parquet files and a hub dataset share. `how`: what a person decided (see `search.sources`)."""

    _where: str
    how: SourceText

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
            column = self._split_column(split) if set(parts.values()) == {None} else None
            notes += [GivenSplits(parts=column.parts).note(f"the column {printable(column.name)}")] if column else []
            rows = self._items(split, part, column)
            if column and (unsplit := [item for item in rows if item.part is None]):
                notes.append(f"{count_of(unsplit, 'row')} of no split are left out")
                rows = [item for item in rows if item.part is not None]
            labelled = [item for item in rows if item.label]
            if len(labelled) < len(rows):
                notes.append(f"{len(rows) - len(labelled)} rows of {split} have no label and are left out")
            items += labelled
        columns = self._columns(next(iter(parts)))
        items, renamed = with_common_names(items)
        classes = ordered({item.label for item in items}, columns.names)
        if columns.names and len(classes) < len(columns.names):
            absent = sorted(set(columns.names) - set(classes))
            notes.append(f"classes without images are left out: {some(absent)}")
        listing = Listing(tuple(items), classes, (*columns.notes, *notes, *renamed))
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
        choice = parse_choice(self.how.split_folders)
        if len(self._tables) == 1 or (choice is not None and not choice.patterns):
            return dict.fromkeys(self._tables)  # perhaps a column says the splits
        if choice is not None:
            choice.check_found(self._tables, where=self._where)
        found = choice.parts(self._tables) if choice else parts_of_names(self._tables)
        if "train" not in found.values():
            raise InvalidData(
                f"{self._where} must have a split named train, got {printable(some(sorted(self._tables)))}: say which "
                "are its splits with --split-folders train=A,B,test=C, or --split-folders none to take all as one"
            )
        named: dict[str, Part | None] = {**found}
        if left := sorted(set(self._tables) - set(named)):
            notes.append(f"splits that are neither train, validation nor test are left out: {printable(some(left))}")
        if any(split != part for split, part in found.items()):
            notes.append(GivenSplits(parts=found).note())
        for split, part in found.items():
            if part != "train" and not any(item.label for item in self._items(split, None)):
                notes.append(f"the split {split} has no labels and is left out")
                del named[split]
        return named if len(named) > 1 else dict.fromkeys(named)

    def _split_column(self, split: str) -> SplitColumn | None:
        """The column that says the splits of this table's rows; None where there is none, or they are not to be split.

        Raises InvalidArgument for a choice of values that no column has.
        """
        choice, found = parse_choice(self.how.split_folders), self._columns(split)
        if choice is not None and (not choice.patterns or choice.parts(self._tables)):
            return None
        others = [name for name in found.plain if name not in (found.image, found.label)]
        for name in others if choice else [name for name in others if is_split_column(name)]:
            values = {str(value) for batch in self._batches(split, [name]) for value in batch.column(name).to_pylist()}
            parts = choice.parts(values) if choice else parts_of_values(name, values - {"None"})
            if "train" in parts.values():
                return SplitColumn(name, parts)
        if choice is not None:
            raise InvalidArgument(
                f"--split-folders must name values of a column, got {self.how.split_folders!r}; {self._where} has the "
                f"columns {printable(some(others, limit=8)) or 'none'} besides images and labels: name values of one, "
                "or leave the flag out"
            )
        return None

    def _items(self, split: str, part: Part | None, column: SplitColumn | None = None) -> list[Item]:
        """Every row; an empty label where there is none, no split where the column does not say it."""
        columns = self._columns(split)
        items: list[Item] = []
        wanted = [columns.image, columns.label, *([column.name] if column else [])]
        for batch in self._batches(split, wanted):
            labels, sizes = batch.column(columns.label).to_pylist(), _sizes(batch.column(columns.image))
            said = batch.column(column.name).to_pylist() if column else [None] * len(labels)
            for value, size, of_row in zip(labels, sizes, said, strict=True):
                at, own = len(items), column.parts.get(str(of_row)) if column else part
                items.append(Item(f"{split}/{at:08d}", _label(value, columns), own, size, at))
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

    def _columns(self, split: str) -> Columns:
        features = self._tables[split].features
        if features is None:
            raise InvalidData(f"{self._where} must name its columns and does not")
        return find_columns(features, where=self._where, wanted=self.how.label_column)


def _label(value: Any, columns: Columns) -> str:
    """The class's name, empty where there is none (null, or -1 of a hidden ClassLabel)."""
    if columns.names is not None:
        return columns.names[value] if value is not None and 0 <= value < len(columns.names) else ""
    if value is None or value != value:  # pandas writes whole numbers among which some are missing as 1.0 and NaN
        return ""
    if isinstance(value, float):
        if not value.is_integer():
            raise InvalidData(
                f"labels must be names or whole numbers, got {value} in the column {printable(columns.label)}: say "
                "which column holds them with --label-column NAME"
            )
        value = int(value)
    return printable(str(value).strip())


def _sizes(column: Any) -> list[int]:
    """The cells' lengths in bytes, 0 where there are none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_struct(column.type):
        column = pc.struct_field(column, "bytes")
    return [size or 0 for size in pc.binary_length(column).to_pylist()]
