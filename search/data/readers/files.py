"""What sources on disk share."""

import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import ClassVar

from search.data.prepare import EncodedSource
from search.data.readers.choice import parse_choice
from search.data.source import Content, Item, TooLarge, digest_of
from search.sources import SourceText
from searchspace.files import full_path

MAX_IMAGE_BYTES = 256 * 2**20  # a larger file is no photograph: it is never read
NOWHERE = -1  # the address of a link that leads to no file
# What tarfile, zipfile, zlib and the disk raise on damaged input.
DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    ArithmeticError,
    LookupError,
)


class FileSource(EncodedSource):
    """Images in one file or folder on disk. `suffixes` are those of the files that a subclass reads.

    `how`: what a person decided about it (see `search.sources`), such as its `split_folders`. Raises InvalidArgument.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()

    def __init__(self, path: Path, how: SourceText | None = None) -> None:
        self.path = full_path(path)
        self.how = SourceText("") if how is None else how
        self.choice = parse_choice(self.how.split_folders)
        super().__init__(self.path.name, str(self.how._replace(place=os.fspath(self.path))))

    def signature(self) -> str:
        """From the file's size and time of change."""
        status = os.stat(self.path)
        return digest_of(status.st_size, status.st_mtime_ns)


def read_each(items: Iterable[Item], content: Callable[[Item], bytes]) -> Iterator[Content]:
    """Each item with `content(item)`, or with the error that it raised; links to nothing and giants are not read."""
    for item in items:
        data: bytes | Exception
        try:
            if item.at == NOWHERE:
                raise OSError("a link to nothing")
            if item.size_bytes > MAX_IMAGE_BYTES:
                raise TooLarge(f"larger than {MAX_IMAGE_BYTES >> 20} MiB: make it smaller")
            data = content(item)
        except DAMAGE as error:
            data = error
        yield item, data
