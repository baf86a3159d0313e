"""What a person should know of images before a search: `inspect` reads all of them once and trains nothing."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median_low
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from search.data.contact_sheet import EXAMPLE_PX, EXAMPLES, Row, draw
from search.data.dataset import Dataset, load
from search.data.decode import Remark, decode_square, open_image, square_of
from search.data.decode_many import Decoded, checked, content_digest, each
from search.data.depth import Extent, Kind, Scale, own_scale
from search.data.prepare import EncodedSource, check_present, check_unusable, lacking, notes_of, scales_of
from search.data.readers.registry import open_source
from search.data.source import PARTS, Content, Item, Listing, Part, Progress, Source, count_of, printable, some
from search.data.splits import FEW_IMAGES, check_given, groups_of_copies, one_of_each, split, stratified_order
from searchspace.arguments import check_flag, check_types
from searchspace.errors import InvalidArgument, InvalidData
from searchspace.files import check_writable

if TYPE_CHECKING:
    from PIL import Image

_DECODED_BYTES = 128 * 2**20  # of files whose pixels are read; of all others the header
_DECODED_PX = 32
UNSPLIT = "images"  # stands for the split where there is none


class Range(NamedTuple):
    """The least, the median and the largest of some numbers."""

    least: int
    median: int
    most: int


@dataclass(frozen=True)
class Inspection:
    """What is known of a source's images.

    `counts` are by class and split, as a search with this seed splits them; where it would refuse the images, `refused`
    says why and the splits are those that the source gives ("images" where it gives none). `width`, `height` and
    `shorter_side` are pixels as stored, `kinds` counts of "format mode". `between_classes` and `between_splits` name
    byte-identical images, one name for each class or given split that they stand in. `copies` counts images that
    another one is byte-identical to. `small_classes` have fewer than 10 images. `unusable` says why by name. `notes`
    are sentences for a person.
    """

    name: str
    seed: int
    images: int
    counts: dict[str, dict[str, int]]
    size_bytes: int
    width: Range
    height: Range
    shorter_side: Range
    kinds: dict[str, int]
    decoded: int
    copies: int = 0
    between_classes: list[list[str]] = field(default_factory=list)
    between_splits: list[list[str]] = field(default_factory=list)
    small_classes: dict[str, int] = field(default_factory=dict)
    unusable: dict[str, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def totals(self) -> dict[str, int]:
        """Images by class."""
        return {label: sum(counts.values()) for label, counts in self.counts.items()}

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        ranges = {name: getattr(self, name)._asdict() for name in ("width", "height", "shorter_side")}
        return {**asdict(self), **ranges, "totals": self.totals}


def inspect(
    source: str | Path | Source | None = None,
    *,
    seed: int = 0,
    picture: Path | str | None = None,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
) -> Inspection:
    """Look at the images of `source` (as in `load`): counts, sizes, balance, copies, what cannot be used.

    Every image is read and its header looked at; pixels are decoded of those that the first 128 MiB hold, spread over
    the classes.

    Args:
        source: as in `load`.
        seed: of the splits.
        picture: a .png to be written, with examples of each class from the training images.
        cache_dir: as in `load`; needed by the embedded task alone.
        progress: called with the images done and the images in all.

    Raises:
        InvalidArgument: the seed is below 0, or the picture is no .png.
        InvalidData: there are no images with labels; the message says what to do.
        StorageError: the picture cannot be written.
    """
    check_types(inspect, {"seed": seed, "picture": picture})
    check_flag("--seed", seed, seed >= 0, "an integer of at least 0")
    if picture is not None:
        picture = Path(picture)
        if picture.suffix.lower() != ".png":
            raise InvalidArgument(f"the picture of examples is written as a .png, got {picture}: name it so")
        check_writable(picture)  # a mistake is reported before all images are read
    source = str(source) if isinstance(source, Path) else source
    opened = open_source(source) if source is None or isinstance(source, str) else source
    progress = progress or (lambda done, total: None)
    if isinstance(opened, EncodedSource):
        return _of_files(opened, seed, picture, progress)
    images = load(opened, resolution=opened.native_resolution(), seed=seed, cache_dir=cache_dir, progress=progress)
    if picture is not None:
        draw(picture, [_drawn_row(images, label) for label in range(len(images.classes))])
    return _of_pixels(images, seed)


@dataclass
class _Scan:
    """What reading all files once tells, by name."""

    found: Decoded = field(default_factory=Decoded)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    decoded: int = 0
    blank: list[str] = field(default_factory=list)

    def look(self, content: Content, *, decode: bool) -> None:
        """Look at one image's header, and at its pixels where `decode`."""
        item, data = content
        try:
            encoded = checked(data)
            with open_image(encoded) as image:
                size, kind = image.size, f"{image.format} {image.mode}"
                self.found.digests[item.name] = content_digest(encoded)
                if decode:
                    self._decode(item, image, encoded)
        except Exception as error:  # Pillow's readers raise almost any type on a corrupt file
            self.found.refuse(item.name, error, data)
        else:
            self.sizes[item.name], self.kinds[item.name] = size, kind

    def _decode(self, item: Item, image: "Image.Image", encoded: bytes) -> None:
        def scaling(extent: Extent) -> Scale:
            self.found.deep[item.name] = extent
            return own_scale(extent)

        def remark(what: Remark) -> None:
            self.found.remarks[what].append(item.name)

        pixels = square_of(image, encoded, _DECODED_PX, scaling=scaling, remark=remark)
        if (pixels == pixels[0, 0]).all():
            self.blank.append(item.name)


def _of_files(source: EncodedSource, seed: int, picture: Path | None, progress: Progress) -> Inspection:
    listing = source.listing()
    items = listing.items
    decoded = _first_bytes(stratified_order(items, seed=seed))
    scan = _scan(source, items, decoded, progress)
    if not scan.sizes:
        raise InvalidData(
            f"{source.name} must hold images that can be read, and none of {len(items)} can, as "
            f"{printable(items[0].name)} ({scan.found.unusable[items[0].name]}): mend them or give other images"
        )
    usable = [item for item in items if item.name not in scan.found.unusable]
    parts, notes, refused = _split(source, listing, scan.found, seed)
    if refused:
        parts = _given(usable)
    train = parts.get("train") or usable
    scales = scales_of(scan.found, [item.name for item in train])
    if picture is not None:
        draw(picture, _rows(source, listing.classes, train, scales))
    groups = [group for group in groups_of_copies(usable, scan.found.digests) if len(group) > 1]
    counts = {label: dict.fromkeys(parts, 0) for label in listing.classes}
    for part, of_part in parts.items():
        for item in of_part:
            counts[item.label][part] += 1
    widths, heights = zip(*scan.sizes.values(), strict=True)
    totals = Counter(item.label for item in usable)
    return Inspection(
        name=source.name,
        seed=seed,
        images=len(usable),
        counts={printable(label): by_part for label, by_part in counts.items()},
        size_bytes=sum(item.size_bytes for item in usable),
        width=_range(widths),
        height=_range(heights),
        shorter_side=_range(map(min, scan.sizes.values())),
        kinds=dict(Counter(scan.kinds.values()).most_common()),
        decoded=len(decoded),
        copies=sum(len(group) - 1 for group in groups),
        between_classes=_names(groups, "label"),
        between_splits=_names(groups, "part"),
        small_classes={printable(each): totals[each] for each in listing.classes if totals[each] < FEW_IMAGES},
        unusable={printable(name): why for name, why in sorted(scan.found.unusable.items())},
        refused=refused,
        notes=[*listing.notes, *notes, *_notes(scan, scales)],
    )


def _of_pixels(images: Dataset, seed: int) -> Inspection:
    """A source that draws its images has neither files nor copies."""
    split_of = dict(zip(PARTS, (images.train, images.validation, images.open_test()), strict=True))
    by_part = {part: np.bincount(one.labels, minlength=len(images.classes)) for part, one in split_of.items()}
    counts: dict[str, dict[str, int]] = {
        label: {part: int(by_part[part][at]) for part in by_part} for at, label in enumerate(images.classes)
    }
    total = sum(map(len, split_of.values()))
    side = Range(*[images.resolution] * 3)
    return Inspection(
        name=images.name,
        seed=seed,
        images=total,
        counts=counts,
        size_bytes=total * 3 * images.resolution**2,
        width=side,
        height=side,
        shorter_side=side,
        kinds={"drawn RGB": total},
        decoded=total,
        notes=list(images.notes),
    )


def _first_bytes(items: Sequence[Item]) -> set[str]:
    """The names of the first items whose files together are no larger than what is decoded; one at least."""
    ends = np.cumsum([item.size_bytes for item in items])
    return {item.name for item in items[: max(1, int(np.searchsorted(ends, _DECODED_BYTES, "right")))]}


def _scan(source: EncodedSource, items: Sequence[Item], decoded: set[str], progress: Progress) -> _Scan:
    scan = _Scan(decoded=len(decoded))

    def done(count: int) -> bool:
        progress(count, len(items))
        return False

    each(source.read(items), lambda content: scan.look(content, decode=content[0].name in decoded), done=done)
    return scan


def _split(
    source: EncodedSource, listing: Listing, found: Decoded, seed: int
) -> tuple[dict[str, Sequence[Item]], Sequence[str], list[str]]:
    """The usable images of each split of a search, its notes, and why it would refuse these images."""
    refused: list[str] = []
    notes: Sequence[str] = ()
    kept: dict[Part, list[Item]] = {}
    try:
        check_unusable(found, len(listing.items), source.name)
    except InvalidData as error:
        refused.append(str(error))
    try:
        check_given(listing.items, where=source.name)
        usable = [item for item in listing.items if item.name not in found.unusable]
        for items in (listing.items, usable):  # as in `prepare`
            splits = split(items, seed=seed, content=found.digests, where=source.name)
            notes = splits.notes
            for part, of_part in splits.parts.items():
                kept[part] = [item for item in of_part if item.name not in found.unusable]
            if not lacking(kept, listing.classes):
                break
        check_present(kept, listing.classes, source.name)
    except InvalidData as error:
        refused.append(str(error))
    return dict(kept.items()), notes, refused


def _given(usable: Sequence[Item]) -> dict[str, Sequence[Item]]:
    """The images by the split that the source gives."""
    parts: dict[str, list[Item]] = defaultdict(list)
    for item in usable:
        parts[item.part or UNSPLIT].append(item)
    return {part: parts[part] for part in (*PARTS, UNSPLIT) if part in parts}


def _rows(
    source: EncodedSource, classes: Sequence[str], train: Sequence[Item], scales: Mapping[Kind, Scale]
) -> list[Row]:
    """Examples of each class, the first of the training images, on the scale that a search takes."""
    by_label: dict[str, list[Item]] = {label: [] for label in classes}
    for item in train:
        by_label[item.label].append(item)
    wanted = [item for items in by_label.values() for item in items[:EXAMPLES]]
    drawn: dict[str, Any] = {}

    def scaling(extent: Extent) -> Scale:
        return scales.get(extent.kind) or own_scale(extent)

    def look(content: Content) -> None:
        item, data = content
        try:
            drawn[item.name] = decode_square(checked(data), EXAMPLE_PX, scaling=scaling)
        except Exception:  # told already where it was read, else an example less
            return

    each(source.read(wanted), look, done=lambda count: False)
    return [
        Row(printable(label), len(items), [drawn[item.name] for item in items[:EXAMPLES] if item.name in drawn])
        for label, items in by_label.items()
    ]


def _drawn_row(images: Dataset, label: int) -> Row:
    own = np.flatnonzero(images.train.labels == label)
    return Row(images.classes[label], len(own), [images.train.pixels[at] for at in own[:EXAMPLES]])


def _names(groups: Iterable[Sequence[Item]], what: str) -> list[list[str]]:
    torn = (one_of_each(group, what) for group in groups)
    return [[printable(item.name) for item in group] for group in torn if len(group) > 1]


def _range(numbers: Iterable[int]) -> Range:
    found = sorted(numbers)
    return Range(found[0], median_low(found), found[-1])


def _notes(scan: _Scan, scales: Mapping[Kind, Scale]) -> Iterable[str]:
    yield from notes_of(scan.found, scales)
    if scan.blank:
        names = some(sorted(map(printable, scan.blank)), limit=3)
        yield (
            f"{count_of(scan.blank, 'image')} of one colour only, once read: {names}; look whether they show anything, "
            "as a white drawing on transparent ground does not on white"
        )
