"""The text that names a source of images: what --data says, and with it what --split-folders decides.

Both are one text, photos?split-folders=none, so that whatever is kept of a search and whatever goes on with it means
the same images.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

from searchspace.errors import InvalidArgument

OPTIONS = ("split-folders", "label-column")
_OPTION = re.compile(rf"[?&]({'|'.join(OPTIONS)})=")

# In the form of every command's list of flags: flag, type, name of the value, help.
SOURCE_FLAGS: list[tuple[str, Any, str, str]] = [
    (
        "--data",
        str,
        "SOURCE",
        "images: a folder, .tar or .zip with one folder per class, .parquet files, a .csv or .jsonl of paths and "
        "labels, or a data set of the Hugging Face hub as owner/name (default: the embedded task 'digits')",
    ),
    (
        "--split-folders",
        str,
        "WHICH",
        "which folders of --data (splits of the hub, values of a column) hold train, validation and test, as in "
        "train=A,B,test=C; none: every folder is a class (default: told by their names)",
    ),
    (
        "--label-column",
        str,
        "NAME",
        "the column of labels, where --data is a table (default: told by its name)",
    ),
]


class SourceText(NamedTuple):
    """A source and what is decided about it; None where it is to be found out."""

    place: str
    split_folders: str | None = None
    label_column: str | None = None

    def __str__(self) -> str:
        given = [f"{name}={value}" for name, value in zip(OPTIONS, self[1:], strict=True) if value is not None]
        return "?".join([self.place, *(["&".join(given)] if given else [])])


def parse_source(text: str) -> SourceText:
    """The parts of a source's text."""
    place, *rest = _OPTION.split(text)
    options = dict(zip(rest[::2], rest[1::2], strict=True))
    return SourceText(place, *(options.get(name) for name in OPTIONS))


def source_text(
    data: str | Path | None, *, split_folders: str | None = None, label_column: str | None = None
) -> str | None:
    """The one text of --data, --split-folders and --label-column; None for no --data. Raises InvalidArgument."""
    for flag, value in (("--split-folders", split_folders), ("--label-column", label_column)):
        if value is not None and data is None:
            raise InvalidArgument(f"{flag} says how the images of --data are read, got no --data: give both or neither")
    if data is None:
        return None
    source = parse_source(str(data))
    given = {"split_folders": split_folders, "label_column": label_column}
    return str(source._replace(**{name: value for name, value in given.items() if value is not None}))
