"""Class folders inside an archive, read member by member; nothing is ever extracted to disk.

`datasets` would unpack 50,000 files first and hide which are corrupt, so members are read straight from the archive.
"""

import gzip
import os
import posixpath
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Self, cast

from search.data.readers.layout import File, arrange
from search.data.readers.listing import MAX_IMAGE_BYTES, Item, Listing, one_line, printable
from search.data.readers.signatures import file_signature
from searchspace.errors import InvalidData

_NOWHERE = -1  # the address of a link that leads to no file of the archive
_LINK_HOPS = 8
# What tarfile, zipfile and zlib raise on damaged input.
_DAMAGE = (
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


class _ArchiveSource:
    """What tar and zip share."""

    def __init__(self, path: Path) -> None:
        self._path = path.resolve()

    @property
    def name(self) -> str:
        """The archive's file name."""
        return self._path.name

    @property
    def key(self) -> str:
        """The archive's full path."""
        return os.fspath(self._path)

    def signature(self) -> str:
        """From the archive's size and time of change."""
        return file_signature(self._path)

    def listing(self) -> Listing:
        """Every image below the class folders. Raises InvalidData (damaged archive, paths or links that leave it)."""
        try:
            files, folders = self._scan()
        except _DAMAGE as error:
            raise InvalidData(
                f"{self._path} must be a whole archive and is truncated or damaged ({one_line(error)}): "
                "copy or download it again, or pack it anew"
            ) from error
        return arrange(files, folders, where=f"the archive {self._path}")

    def _scan(self) -> tuple[list[File], list[str]]:
        raise NotImplementedError

    def _safe(self, name: str) -> str:
        """A member's path, normalised. Raises InvalidData if it leaves the archive's folder."""
        normal = posixpath.normpath(name)
        if name.startswith("/") or re.match(r"[A-Za-z]:", name) or normal.split("/")[0] == ".." or "\0" in name:
            raise InvalidData(
                f"{self._path}: every member must stay inside the archive's folder, got {printable(name)!r}; "
                "nothing was read. Do not trust this archive, or pack it anew with relative paths"
            )
        return "" if normal == "." else normal

    def _link(self, path: str, target: str) -> str:
        """Where a symbolic link of the archive leads, normalised. Raises InvalidData if that is outside."""
        if target.startswith("/"):
            return self._safe(target)
        return self._safe(posixpath.join(posixpath.dirname(path), target))


class TarSource(_ArchiveSource):
    """A .tar of class folders, as it is or compressed by gzip."""

    def read(self, items: Sequence[Item]) -> Iterator[tuple[Item, bytes | Exception]]:
        """Each member's bytes, in the order of the archive: a compressed one is decompressed once."""
        with self._open() as file:
            for item in sorted(items, key=lambda item: item.at):
                problem = _unreadable(item)
                if problem is not None:
                    yield item, problem
                    continue
                try:
                    file.seek(item.at)
                    data = file.read(item.size_bytes)
                except _DAMAGE as error:
                    yield item, error
                else:
                    yield item, data

    def _scan(self) -> tuple[list[File], list[str]]:
        files: dict[str, File] = {}
        folders: list[str] = []
        links: dict[str, str] = {}
        with self._open() as file, tarfile.TarFile(fileobj=file, tarinfo=_StrictTarInfo) as archive:
            for member in archive:
                path = self._safe(member.name)
                if member.isreg():
                    files[path] = File(path, member.size, member.offset_data)
                elif member.isdir():
                    folders.append(path)
                elif member.issym():
                    links[path] = self._link(path, member.linkname)
                elif member.islnk():
                    links[path] = self._safe(member.linkname)
            while file.read(1 << 20):
                pass  # to the end, so that a compressed archive's own checksum is checked
        return _resolved(files, links), folders

    def _open(self) -> BinaryIO:
        with open(self._path, "rb") as file:
            compressed = file.read(2) == b"\x1f\x8b"
        return cast(BinaryIO, gzip.open(self._path)) if compressed else open(self._path, "rb")


class ZipSource(_ArchiveSource):
    """A .zip of class folders."""

    def read(self, items: Sequence[Item]) -> Iterator[tuple[Item, bytes | Exception]]:
        """Each member's bytes, in the order of the archive; a wrong checksum is told for that member alone."""
        with zipfile.ZipFile(self._path) as archive:
            members = archive.infolist()
            for item in sorted(items, key=lambda item: item.at):
                problem = _unreadable(item)
                if problem is not None:
                    yield item, problem
                    continue
                try:
                    data = archive.read(members[item.at])
                except _DAMAGE as error:
                    yield item, error
                else:
                    yield item, data

    def _scan(self) -> tuple[list[File], list[str]]:
        files: dict[str, File] = {}
        folders: list[str] = []
        links: dict[str, str] = {}
        with zipfile.ZipFile(self._path) as archive:
            for at, member in enumerate(archive.infolist()):
                path = self._safe(member.filename.replace("\\", "/"))
                if member.flag_bits & 1:
                    raise InvalidData(f"{self._path} must not be encrypted: pack it anew without a password")
                if member.is_dir():
                    folders.append(path)
                elif stat.S_ISLNK(member.external_attr >> 16):
                    target = archive.read(member) if member.file_size < 4096 else b"/"
                    links[path] = self._link(path, os.fsdecode(target))
                else:
                    files[path] = File(path, member.file_size, at)
        return _resolved(files, links), folders


class _StrictTarInfo(tarfile.TarInfo):
    """tarfile takes a damaged or missing header for the end of the archive; here only the end marker is the end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        if len(buf) < tarfile.BLOCKSIZE:
            raise tarfile.ReadError("the end marker is missing" if not buf else "it ends within a header")
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if not any(buf):
                raise
            raise tarfile.ReadError(str(error)) from error


def _unreadable(item: Item) -> Exception | None:
    if item.at == _NOWHERE:
        return OSError("a link to nothing")
    if item.size_bytes > MAX_IMAGE_BYTES:
        return OSError(f"larger than {MAX_IMAGE_BYTES >> 20} MiB")
    return None


def _resolved(files: dict[str, File], links: dict[str, str]) -> list[File]:
    """The files, and every link as another name of the file that it leads to."""
    result = list(files.values())
    for path, target in links.items():
        for _ in range(_LINK_HOPS):
            target = links.get(target, target)
        file = files.get(target)
        result.append(File(path, file.size_bytes, file.at) if file else File(path, 0, _NOWHERE))
    return result
