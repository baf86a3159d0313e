"""Filling the cache: list, split, decode, and name what was skipped."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from search.data.cache import PixelFile, Record, new_pixels, write_record
from search.data.decode import content_digest, decode_all, has_image_header
from search.data.readers.listing import PARTS, Item, Part, Source, printable, some
from search.data.readers.signatures import digest_of
from search.data.splits import Splits, split
from searchspace.errors import InvalidData

Progress = Callable[[int, int], None]
_CORRUPT_SHARE = 0.01


@dataclass(frozen=True)
class Request:
    """How the images are wanted."""

    resolution: int
    seed: int
    images: int | None

    def identity(self) -> list[int | None]:
        """As plain values, for digests."""
        return [self.resolution, self.seed, self.images]


class Task(Protocol):
    """Images with labels that can be brought into the cache."""

    @property
    def name(self) -> str:
        """A short name for people."""

    @property
    def key(self) -> str:
        """What tells this task from every other."""

    def signature(self) -> str:
        """Changes when the images may have changed. Raises InvalidData."""

    def make(self, path: Path, signature: str, request: Request, progress: Progress) -> None:
        """Write the cache. Raises InvalidData, StorageError."""


class DigitsTask:
    """The embedded task."""

    name = "digits"
    key = "embedded:digits"

    def signature(self) -> str:
        """From the generator's own code."""
        from search.data import digits

        return hashlib.blake2b(Path(digits.__file__).read_bytes(), digest_size=8).hexdigest()

    def make(self, path: Path, signature: str, request: Request, progress: Progress) -> None:
        """Draw the digits into the cache. Raises InvalidArgument, StorageError."""
        from search.data import digits

        counts = dict(digits.DEFAULT_COUNTS)
        counts["train"] = request.images or counts["train"]
        starts: dict[Part, int] = {}
        labels: dict[Part, list[int]] = {}
        total = sum(counts.values())
        progress(0, total)
        with new_pixels(path, rows=total, resolution=request.resolution) as pixels:
            for part in PARTS:
                starts[part] = sum(map(len, labels.values()))
                drawn, own = digits.generate(
                    split=part, count=counts[part], resolution=request.resolution, seed=request.seed
                )
                pixels.put(starts[part], drawn)
                labels[part] = own.tolist()
                progress(starts[part] + len(own), total)
        fingerprint = digest_of(self.key, signature, request.identity(), counts)
        notes = ("real handwriting in clutter; each split draws on writing of its own",)
        write_record(path, Record(signature, digits.CLASSES, starts, labels, fingerprint, (), notes))


class ImageTask:
    """Images of a source."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.name = printable(source.name)
        self.key = printable(source.key)

    def signature(self) -> str:
        """From the source's. Raises InvalidData."""
        return self._source.signature()

    def make(self, path: Path, signature: str, request: Request, progress: Progress) -> None:
        """List, split and decode the images into the cache. Raises InvalidData, StorageError."""
        listing = self._source.listing()
        content = self._twins(listing.items)
        splits = split(listing.items, seed=request.seed, content=content, images=request.images, where=self.name)
        starts, rows = _rows(splits)
        progress(0, len(rows))
        with new_pixels(path, rows=len(rows), resolution=request.resolution) as pixels:
            outcome = decode_all(
                self._source.read([item for part in PARTS for item in splits.parts[part]]),
                rows,
                request.resolution,
                pixels,
                stop_above=int(_CORRUPT_SHARE * len(rows)),
                progress=lambda done: progress(done, len(rows)),
            )
            _check_corrupt(outcome.corrupt, len(rows), self.name)
            kept = {part: _close_gaps(pixels, starts[part], splits.parts[part], outcome.corrupt) for part in PARTS}
        _check_present(kept, listing.classes, self.name)
        label = {name: at for at, name in enumerate(listing.classes)}
        record = Record(
            signature,
            tuple(map(printable, listing.classes)),
            starts,
            {part: [label[item.label] for item in items] for part, items in kept.items()},
            _fingerprint(kept, outcome.digests, listing.classes, request.resolution),
            tuple(sorted(map(printable, outcome.corrupt))),
            (*listing.notes, *splits.notes, *_corrupt_notes(outcome.corrupt)),
        )
        write_record(path, record)

    def _twins(self, items: Sequence[Item]) -> dict[str, str]:
        """The digest of every image that may have a byte-identical twin: only files of one size can be.

        Copies of what is no image, such as a saved error page, are no twins: each is a corrupt image of its own.
        """
        by_size: dict[int, list[Item]] = defaultdict(list)
        for item in items:
            by_size[item.size_bytes].append(item)
        alike = [item for own in by_size.values() if len(own) > 1 for item in own]
        found: dict[str, str] = {}
        is_image: dict[str, bool | None] = {}  # by digest; None until it is seen twice
        for item, data in self._source.read(alike):
            if isinstance(data, bytes):
                digest = found[item.name] = content_digest(data)
                if digest not in is_image:
                    is_image[digest] = None
                elif is_image[digest] is None:
                    is_image[digest] = has_image_header(data)
        return {name: digest for name, digest in found.items() if is_image[digest] is not False}


def _rows(splits: Splits) -> tuple[dict[Part, int], dict[str, int]]:
    """Where each split starts, and the row of every image by name."""
    starts: dict[Part, int] = {}
    rows: dict[str, int] = {}
    for part in PARTS:
        starts[part] = len(rows)
        rows |= {item.name: len(rows) + at for at, item in enumerate(splits.parts[part])}
    return starts, rows


def _close_gaps(pixels: PixelFile, start: int, items: Sequence[Item], corrupt: Mapping[str, str]) -> list[Item]:
    """Move the last good images of a split over the corrupt ones; the rows behind stay unused."""
    kept = list(items)
    for at, item in enumerate(items):
        while kept and kept[-1].name in corrupt:
            kept.pop()
        if item.name in corrupt and at < len(kept):
            pixels.move(start + len(kept) - 1, start + at)
            kept[at] = kept.pop()
    return kept


def _check_corrupt(corrupt: Mapping[str, str], total: int, name: str) -> None:
    if len(corrupt) > _CORRUPT_SHARE * total:
        raise InvalidData(
            f"at most {_CORRUPT_SHARE:.0%} of the images may be corrupt, got {len(corrupt)} or more of {total} in "
            f"{name}: {_with_reasons(corrupt)}. Mend them or take them out"
        )


def _check_present(kept: Mapping[Part, Sequence[Item]], classes: Sequence[str], name: str) -> None:
    """A class may have lost its only image of a split to corruption."""
    for part, items in kept.items():
        missing = sorted(set(classes) - {item.label for item in items})
        if missing:
            raise InvalidData(
                f"{name}: every class needs a readable image in {part}, and {some(missing)} has only corrupt ones "
                "there: add images or mend them"
            )


def _corrupt_notes(corrupt: Mapping[str, str]) -> list[str]:
    if not corrupt:
        return []
    what = "1 corrupt image" if len(corrupt) == 1 else f"{len(corrupt)} corrupt images"
    return [f"{what} skipped: {_with_reasons(corrupt)}"]


def _with_reasons(corrupt: Mapping[str, str]) -> str:
    return some([f"{printable(name)} ({reason})" for name, reason in sorted(corrupt.items())], limit=3)


def _fingerprint(
    kept: Mapping[Part, Sequence[Item]], digests: Mapping[str, str], classes: Sequence[str], resolution: int
) -> str:
    """Of every image's name, content, label and split, not of where they stand."""
    images = {part: sorted([item.name, item.label, digests[item.name]] for item in own) for part, own in kept.items()}
    return digest_of(images, list(classes), resolution)
