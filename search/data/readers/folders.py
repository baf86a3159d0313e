"""Class folders on disk."""

import os
import stat
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from search.data.readers.files import FileSource, read_each
from search.data.readers.junk import is_junk, visible
from search.data.readers.layout import File, arrange, is_image, labels_hint
from search.data.source import Content, Item, Listing, digest_of
from searchspace.errors import InvalidData


class FolderSource(FileSource):
    """A folder of class folders. Links are followed, each folder once."""

    def signature(self) -> str:
        """From the path, size and time of change of every image that is listed. Raises InvalidData."""
        _, _, times_ns = self._walked
        return digest_of([[item.name, item.size_bytes, times_ns[item.name]] for item in self._listing.items])

    def listing(self) -> Listing:
        """Every image below the class folders. Raises InvalidData."""
        return self._listing

    def files(self) -> list[File]:
        """Every file but in hidden and system folders, sorted by path. Raises InvalidData."""
        return self._walked[0]

    def images(self) -> list[str]:
        """The paths of all images but junk, whether they have a label or not. Raises InvalidData."""
        return [path for path in self._visible if is_image(path)]

    def tables(self) -> list[str]:
        """The paths of parquet files, where there are no images. Raises InvalidData."""
        found = [path for path in self._visible if path.lower().endswith(".parquet")]
        return [] if self.images() else found

    def metadata(self) -> str | None:
        """The table that `datasets` writes beside images that stand in no folders. Raises InvalidData."""
        found = [path for path in self._visible if path in ("metadata.csv", "metadata.jsonl")]
        return found[0] if len(found) == 1 and not any("/" in path for path in self.images()) else None

    @cached_property
    def _visible(self) -> list[str]:
        files, _, _ = self._walked
        return visible([file.path for file in files], (), is_image=is_image).files

    @cached_property
    def _listing(self) -> Listing:
        files, folders, _ = self._walked
        try:
            return arrange(files, folders, where=f"the folder {self.path}", choice=self.choice)
        except InvalidData as error:
            hint = labels_hint([file.path for file in files])
            if not hint:
                raise
            raise InvalidData(f"{error}; {hint}") from error

    def read(self, items: Sequence[Item]) -> Iterator[Content]:
        """Each file's bytes, in the order of names."""
        return read_each(
            sorted(items, key=lambda item: item.name), lambda item: Path(self.path, item.name).read_bytes()
        )

    @cached_property
    def _walked(self) -> tuple[list[File], list[str], dict[str, int]]:
        """Files and folders, sorted by path, and by path the files' times of change in ns."""

        def refuse(error: OSError) -> None:
            raise InvalidData(
                f"every folder of {self.path} must be readable, got {error.filename}: {error.strerror}; "
                "change its permissions, or give another folder"
            ) from error

        found: list[tuple[File, int]] = []
        folders: list[str] = []
        seen: set[tuple[int, int]] = set()
        for base, below, names in os.walk(self.path, followlinks=True, onerror=refuse):
            status = os.stat(base)
            if (status.st_dev, status.st_ino) in seen:
                below.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            below[:] = sorted(name for name in below if not is_junk(name))
            relative = os.path.relpath(base, self.path).replace(os.sep, "/")
            prefix = "" if relative == "." else f"{relative}/"
            folders += [prefix + name for name in below]
            stats = (_stat(os.path.join(base, name), prefix + name) for name in names)
            found += [pair for pair in stats if pair is not None]
        found.sort(key=lambda pair: pair[0].path)
        return [file for file, _ in found], sorted(folders), {file.path: time_ns for file, time_ns in found}


def _stat(full: str, path: str) -> tuple[File, int] | None:
    """A file and its time of change; None for what is no plain file, since reading a pipe would never end.

    A link to nothing has size 0; reading it fails later and names it then.
    """
    try:
        status = os.stat(full)
    except OSError:
        return File(path, 0, 0), 0
    if not stat.S_ISREG(status.st_mode):
        return None
    return File(path, status.st_size, 0), status.st_mtime_ns
