"""A .csv, .tsv or .jsonl file whose rows name image files and their labels."""

import os
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from search.data.readers.choice import parse_choice
from search.data.readers.columns import (
    LABEL_COLUMNS,
    check_wanted,
    is_split_column,
    of_names,
    ordered,
)
from search.data.readers.csv_table import Table, read_table
from search.data.readers.files import FileSource, read_each
from search.data.readers.folders import FolderSource
from search.data.readers.json_lines import read_json_lines
from search.data.readers.layout import TABLES, check_classes, is_image, with_common_names
from search.data.readers.parts import GivenSplits, parts_of_names, parts_of_values
from search.data.source import Content, Item, Listing, Part, digest_of, printable, some
from searchspace.errors import InvalidArgument, InvalidData

LARGEST_ABSENT_SHARE = 0.05  # of the rows; a single one may be in the smallest table
_ONE_OR_ZERO = {"0": False, "0.0": False, "": False, "false": False, "1": True, "1.0": True, "true": True}
_MOST_PARTS = 20  # values of a column that are looked at
_LOOKED_AT = 100  # rows that tell which column names the images


class ListSource(FileSource):
    """A .csv, .tsv or .jsonl file of image files and labels, perhaps with a column that says train, val or test.

    A file is looked for beside the table, then by its name in the folders below it.
    """

    suffixes = TABLES

    def signature(self) -> str:
        """From the table's and every image's size and time of change. Raises InvalidData."""
        paths = [self._path(item) for item in self._listing.items]
        stats = [(status.st_size, status.st_mtime_ns) for status in map(os.stat, paths)]
        return digest_of(FileSource.signature(self), stats)

    def listing(self) -> Listing:
        """Every image that the table names and that is there. Raises InvalidData, InvalidArgument."""
        return self._listing

    def read(self, items: Sequence[Item]) -> Iterator[Content]:
        """Each file's bytes, in the order of names."""
        return read_each(sorted(items, key=lambda item: item.name), lambda item: self._path(item).read_bytes())

    def _path(self, item: Item) -> Path:
        return self.path.parent / item.name

    @cached_property
    def _listing(self) -> Listing:
        where = f"the table {self.path}"
        is_json = self.path.name.lower().endswith(".jsonl")
        table = read_json_lines(self.path) if is_json else read_table(self.path)
        notes: list[str] = []
        found = _Found(table, self.path)
        told, labels = _labels(table, found.column, self.how.label_column, where)
        column, split, parts = self._parts(table, {found.column, *told}, where)
        by_name: dict[str, set[str]] = defaultdict(set)
        items: dict[str, Item] = {}
        for name, of_row, value in zip(found.paths, labels, split, strict=True):
            if name and of_row and (not parts or value in parts):
                by_name[name].add(of_row)
                size = os.stat(self.path.parent / name).st_size
                items.setdefault(name, Item(name, printable(of_row), parts.get(value), size, 0))
        several = [name for name, of_name in by_name.items() if len(of_name) > 1]
        one_label = [item for name, item in sorted(items.items()) if name not in set(several)]
        kept, renamed = with_common_names(one_label)
        notes += found.notes(where)
        notes += [GivenSplits(parts=parts).note(f"the column {column}")] if parts else []
        reasons = (
            ("rows have no label", [row for row in labels if not row]),
            ("rows are of no split", [value for value in split if parts and value not in parts]),
            ("images have several labels", several),
        )
        notes += [f"{len(what)} {reason} and are left out" for reason, what in reasons if what]
        marked = f"the columns {some(told)}, of which each row has 1 in one and 0 in the others"
        notes += [f"images from the column {found.column}, labels from {marked if told[1:] else told[0]}", *renamed]
        listing = Listing(tuple(kept), ordered({item.label for item in kept}), tuple(map(printable, notes)))
        check_classes(listing, where=where)
        return listing

    def _parts(self, table: Table, taken: set[str], where: str) -> tuple[str, list[str], dict[str, Part]]:
        """The column of splits, its value by row, and which value is which split; no splits where there is none."""
        choice = parse_choice(self.how.split_folders)
        candidates = [name for name in table.columns if name not in taken]
        if choice is not None and not choice.patterns:
            candidates = []
        for name in candidates:
            values = table.column(name)
            if choice is not None:
                parts = choice.parts(set(values))
            elif _says_splits(table, name):
                parts = parts_of_values(name, set(values) - {""})
            else:
                continue
            if "train" in parts.values():
                return name, values, parts
        if choice is not None and choice.patterns:
            raise InvalidArgument(
                f"--split-folders must name values of a column, got {self.how.split_folders!r}; {where} has the "
                f"columns {printable(some(table.columns, limit=8))}: name values of one, or leave the flag out"
            )
        return "", [""] * len(table.rows), {}


class _Found:
    """Which column names image files, and by row the file's path below the table's folder ("" where there is none)."""

    def __init__(self, table: Table, path: Path) -> None:
        self._table, self._folder, self._stem = table, path.parent, path.stem
        self.column = self._best_column() if len(table.columns) > 1 else ""
        if not self.column:
            first = ", ".join(table.rows[0][1][:3])
            raise InvalidData(
                f"a table of images must have a column of paths to images in {path.parent} or below it and one of "
                f"labels, got the columns {printable(some(table.columns, limit=8))} with {printable(first)[:80]!r}: "
                "add them, or move the table to its images"
            )
        self._cells = table.column(self.column)
        self.paths = [self._beside(cell) or self._by_name(cell) or self._by_stem(cell) for cell in self._cells]

    def _best_column(self) -> str:
        """The column whose cells name most images, by the strictest way of looking that finds half of them."""
        sample = self._table.rows[:: -(-len(self._table.rows) // _LOOKED_AT)]
        best = (0, "")
        for look in (self._beside, self._by_name, self._by_stem, self._somewhere):
            for at, name in enumerate(self._table.columns):
                found = {look(row[at]) for _, row in sample} - {""}  # each image once: 1 may be 1.jpg, or a label
                best = max(best, (len(found), name), key=lambda entry: entry[0])
            if best[0] > len(sample) / 2:
                break
        return best[1]

    def notes(self, where: str) -> list[str]:
        """What to say of rows whose image is not there. Raises InvalidData where they are many."""
        rows = zip(self._table.rows, self._cells, self.paths, strict=True)
        absent = [(line, cell) for (line, _), cell, path in rows if not path]
        if len(absent) > max(1, LARGEST_ABSENT_SHARE * len(self.paths)):
            line, cell = absent[0]
            several = self._names.get(re.split(r"[\\/]", cell)[-1], [])
            how, then = "are not there", "move the table or the images, or take those rows out"
            if len(several) > 1:
                how, then = f"stand in several folders ({some(several, limit=2)})", "write the folder before each name"
            raise InvalidData(
                f"{where} must name images that are beside it or below its folder, and {len(absent)} of "
                f"{len(self.paths)} {how}, as {printable(cell)!r} of line {line}: {then}"
            )
        names = some([printable(cell) for _, cell in absent], limit=3)
        return [f"{len(absent)} rows whose image is not there are left out: {names}"] if absent else []

    def _beside(self, cell: str) -> str:
        """The file at the path that the cell says, from the table's folder on."""
        path = posixpath.normpath(cell.replace("\\", "/"))
        try:
            return path if is_image(path) and (self._folder / path).is_file() else ""
        except (OSError, ValueError):
            return ""

    def _by_name(self, cell: str) -> str:
        """The one file below the table's folder of the same name, or of the same last folders and name.

        Paths that were written on another machine end so. The images of train.csv are those of train/, if it has them.
        """
        *folders, name = re.split(r"[\\/]", cell)
        paths = self._names.get(name, [])
        for at in range(len(folders) - 1, -1, -1):
            if len(paths) < 2:
                break
            tail = "/".join([*folders[at:], name])
            paths = [path for path in paths if f"/{path}".endswith(f"/{tail}")]
        own = [path for path in paths if path.startswith(f"{self._stem}/")]
        return _only(own or paths)

    def _by_stem(self, cell: str) -> str:
        """The one file of that name without its ending."""
        return _only(self._stems.get(re.split(r"[\\/]", cell)[-1], []))

    def _somewhere(self, cell: str) -> str:
        """One of the files of that name, in whatever folder."""
        return next(iter(self._names.get(re.split(r"[\\/]", cell)[-1], [])), "")

    @cached_property
    def _names(self) -> dict[str, list[str]]:
        names: dict[str, list[str]] = defaultdict(list)
        for path in FolderSource(self._folder).images():
            names[path.rpartition("/")[2]].append(path)
        return names

    @cached_property
    def _stems(self) -> dict[str, list[str]]:
        stems: dict[str, list[str]] = defaultdict(list)
        for name, paths in self._names.items():
            stems[name.rpartition(".")[0]] += paths
        return stems


def _only(paths: Sequence[str]) -> str:
    return paths[0] if len(paths) == 1 else ""


def _labels(table: Table, paths: str, wanted: str | None, where: str) -> tuple[list[str], list[str]]:
    """The columns that say the labels, and each row's label. Raises InvalidData, InvalidArgument."""
    others = [name for name in table.columns if name != paths]
    if wanted is not None:
        check_wanted(wanted, others, where=where)
        return [wanted], _plain_labels(table.column(wanted))
    left = [name for name in others if not _says_splits(table, name)]
    repeated = [name for name in left if len(set(table.column(name))) < len(table.rows)]  # a class has several images
    chosen = of_names(LABEL_COLUMNS, others)[:1] or repeated or left
    if len(chosen) == 1:
        return chosen, _plain_labels(table.column(chosen[0]))
    marked = _one_of_each_row(table, left)
    if marked is not None:
        return marked
    raise InvalidData(
        f"{where} must have one column of labels (named label), got {len(chosen)} that may be it, "
        f"{printable(some(chosen, limit=8)) or 'none'}: say which one with --label-column NAME"
    )


def _says_splits(table: Table, name: str) -> bool:
    """Whether a column says which split a row belongs to, by its name or by all of its values."""
    if is_split_column(name):
        return True
    values = set(table.column(name)) - {""}
    parts = parts_of_names(values) if len(values) < _MOST_PARTS else {}
    return parts.keys() == values and {"train"} < set(parts.values())


def _one_of_each_row(table: Table, names: Sequence[str]) -> tuple[list[str], list[str]] | None:
    """The columns of which each row has 1 in one and 0 in the others, and by row which; None where there are none."""
    values = {name: [_ONE_OR_ZERO.get(cell.lower()) for cell in table.column(name)] for name in names}
    columns = [name for name, cells in values.items() if None not in cells]
    rows = list(zip(*(values[name] for name in columns), strict=True))
    if len(columns) < 2 or any(sum(map(bool, row)) != 1 for row in rows):
        return None
    return columns, [columns[row.index(True)] for row in rows]


def _plain_labels(labels: list[str]) -> list[str]:
    """Whole numbers as such, where they were written as 3.0."""
    if all(re.fullmatch(r"-?\d+(\.0+)?", label) for label in labels if label):
        return [label.partition(".")[0] for label in labels]
    return labels
