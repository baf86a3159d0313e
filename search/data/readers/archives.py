"""Class folders inside an archive, read member by member; nothing is extracted to disk.

`datasets` would unpack 50,000 files first and hide which are corrupt, so members are read straight from the archive.
"""

import gzip
import os
import posixpath
import re
import stat
import tarfile
import zipfile
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO, Self, cast

from search.data.readers.files import DAMAGE, NOWHERE, FileSource, read_each
from search.data.readers.layout import File, arrange, labels_hint
from search.data.source import Content, Item, Listing, one_line, printable
from searchspace.errors import InvalidData

_LINK_HOPS = 8


class _ArchiveSource(FileSource):
    """What tar and zip share."""

    def listing(self) -> Listing:
        """Every image below the class folders. Raises InvalidData (damaged archive, paths or links that leave it)."""
        folders: list[str] = []
        files = self._found(folders)
        try:
            return arrange(files, folders, where=f"the archive {self.path}", choice=self.choice)
        except InvalidData as error:
            hint = labels_hint([file.path for file in files], unpack=True)
            if not hint:
                raise
            raise InvalidData(f"{error}; {hint}") from error

    def files(self) -> list[File]:
        """Every file, links among them. Raises InvalidData as `listing`."""
        return self._found([])

    def _found(self, folders: list[str]) -> list[File]:
        links: dict[str, str] = {}
        try:
            files = self._scan(folders, links)
        except DAMAGE as error:
            raise InvalidData(
                f"{self.path} must be a whole archive and is truncated or damaged ({one_line(error)}): "
                "copy or download it again, or pack it anew"
            ) from error
        return _with_links(files, links)

    @abstractmethod
    def _scan(self, folders: list[str], links: dict[str, str]) -> dict[str, File]:
        """The files by path; folders, and links with where they lead, are added to the arguments."""

    def _safe(self, name: str) -> str:
        """A member's path, normalised. Raises InvalidData if it leaves the archive's folder."""
        normal = posixpath.normpath(name)
        if name.startswith("/") or re.match(r"[A-Za-z]:", name) or normal.split("/")[0] == ".." or "\0" in name:
            raise InvalidData(
                f"{self.path}: every member must stay inside the archive's folder, got {printable(name)!r}; "
                "nothing was read. Do not trust this archive, or pack it anew with relative paths"
            )
        return "" if normal == "." else normal

    def _link(self, path: str, target: str) -> str:
        """Where a symbolic link of the archive leads, normalised. Raises InvalidData if that is outside."""
        return self._safe(target if target.startswith("/") else posixpath.join(posixpath.dirname(path), target))


class TarSource(_ArchiveSource):
    """A .tar of class folders, as it is or compressed by gzip."""

    suffixes = (".tar", ".tar.gz", ".tgz")

    def read(self, items: Sequence[Item]) -> Iterator[Content]:
        """Each member's bytes, in the order of the archive: a compressed one is decompressed once."""
        with self._open() as file:

            def content(item: Item) -> bytes:
                file.seek(item.at)
                return file.read(item.size_bytes)

            yield from read_each(sorted(items, key=lambda item: item.at), content)

    def _scan(self, folders: list[str], links: dict[str, str]) -> dict[str, File]:
        files: dict[str, File] = {}
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
        return files

    def _open(self) -> BinaryIO:
        with open(self.path, "rb") as file:
            compressed = file.read(2) == b"\x1f\x8b"
        return cast(BinaryIO, gzip.open(self.path)) if compressed else open(self.path, "rb")


class ZipSource(_ArchiveSource):
    """A .zip of class folders."""

    suffixes = (".zip",)

    def read(self, items: Sequence[Item]) -> Iterator[Content]:
        """Each member's bytes, in the order of the archive; a wrong checksum is told for that member alone."""
        with zipfile.ZipFile(self.path) as archive:
            members = archive.infolist()
            yield from read_each(sorted(items, key=lambda item: item.at), lambda item: archive.read(members[item.at]))

    def _scan(self, folders: list[str], links: dict[str, str]) -> dict[str, File]:
        files: dict[str, File] = {}
        with zipfile.ZipFile(self.path) as archive:
            for at, member in enumerate(archive.infolist()):
                path = self._safe(member.filename.replace("\\", "/"))
                if member.flag_bits & 1:
                    raise InvalidData(f"{self.path} must not be encrypted: pack it anew without a password")
                if member.is_dir():
                    folders.append(path)
                elif stat.S_ISLNK(member.external_attr >> 16):
                    target = archive.read(member) if member.file_size < 4096 else b"/"
                    links[path] = self._link(path, os.fsdecode(target))
                else:
                    files[path] = File(path, member.file_size, at)
        return files


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


def _with_links(files: Mapping[str, File], links: Mapping[str, str]) -> list[File]:
    """The files, and every link as another name of the file that it leads to."""
    result = list(files.values())
    for path, target in links.items():
        for _ in range(_LINK_HOPS):
            target = links.get(target, target)
        file = files.get(target)
        result.append(File(path, file.size_bytes, file.at) if file else File(path, 0, NOWHERE))
    return result
