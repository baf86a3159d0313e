"""Encoded images into the cache: list, split, decode, and name what was skipped."""

import itertools
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median_low

from search.data.cache import PixelFile, new_pixels
from search.data.decode import content_digest, decode_all, shorter_side
from search.data.source import (
    PARTS,
    Content,
    Item,
    Listing,
    Part,
    Progress,
    Record,
    Request,
    Source,
    digest_of,
    printable,
    some,
)
from search.data.splits import split
from searchspace.errors import InvalidData

LARGEST_CORRUPT_SHARE = 0.01
_NATIVE_IMAGES = 64  # looked at for the images' own size


class EncodedSource(Source):
    """A `Source` of image files: a subclass lists and reads them and has a signature, all else is done here."""

    def __init__(self, name: str, key: str) -> None:
        self.name, self.key = printable(name), printable(key)

    @abstractmethod
    def listing(self) -> Listing:
        """Every image with its label. Raises InvalidData."""

    @abstractmethod
    def read(self, items: Sequence[Item]) -> Iterator[Content]:
        """Each item with its bytes or why they cannot be had, in the order that suits the source."""

    def native_resolution(self) -> int:
        """The median shorter side of images evenly spread over the listing. Raises InvalidData."""
        items = self.listing().items
        some_items = items[:: -(-len(items) // _NATIVE_IMAGES)]
        found = [shorter_side(data) for _, data in self.read(some_items) if isinstance(data, bytes)]
        sides = [side for side in found if side is not None]
        if not sides:
            raise InvalidData(
                f"{self.name} must hold images that can be read, got {len(some_items)} of {len(items)} that cannot, "
                f"as {printable(some_items[0].name)}: mend them or give other images"
            )
        return median_low(sides)

    def prepare(self, path: Path, request: Request, progress: Progress) -> Record:
        """List, split and decode the images into a pixel file. Raises InvalidData, StorageError."""
        listing = self.listing()
        content = self._digests_of_twins(listing.items)
        splits = split(listing.items, seed=request.seed, content=content, images=request.images, where=self.name)
        ordered = [item for part in PARTS for item in splits.parts[part]]
        rows = {item.name: row for row, item in enumerate(ordered)}
        counts = [len(splits.parts[part]) for part in PARTS]
        starts = dict(zip(PARTS, itertools.accumulate(counts, initial=0), strict=False))
        progress(0, len(rows))
        with new_pixels(path, rows=len(rows), resolution=request.resolution) as pixels:
            digests, corrupt = decode_all(
                self.read(ordered),
                rows,
                request.resolution,
                pixels,
                stop_above=int(LARGEST_CORRUPT_SHARE * len(rows)),
                progress=lambda done: progress(done, len(rows)),
            )
            _check_corrupt(corrupt, len(rows), self.name)
            kept = {part: _close_gaps(pixels, starts[part], splits.parts[part], corrupt) for part in PARTS}
        _check_present(kept, listing.classes, self.name)
        what = "1 corrupt image" if len(corrupt) == 1 else f"{len(corrupt)} corrupt images"
        skipped = [f"{what} skipped: {_with_reasons(corrupt)}"] if corrupt else []
        label = {name: number for number, name in enumerate(listing.classes)}
        return Record(
            classes=tuple(map(printable, listing.classes)),
            starts=starts,
            labels={part: [label[item.label] for item in items] for part, items in kept.items()},
            fingerprint=_fingerprint(kept, digests, listing.classes, request.resolution),
            skipped=tuple(sorted(map(printable, corrupt))),
            notes=(*listing.notes, *splits.notes, *skipped),
        )

    def _digests_of_twins(self, items: Sequence[Item]) -> dict[str, str]:
        """By name, the digest of every image that may have a byte-identical twin: only files of one size can.

        Copies of what is no image, such as a saved error page, are no twins: each is a corrupt image of its own.
        """
        by_size: dict[int, list[Item]] = defaultdict(list)
        for item in items:
            by_size[item.size_bytes].append(item)
        same_size = [item for alike in by_size.values() if len(alike) > 1 for item in alike]
        digests: dict[str, str] = {}
        is_image: dict[str, bool] = {}  # by the digest of what is seen twice
        seen: set[str] = set()
        for item, data in self.read(same_size):
            if isinstance(data, bytes):
                digest = digests[item.name] = content_digest(data)
                if digest in seen and digest not in is_image:
                    is_image[digest] = shorter_side(data) is not None
                seen.add(digest)
        return {name: digest for name, digest in digests.items() if is_image.get(digest, True)}


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
    if len(corrupt) > LARGEST_CORRUPT_SHARE * total:
        raise InvalidData(
            f"at most {LARGEST_CORRUPT_SHARE:.0%} of the images may be corrupt, got {len(corrupt)} or more of {total} "
            f"in {name}: {_with_reasons(corrupt)}. Mend them or take them out"
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


def _with_reasons(corrupt: Mapping[str, str]) -> str:
    return some([f"{printable(name)} ({reason})" for name, reason in sorted(corrupt.items())], limit=3)


def _fingerprint(
    kept: Mapping[Part, Sequence[Item]], digests: Mapping[str, str], classes: Sequence[str], resolution: int
) -> str:
    """Of every image's name, content, label and split, not of where they stand."""
    images = {
        part: sorted([item.name, item.label, digests[item.name]] for item in items) for part, items in kept.items()
    }
    return digest_of(images, list(classes), resolution)
