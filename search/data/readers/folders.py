"""Class folders on disk."""

import os
import stat
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from search.data.readers.layout import File, arrange
from search.data.readers.listing import MAX_IMAGE_BYTES, Item, Listing
from search.data.readers.signatures import digest_of
from searchspace.errors import InvalidData


class FolderSource:
    """A folder of class folders. Links are followed, each folder once."""

    def __init__(self, path: Path) -> None:
        self._path = path.resolve()

    @property
    def name(self) -> str:
        """The folder's name."""
        return self._path.name

    @property
    def key(self) -> str:
        """The folder's full path."""
        return os.fspath(self._path)

    def signature(self) -> str:
        """From every file's path, size and time of change."""
        files, folders, times_ns = self._walked
        rows = [[file.path, file.size_bytes, time_ns] for file, time_ns in zip(files, times_ns, strict=True)]
        return digest_of(rows, folders)

    def listing(self) -> Listing:
        """Every image below the class folders. Raises InvalidData."""
        files, folders, _ = self._walked
        return arrange(files, folders, where=f"the folder {self._path}")

    def read(self, items: Sequence[Item]) -> Iterator[tuple[Item, bytes | Exception]]:
        """Each file's bytes, in the order of names."""
        for item in sorted(items, key=lambda item: item.name):
            try:
                if item.size_bytes > MAX_IMAGE_BYTES:
                    raise OSError(f"larger than {MAX_IMAGE_BYTES >> 20} MiB")
                yield item, (self._path / item.name).read_bytes()
            except OSError as error:
                yield item, error

    @cached_property
    def _walked(self) -> tuple[list[File], list[str], list[int]]:
        """Files, folders and the files' times of change in ns, sorted by path."""

        def refuse(error: OSError) -> None:
            raise InvalidData(
                f"every folder of {self._path} must be readable, got {error.filename}: {error.strerror}; "
                "change its permissions, or give another folder"
            ) from error

        found: list[tuple[File, int]] = []
        folders: list[str] = []
        seen: set[tuple[int, int]] = set()
        for base, below, names in os.walk(self._path, followlinks=True, onerror=refuse):
            status = os.stat(base)
            if (status.st_dev, status.st_ino) in seen:
                below.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            below[:] = sorted(name for name in below if not name.startswith("."))
            relative = os.path.relpath(base, self._path).replace(os.sep, "/")
            prefix = "" if relative == "." else f"{relative}/"
            folders += [prefix + name for name in below]
            looked = (_stat(os.path.join(base, name), prefix + name) for name in names)
            found += [pair for pair in looked if pair is not None]
        found.sort(key=lambda pair: pair[0].path)
        return [file for file, _ in found], sorted(folders), [time_ns for _, time_ns in found]


def _stat(full: str, path: str) -> tuple[File, int] | None:
    """A file and its time of change; None for what is no plain file, since reading a pipe would never end.

    A link to nothing has size 0; it cannot be read later and is named then.
    """
    try:
        status = os.stat(full)
    except OSError:
        return File(path, 0, 0), 0
    if not stat.S_ISREG(status.st_mode):
        return None
    return File(path, status.st_size, 0), status.st_mtime_ns
