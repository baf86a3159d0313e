"""`load`: labelled images from anywhere, split and decoded once. It is all that a search knows of their source."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from search.data.cache import UnusableCache, cache_folder, read, write_record
from search.data.readers.registry import open_source
from search.data.source import PARTS, Part, Progress, Record, Request, Source, digest_of
from searchspace.errors import InvalidArgument, StorageError

_VERSION = 4  # of decoding and splitting: after a change there every cache is made anew


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
    """The images of one task. Label i means `classes[i]`.

    `skipped` names corrupt images; `notes` are sentences for a person. `fingerprint` is of the images' content,
    labels, splits and resolution, not of their place on disk. `contents` has the digest of each image's file by its
    name; it is empty for drawn images.
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
    contents: Mapping[str, str] = field(default_factory=dict, repr=False)

    def open_test(self) -> Split:
        """The test split: for the winner, once."""
        return self._test


def load(
    source: str | Source | None = None,
    *,
    resolution: int,
    seed: int = 0,
    images: int | None = None,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """The images of `source` as square uint8 arrays of `resolution` pixels, split by `seed`.

    Args:
        source: None or "digits" (the embedded task; "digits:N" draws N training images); a folder, .tar, .tar.gz, .tgz
            or .zip of class folders; a .parquet file or a folder of them; a .csv, .tsv or .jsonl of paths and labels;
            the name of a dataset on the Hugging Face hub; with what is decided about them
            (photos?split-folders=none, see `search.sources`); or a `Source`.
        resolution: width and height in pixels.
        seed: of the splits, and of what the embedded task draws.
        images: the most training images; None for all.
        cache_dir: where decoded images are kept; None for the environment's PHINAS_CACHE or ~/.cache/phinas.
        progress: called with the images done and the images in all.

    Raises:
        InvalidArgument: a number is out of range.
        InvalidData: the images cannot be used; the message says what to do.
        StorageError: the disk of the cache refuses.
    """
    for name, value, least in (("resolution", resolution, 1), ("seed", seed, 0), ("images", images, 1)):
        if value is not None and value < least:
            raise InvalidArgument(f"{name} must be an integer of at least {least}, got {value}")
    request = Request(resolution, seed, images)
    if source is None or isinstance(source, str):
        source = open_source(source)
    path = cache_folder(cache_dir) / "images" / f"{_stem(source, request)}.npy"
    signature = digest_of(_VERSION, source.signature())
    notes: list[str] = []
    try:
        cached = read(path, signature=signature)
    except UnusableCache as error:
        notes.append(f"the cache of decoded images was made anew: {error}")
        cached = None
    if cached is None:
        record = source.prepare(path, request, progress or (lambda done, total: None))
        write_record(path, record, signature=signature)
        try:
            cached = read(path, signature=signature)
        except UnusableCache as error:
            raise StorageError(f"{path} was written and cannot be read back ({error}): look at the disk") from error
        if cached is None:
            raise StorageError(f"{path} was written and is gone: look at what else writes to that folder")
    record, pixels = cached
    train, validation, test = (_split(record, pixels, part) for part in PARTS)
    return Dataset(
        name=source.name,
        classes=record.classes,
        resolution=resolution,
        train=train,
        validation=validation,
        fingerprint=record.fingerprint,
        skipped=record.skipped,
        notes=(*record.notes, *notes),
        _test=test,
        contents=record.contents,
    )


def _stem(source: Source, request: Request) -> str:
    """The cache file's name: the same for the same images, resolution, seed and count, whatever their content."""
    plain = "".join(c if c.isascii() and c.isalnum() else "-" for c in source.name)[:40].strip("-")
    return f"{plain or 'images'}-{request.resolution}px-{digest_of(source.key, *request)}"


def _split(record: Record, pixels: NDArray[np.uint8], part: Part) -> Split:
    labels, start = np.array(record.labels[part], np.int64), record.starts[part]
    return Split(pixels[start : start + len(labels)], labels)
