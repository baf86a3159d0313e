"""The text that names a source of images: what --data says, and with it what --split-folders decides.

Both are one text, photos?split-folders=none, so that whatever is kept of a search and whatever goes on with it means
the same images.
"""

import re
from typing import NamedTuple

from searchspace.errors import InvalidArgument

OPTIONS = ("split-folders", "label-column")
_OPTION = re.compile(rf"[?&]({'|'.join(OPTIONS)})=")


class SourceText(NamedTuple):
    """A source and what is decided about it; None where it is to be found out."""

    place: str
    split_folders: str | None = None
    label_column: str | None = None

    def __str__(self) -> str:
        given = [(name, value) for name, value in zip(OPTIONS, self[1:], strict=True) if value is not None]
        marks = "?" + "&" * len(given)
        return self.place + "".join(f"{mark}{name}={value}" for mark, (name, value) in zip(marks, given, strict=False))


def parse_source(text: str) -> SourceText:
    """The parts of a source's text."""
    place, *rest = _OPTION.split(text)
    options = dict(zip(rest[::2], rest[1::2], strict=True))
    return SourceText(place, *(options.get(name) for name in OPTIONS))


def source_text(data: str | None, *, split_folders: str | None = None, label_column: str | None = None) -> str | None:
    """The one text of --data, --split-folders and --label-column. Raises InvalidArgument for an empty or lonely one."""
    for flag, value in (("--split-folders", split_folders), ("--label-column", label_column)):
        if value is not None and (data is None or not value.strip()):
            got = "no --data" if data is None else f"{value!r}"
            raise InvalidArgument(f"{flag} says how the images of --data are read, got {got}: give both or neither")
    if data is None or (split_folders is None and label_column is None):
        return data
    before = parse_source(data)
    return str(SourceText(before.place, split_folders or before.split_folders, label_column or before.label_column))
