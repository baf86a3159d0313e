"""Encoded images into the cache: list, split, decode, and name what was skipped."""

import itertools
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median_low
from typing import NamedTuple

from search.data.cache import PixelFile, new_pixels
from search.data.decode import Remark, shorter_side
from search.data.decode_many import Decoded, content_digest, decode_all
from search.data.depth import Kind, Scale, scale_of
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
    count_of,
    digest_of,
    printable,
    some,
)
from search.data.splits import check_given, split
from searchspace.errors import InvalidData

LARGEST_UNUSABLE_SHARE = 0.05  # a single one may be in the smallest data set
_WORDS: Mapping[Kind, str] = {"whole": "whole numbers", "floating-point": "floating-point"}
_NATIVE_IMAGES = 64  # looked at for the images' own size


class _Laid(NamedTuple):
    """Images in a pixel file: by split those that are there and the row of the first, what was found, the notes."""

    kept: dict[Part, list[Item]]
    starts: dict[Part, int]
    found: Decoded
    scales: dict[Kind, Scale]
    notes: tuple[str, ...]


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
        check_given(listing.items, where=self.name)
        content = self._digests_of_twins(listing.items)
        laid = self._laid(path, listing.items, content, request, progress)
        if lacking(laid.kept, listing.classes):
            usable = [item for item in listing.items if item.name not in laid.found.unusable]
            try:
                laid = self._laid(path, usable, content, request, progress, before=laid.found)
            except InvalidData as error:
                left_out = _with_reasons(laid.found.unusable)
                raise InvalidData(f"{error} (images that cannot be used do not count: {left_out})") from error
        check_present(laid.kept, listing.classes, self.name)
        label = {name: number for number, name in enumerate(listing.classes)}
        return Record(
            classes=tuple(map(printable, listing.classes)),
            starts=laid.starts,
            labels={part: [label[item.label] for item in items] for part, items in laid.kept.items()},
            fingerprint=_fingerprint(laid, listing.classes, request.resolution),
            skipped=tuple(sorted(map(printable, laid.found.unusable))),
            notes=(*listing.notes, *laid.notes, *notes_of(laid.found, laid.scales)),
            contents={item.name: laid.found.digests[item.name] for part in PARTS for item in laid.kept[part]},
        )

    def _laid(
        self,
        path: Path,
        items: Sequence[Item],
        content: Mapping[str, str],
        request: Request,
        progress: Progress,
        *,
        before: Decoded | None = None,
    ) -> _Laid:
        """Split the items and decode them into a pixel file; `before` has unusable ones that are not among them."""
        splits = split(items, seed=request.seed, content=content, images=request.images, where=self.name)
        rows = {item.name: row for row, item in enumerate(item for part in PARTS for item in splits.parts[part])}
        counts = [len(splits.parts[part]) for part in PARTS]
        starts = dict(zip(PARTS, itertools.accumulate(counts, initial=0), strict=False))
        progress(0, len(rows))
        with new_pixels(path, rows=len(rows), resolution=request.resolution) as pixels:
            found, scales = self._decode(splits.parts, rows, pixels, progress)
            if before is not None:
                found.corrupt |= before.corrupt
                found.unsupported |= before.unsupported
            check_unusable(found, len(rows), self.name)
            kept = {part: _close_gaps(pixels, starts[part], splits.parts[part], found.unusable) for part in PARTS}
        return _Laid(kept, starts, found, scales, splits.notes)

    def _decode(
        self, parts: Mapping[Part, Sequence[Item]], rows: Mapping[str, int], pixels: PixelFile, progress: Progress
    ) -> tuple[Decoded, dict[Kind, Scale]]:
        """Decode all images; those of more than 8 bits in a second round, on the scale of the training images."""
        ordered = [item for part in PARTS for item in parts[part]]
        total, limit = len(ordered), most_unusable(len(ordered))
        found = decode_all(
            self.read(ordered), rows, pixels, stop_above=limit, progress=lambda done: progress(done, total)
        )
        if not found.deep or len(found.unusable) > limit:
            return found, {}
        scales = scales_of(found, [item.name for item in parts["train"]])
        deep = [item for item in ordered if item.name in found.deep]
        again = decode_all(
            self.read(deep), rows, pixels, scales=scales, stop_above=limit, progress=lambda done: progress(total, total)
        )
        found.add(again)
        return found, scales

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


def _close_gaps(pixels: PixelFile, start: int, items: Sequence[Item], unusable: Mapping[str, str]) -> list[Item]:
    """Move the last good images of a split over the unusable ones; the rows behind stay unused."""
    kept = list(items)
    for at, item in enumerate(items):
        while kept and kept[-1].name in unusable:
            kept.pop()
        if item.name in unusable and at < len(kept):
            pixels.move(start + len(kept) - 1, start + at)
            kept[at] = kept.pop()
    return kept


def scales_of(found: Decoded, train: Sequence[str]) -> dict[Kind, Scale]:
    """By kind of values the scale of the training images, or of all where none of them is of that kind."""
    scales: dict[Kind, Scale] = {}
    for kind in {extent.kind for extent in found.deep.values()}:
        of_kind = {name: extent for name, extent in found.deep.items() if extent.kind == kind}
        scales[kind] = scale_of([of_kind[name] for name in train if name in of_kind] or list(of_kind.values()))
    return scales


def notes_of(found: Decoded, scales: Mapping[Kind, Scale]) -> Iterator[str]:
    """What a person should know of how images were read, with the next step."""
    if found.corrupt:
        yield f"{count_of(found.corrupt, 'corrupt image')} skipped: {_with_reasons(found.corrupt)}"
    if found.unsupported:
        yield f"{count_of(found.unsupported, 'image')} left out, not read here: {_with_reasons(found.unsupported)}"
    for kind, scale in sorted(scales.items()):
        deep = [name for name, extent in found.deep.items() if extent.kind == kind]
        yield (
            f"{count_of(deep, 'image')} of more than 8 bits ({_WORDS[kind]}): {scale.low:g} to {scale.high:g} are "
            "scaled to 0 to 255, alike in all of them; scale images so where the network is deployed"
        )
    if frames := found.remarks[Remark.FRAMES]:
        yield f"of {count_of(frames, 'image')} with several frames or pages the first is used"
    if transparent := found.remarks[Remark.TRANSPARENT]:
        yield f"{count_of(transparent, 'image')} with transparent parts: they are laid on white"


def check_unusable(found: Decoded, total: int, name: str) -> None:
    """Raises InvalidData where too many of `total` images cannot be used."""
    unusable = found.unusable
    if len(unusable) > most_unusable(total):
        what = "left out" if found.unsupported else "corrupt"
        raise InvalidData(
            f"at most {LARGEST_UNUSABLE_SHARE:.0%} of the images may be {what}, got {len(unusable)} or more of {total} "
            f"in {name}: {_with_reasons(unusable)}. Mend them or take them out"
        )


def most_unusable(total: int) -> int:
    """How many of `total` images may be unusable."""
    return max(1, int(LARGEST_UNUSABLE_SHARE * total))


def check_present(kept: Mapping[Part, Sequence[Item]], classes: Sequence[str], name: str) -> None:
    """Raises InvalidData where a class lost its only image of a split."""
    for part, missing in lacking(kept, classes).items():
        raise InvalidData(
            f"{name}: every class needs a readable image in {part}, and {some(missing)} has only unusable ones "
            "there: add images or mend them"
        )


def lacking(kept: Mapping[Part, Sequence[Item]], classes: Sequence[str]) -> dict[Part, list[str]]:
    """By split the classes that it has no image of."""
    missing = {part: sorted(set(classes) - {item.label for item in items}) for part, items in kept.items()}
    return {part: labels for part, labels in missing.items() if labels}


def _with_reasons(corrupt: Mapping[str, str]) -> str:
    return some([f"{printable(name)} ({reason})" for name, reason in sorted(corrupt.items())], limit=3)


def _fingerprint(laid: _Laid, classes: Sequence[str], resolution: int) -> str:
    """Of every image's name, content, label, split and scale, not of where they stand."""
    digests = laid.found.digests
    images = {
        part: sorted([item.name, item.label, digests[item.name]] for item in items) for part, items in laid.kept.items()
    }
    return digest_of(images, list(classes), resolution, *([laid.scales] if laid.scales else []))
