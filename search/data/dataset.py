"""Labelled images, split and decoded once: `load` is all that the search knows of where they come from."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from search.data.cache import Record, UnusableCache, cache_folder, read
from search.data.prepare import DigitsTask, ImageTask, Progress, Request, Task
from search.data.readers.listing import PARTS, Part
from search.data.readers.signatures import digest_of
from searchspace.errors import InvalidArgument, StorageError

_VERSION = 1  # of decoding and splitting: a change there makes every cache anew


@dataclass(frozen=True, eq=False)
class Split:
    """Images uint8 (n, resolution, resolution, 3), possibly a read-only memory map, and labels int64 (n,).

    Every beginning of a split holds the classes in their proportions.
    """

    pixels: NDArray[np.uint8] = field(repr=False)
    labels: NDArray[np.int64] = field(repr=False)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images of one task. Label i is `classes[i]`; `skipped` names corrupt images, `notes` is for a person to read.

    fingerprint: of the images' content, labels, splits and resolution; not of their place on disk.
    """

    name: str
    classes: tuple[str, ...]
    resolution: int
    train: Split
    validation: Split
    fingerprint: str
    skipped: tuple[str, ...]
    notes: tuple[str, ...]
    _test: Split = field(repr=False)

    def open_test(self) -> Split:
        """The test split: for the winner, once."""
        return self._test


def load(
    source: str | None = None,
    *,
    resolution: int,
    seed: int = 0,
    images: int | None = None,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """The images of `source` as square uint8 arrays of `resolution` pixels, split by `seed`.

    source: None or "digits" (the embedded task), a folder, .tar, .tar.gz, .tgz or .zip of class folders, a .parquet
    file, or the name of a dataset on the Hugging Face hub. images: at most so many training images. Decoded images are
    kept in `cache_dir` (PHINAS_CACHE, ~/.cache/phinas). progress: called with images done and images in all.
    Raises InvalidArgument, InvalidData (what cannot be used, with the next step), StorageError (the cache's disk).
    """
    for name, value, least in (("resolution", resolution, 1), ("seed", seed, 0), ("images", images, 1)):
        if value is not None and value < least:
            raise InvalidArgument(f"{name} must be an integer of at least {least}, got {value}")
    request = Request(resolution, seed, images)
    task = _task(source)
    path = cache_folder(cache_dir) / "images" / f"{_stem(task, request)}.npy"
    signature = digest_of(_VERSION, task.signature())
    notes: list[str] = []
    try:
        cached = read(path, signature=signature)
    except UnusableCache as error:
        notes.append(f"the cache of decoded images was made anew: {error}")
        cached = None
    if cached is None:
        task.make(path, signature, request, progress or _silent)
        cached = _read_back(path, signature)
    record, pixels = cached
    parts = {part: _split(record, pixels, part) for part in PARTS}
    return Dataset(
        task.name,
        record.classes,
        resolution,
        parts["train"],
        parts["validation"],
        record.fingerprint,
        record.skipped,
        (*record.notes, *notes),
        parts["test"],
    )


def _task(source: str | None) -> Task:
    if source is None or source == "digits":
        return DigitsTask()
    from search.data.readers.sources import open_source

    return ImageTask(open_source(source))


def _stem(task: Task, request: Request) -> str:
    """The cache file's name: the same for the same images, resolution, seed and count, whatever their content."""
    plain = "".join(c if c.isascii() and c.isalnum() else "-" for c in task.name)[:40].strip("-")
    return f"{plain or 'images'}-{request.resolution}px-{digest_of(task.key, *request.identity())}"


def _read_back(path: Path, signature: str) -> tuple[Record, NDArray[np.uint8]]:
    try:
        cached = read(path, signature=signature)
    except UnusableCache as error:
        raise StorageError(f"{path} was written and cannot be read back ({error}): look at the disk") from error
    if cached is None:
        raise StorageError(f"{path} was written and is gone: look at what else writes to that folder")
    return cached


def _split(record: Record, pixels: NDArray[np.uint8], part: Part) -> Split:
    labels = np.array(record.labels[part], np.int64)
    start = record.starts[part]
    return Split(pixels[start : start + len(labels)], labels)


def _silent(done: int, total: int) -> None:
    """No progress wanted."""
