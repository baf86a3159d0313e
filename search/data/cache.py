"""Decoded images on disk: an .npy of uint8 pixels that is memory-mapped, and a .json beside it with all else.

The .json is written last and names the size, time and checksum of the .npy, so that a half-written, damaged or
foreign pair is noticed and made again.
"""

import errno
import io
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from search.data.source import Record, digest_of
from searchspace.errors import StorageError
from searchspace.files import atomic_path, storage_error, write_atomic


class UnusableCache(Exception):
    """The cache must be made again; the message says why."""


class PixelFile:
    """An .npy file (rows, resolution, resolution, 3) uint8 being filled, from any thread, in any order.

    Rows are written, not memory-mapped: on a full disk a mapped write would kill the process.
    """

    def __init__(self, file: int, rows: int, resolution: int) -> None:
        self._file, self.resolution = file, resolution
        self._shape = (resolution, resolution, 3)
        self._row_bytes = resolution * resolution * 3
        header = io.BytesIO()
        about = {"descr": "|u1", "fortran_order": False, "shape": (rows, *self._shape)}
        np.lib.format.write_array_header_1_0(header, about)
        self._offset = header.tell()
        self._write(header.getvalue(), 0)
        _reserve(file, self._offset + rows * self._row_bytes)

    def put(self, row: int, pixels: NDArray[np.uint8]) -> None:
        """Keep one image (resolution, resolution, 3), or several (n, resolution, resolution, 3) from `row` on."""
        if pixels.shape[-3:] != self._shape or pixels.dtype != np.uint8:
            raise ValueError(f"pixels must be uint8 {self._shape}, got {pixels.dtype} {pixels.shape}")
        self._write(np.ascontiguousarray(pixels).data.cast("B"), self._offset + row * self._row_bytes)

    def move(self, source: int, target: int) -> None:
        """Copy the image of one row over that of another."""
        data = os.pread(self._file, self._row_bytes, self._offset + source * self._row_bytes)
        self._write(data, self._offset + target * self._row_bytes)

    def _write(self, data: bytes | memoryview, offset: int) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._file, view, offset)
            view, offset = view[written:], offset + written


@contextmanager
def new_pixels(path: Path, *, rows: int, resolution: int) -> Iterator[PixelFile]:
    """A pixel file that replaces `path` once it is filled. Raises StorageError (read-only or full disk)."""
    with _explained(), atomic_path(path) as temp:
        file = os.open(temp, os.O_RDWR)
        try:
            yield PixelFile(file, rows, resolution)
        finally:
            os.close(file)


def write_record(path: Path, record: Record, *, signature: str) -> None:
    """Make the pixels at `path` valid, as those of a source of this `signature`. Raises StorageError."""
    with _explained():
        try:
            status = os.stat(path)
            checksum = _checksum(path)
        except OSError as error:
            raise storage_error("read", path, error) from error
        content = {**asdict(record), "signature": signature}
        pixels = {"size_bytes": status.st_size, "time_ns": status.st_mtime_ns, "crc32": checksum}
        text = json.dumps({"record": content, "pixels": pixels, "digest": digest_of(content, pixels)})
        write_atomic(path.with_suffix(".json"), text)


def read(path: Path, *, signature: str) -> tuple[Record, NDArray[np.uint8]] | None:
    """The record and the memory-mapped pixels; None if there is no cache yet. Raises UnusableCache."""
    if not path.exists() and not path.with_suffix(".json").exists():
        return None
    try:
        stored = json.loads(path.with_suffix(".json").read_bytes())
        if stored["digest"] != digest_of(stored["record"], stored["pixels"]):
            raise UnusableCache("its checksum is wrong")
        if stored["record"].pop("signature") != signature:
            raise UnusableCache("the images have changed since, or how they are read")
        tuples = {key: tuple(stored["record"][key]) for key in ("classes", "skipped", "notes")}
        record = Record(**{**stored["record"], **tuples})
        status, known = os.stat(path), stored["pixels"]
        if status.st_size != known["size_bytes"]:
            raise UnusableCache("it is cut short or overwritten")
        # An untouched file is trusted; one touched since is read through.
        if status.st_mtime_ns != known["time_ns"] and _checksum(path) != known["crc32"]:
            raise UnusableCache("it is damaged or overwritten")
        pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise UnusableCache("a part of it is missing") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UnusableCache("it is damaged") from error
    return record, pixels


def cache_folder(folder: Path | None) -> Path:
    """Where caches stand: `folder`, else PHINAS_CACHE, else ~/.cache/phinas."""
    return Path(folder or os.environ.get("PHINAS_CACHE") or "~/.cache/phinas").expanduser()


def _checksum(path: Path) -> int:
    return zlib.crc32(np.memmap(path, np.uint8, mode="r").data)


def _reserve(file: int, size_bytes: int) -> None:
    """Make the file so long, now and not after hours of decoding; OSError if the disk has no room for it."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file, 0, size_bytes)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):  # some network disks cannot reserve
                raise
    os.ftruncate(file, size_bytes)


@contextmanager
def _explained() -> Iterator[None]:
    """Say which setting moves the cache when the disk refuses it."""
    try:
        yield
    except StorageError as error:
        raise StorageError(f"{error} (decoded images are kept there; PHINAS_CACHE names another folder)") from error
