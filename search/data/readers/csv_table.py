"""A table in a text file, as spreadsheets and other programs write it."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from search.data.readers.layout import is_image
from searchspace.errors import InvalidData


class Table(NamedTuple):
    """The columns' names, and the rows with their line numbers."""

    columns: list[str]
    rows: list[tuple[int, list[str]]]

    def column(self, name: str) -> list[str]:
        """The cells of a column."""
        at = self.columns.index(name)
        return [row[at] for _, row in self.rows]


def read_table(path: Path) -> Table:
    """The table; a first row that names an image is no heading. Raises InvalidData."""
    text = read_text(path)
    said = re.match(r"\s*\"?sep=(.)\"?\r?\n", text)  # a line of Excel's
    text = text[said.end() :] if said else text
    first = text.lstrip().partition("\n")[0]
    mark = said[1] if said else max("\t,;|", key=first.count)
    try:
        lines = [(number, [cell.strip() for cell in row]) for number, row in _rows(text, mark)]
    except csv.Error as error:
        raise InvalidData(f"{path} must be a table with {mark!r} between its cells ({error}): write it anew") from error
    if not lines:
        raise InvalidData(f"{path} must have a row for each image and is empty: write a path and a label into each row")
    _, heading = lines[0]
    if any(map(is_image, heading)):
        heading = [f"column {at + 1}" for at in range(len(heading))]
    else:
        lines = lines[1:]
        heading = [name or f"column {at + 1}" for at, name in enumerate(heading)]
    twice = [name for name, count in Counter(heading).items() if count > 1]
    if not lines or twice:
        what = f"has two columns {twice[0]!r}" if twice else "has a heading alone"
        raise InvalidData(f"{path} must have a row for each image and columns of different names, and {what}: mend it")
    for number, row in lines:
        if len(row) > len(heading):
            raise InvalidData(
                f"every row of {path} must have {len(heading)} cells like the first, got {len(row)} in line {number}: "
                f"put a cell that contains {mark!r} in quotes"
            )
    return Table(heading, [(number, row + [""] * (len(heading) - len(row))) for number, row in lines])


def _rows(text: str, mark: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True, skipinitialspace=True)
    for row in reader:
        while row and not row[-1].strip():
            row.pop()  # a comma too many at the end of lines
        if row:
            yield reader.line_num, row


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, UTF-16 with its mark, or else as older programs of Windows write it.

    Raises InvalidData.
    """
    data = path.read_bytes()
    for encoding in ("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", "cp1252"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise InvalidData(f"{path} must be a text with a path and a label in each row, and is no text: write it as UTF-8")
