"""The files of a folder, .tar or .zip by their paths, each read alone and by several threads at once."""

import gzip
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, cast

from search.data.readers.archives import TarSource, ZipSource
from search.data.readers.files import DAMAGE, MAX_IMAGE_BYTES, NOWHERE
from search.data.readers.folders import FolderSource
from search.data.readers.junk import visible
from search.data.readers.layout import File, is_image
from search.data.readers.names import read_parts
from search.data.source import Part, TooLarge, digest_of, one_line, printable
from searchspace.errors import InvalidData

# Words of formats in the names of files and folders; what is left may name a split.
_FORMAT_WORDS = re.compile(
    r"instances?|annotations?|coco|labels?|bbox(es)?|boxes|detections?|xmls?|info", re.IGNORECASE
)


class Tree:
    """All files but those of the system and of this program, links among them. Raises InvalidData."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self._source = _source_of(self.path)
        files = self._source.files()
        kept = set(visible([file.path for file in files], (), is_image=is_image).files)
        self.files: Mapping[str, File] = {file.path: file for file in files if file.path in kept}

    def __str__(self) -> str:
        return f"the {'folder' if isinstance(self._source, FolderSource) else 'archive'} {printable(str(self.path))}"

    @cached_property
    def images(self) -> tuple[str, ...]:
        """The paths of all images, sorted."""
        return tuple(sorted(path for path in self.files if is_image(path)))

    def ending(self, *suffixes: str) -> list[str]:
        """The paths that end so, sorted."""
        return sorted(path for path in self.files if path.lower().endswith(suffixes))

    def signature(self, paths: Sequence[str]) -> str:
        """A text that changes when one of these files may have: by names, sizes and times, of an archive by its own."""
        if not isinstance(self._source, FolderSource):
            return digest_of(self._source.signature(), list(paths))
        return digest_of([[path, self.files[path].size_bytes, _changed_ns(self.path / path)] for path in paths])

    def read(self, path: str, *, most: int = MAX_IMAGE_BYTES) -> bytes:
        """A file's bytes. Raises OSError and whatever a damaged archive raises (`files.DAMAGE`)."""
        file = self.files[path]
        if file.at == NOWHERE:
            raise OSError("a link to nothing")
        if file.size_bytes > most:
            raise TooLarge(f"larger than {most >> 20} MiB: make it smaller")
        if isinstance(self._source, FolderSource):
            return Path(self.path, path).read_bytes()
        if isinstance(self._source, ZipSource):
            return self._zip.read(self._zip.infolist()[file.at])
        data = os.pread(self._tar.fileno(), file.size_bytes, file.at)
        if len(data) < file.size_bytes:
            raise OSError("the archive ends within the file")
        return data

    def text(self, path: str, *, most: int) -> str:
        """A small file as text. Raises InvalidData naming it."""
        try:
            return self.read(path, most=most).decode("utf-8-sig")
        except DAMAGE as error:
            raise InvalidData(
                f"{printable(path)} of {self} must be a text of UTF-8 ({one_line(error)}): mend it or take it out"
            ) from error

    @cached_property
    def _zip(self) -> zipfile.ZipFile:
        return zipfile.ZipFile(self.path)

    @cached_property
    def _tar(self) -> BinaryIO:
        """The archive; a compressed one is unpacked into a temporary file once, to be read in any order."""
        with open(self.path, "rb") as file:
            compressed = file.read(2) == b"\x1f\x8b"
        if not compressed:
            return open(self.path, "rb")
        whole = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 - read as long as the tree is
        with gzip.open(self.path) as packed:
            shutil.copyfileobj(packed, whole)
        whole.flush()
        return whole


def _changed_ns(path: Path) -> int:
    """When a file was changed; 0 for a link to nothing."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _source_of(path: Path) -> FolderSource | TarSource | ZipSource:
    if path.is_dir():
        return FolderSource(path)
    reader = next((one for one in (TarSource, ZipSource) if path.name.lower().endswith(one.suffixes)), None)
    if reader is None or not path.is_file():
        raise InvalidData(
            f"images with boxes come from a folder, .tar, .tar.gz, .tgz or .zip that exists, or a data.yaml or COCO "
            f".json within one, got {printable(str(path))}: give one of those, or leave --data out for digits"
        )
    return reader(path)


def part_of(path: str) -> Part | None:
    """The split that a file's name or a folder above it names: instances_val2017.json, train/_annotations.coco.json."""
    folders, _, name = path.rpartition("/")
    for step in (name.partition(".")[0], *reversed(folders.split("/"))):
        parts = read_parts([_FORMAT_WORDS.sub(" ", step)])
        if parts:
            return next(iter(parts.values()))
    return None
