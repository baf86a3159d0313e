"""From annotations to examples: images that are there and whole, boxes inside them, each in its split."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from scaling.efficientdet.examples import DetectionData, Example
from scaling.efficientdet.readers.annotation import Annotated, Annotations, Faults
from scaling.efficientdet.readers.box_checks import Frame, Objects, check_faults, frame_of, notes_of_faults, objects_of
from scaling.efficientdet.readers.choice import annotations_of, name_of, open_source
from scaling.efficientdet.readers.scan import Scanned, reader_of, scan
from scaling.efficientdet.readers.scan_cache import kept_or_new
from scaling.efficientdet.readers.tree import Tree
from search.data.prepare import LARGEST_UNUSABLE_SHARE, check_unusable, most_unusable, notes_of, scales_of
from search.data.source import PARTS, Item, Part, Progress, count_of, digest_of, printable, some
from search.data.splits import FEW_IMAGES, split
from searchspace.errors import InvalidData

_STRENGTH: Sequence[Part | None] = ("test", "validation", "train", None)  # which split keeps an image of several


class _Image(NamedTuple):
    """An image that can be used."""

    said: Annotated
    path: str
    frame: Frame
    objects: Objects


def load_annotated(source: str, *, seed: int, progress: Progress) -> DetectionData:
    """The examples of a folder, an archive, a data.yaml or a COCO file. Raises InvalidData."""
    opened = open_source(source)
    tree = opened.tree
    name = name_of(tree)
    annotations = annotations_of(opened)
    said, notes = _present(annotations, name)
    notes += _unlisted(tree, said)
    said, part_notes = _with_train(said, name)
    paths = list(said)
    scanned = kept_or_new(tree, paths, lambda: scan(tree, paths, progress))
    frames = _frames(said, scanned)
    check_unusable(scanned.found, len(said), name)
    faults = Faults(defaultdict(list, {fault: list(places) for fault, places in annotations.faults.found.items()}))
    classes = _classes(annotations, [said[path] for path in frames])
    images = _images(said, frames, classes, faults)
    check_faults(faults, sum(len(image.objects.labels) for image in images.values()), name)
    parts, split_notes = _split(tree, images, scanned, seed, name)
    scales = scales_of(scanned.found, [image.path for image in parts["train"]])
    examples = {
        part: [
            Example(
                reader_of(tree, image.path, upright=image.frame.upright, scales=scales),
                image.objects.boxes,
                image.objects.labels,
                image.path,
                image.frame.size,
                image.objects.difficult,
                image.objects.crowd,
            )
            for image in chosen
        ]
        for part, chosen in parts.items()
    }
    contents = {path: scanned.found.digests[path] for path in images}
    return DetectionData(
        name=name,
        classes=tuple(map(printable, classes)),
        train=examples["train"],
        validation=examples["validation"],
        test=examples["test"],
        notes=(
            *(*annotations.notes, *notes, *part_notes, *notes_of_faults(faults)),
            *(*_box_notes(images, parts, list(classes)), *split_notes, *notes_of(scanned.found, scales)),
        ),
        fingerprint=_fingerprint(parts, list(classes), contents),
        contents=contents,
    )


def _present(annotations: Annotations, name: str) -> tuple[dict[str, Annotated], list[str]]:
    """The listed images that are there, by path, each in one split. Raises InvalidData where many are missing."""
    missing = [one.listed for one in annotations.images if one.image is None]
    notes: list[str] = []
    if len(missing) > most_unusable(len(annotations.images)):
        raise InvalidData(
            f"at most {LARGEST_UNUSABLE_SHARE:.0%} of the listed images may be missing, got {len(missing)} of "
            f"{len(annotations.images)} in {name}: {printable(some(missing, limit=3))}. "
            "Put them back, or take them off the lists"
        )
    if missing:
        notes.append(f"{count_of(missing, 'listed image')} missing, left out: {printable(some(missing, limit=3))}")
    found: dict[str, Annotated] = {}
    again: list[str] = []
    for one in sorted(annotations.images, key=lambda one: (_STRENGTH.index(one.part), one.image or "")):
        if one.image in found:
            again.append(one.image)
        elif one.image is not None:
            found[one.image] = one
    if again:
        names = printable(some(again, limit=3))
        notes.append(f"{count_of(again, 'image')} listed more than once, kept in test, then validation: {names}")
    if not found:
        raise InvalidData(
            f"{name} must list images, got none that is there: give the folder that holds images and annotations"
        )
    return dict(sorted(found.items())), notes


def _unlisted(tree: Tree, said: Mapping[str, Annotated]) -> list[str]:
    unlisted = [path for path in tree.images if path not in said]
    if not unlisted:
        return []
    return [f"{count_of(unlisted, 'image')} without annotations left out: {printable(some(unlisted, limit=3))}"]


def _with_train(said: dict[str, Annotated], name: str) -> tuple[dict[str, Annotated], list[str]]:
    """The images of the only split that is there may be split anew. Raises InvalidData for several without train."""
    parts = {one.part for one in said.values()}
    if parts & {"train", None}:
        return said, []
    if len(parts) > 1:
        raise InvalidData(
            f"{name} must have images to train on, got validation and test alone: add the training images"
        )
    note = f"only images of {next(iter(parts))} are there: they are split anew"
    return {path: Annotated(one.image, one.listed, None, one.rows, one.size) for path, one in said.items()}, [note]


def _frames(said: Mapping[str, Annotated], scanned: Scanned) -> dict[str, Frame]:
    """By path what boxes mean by the image's pixels; an image of another size than its annotation's is unusable."""
    frames: dict[str, Frame] = {}
    for path, sizes in sorted(scanned.sizes.items()):
        frame = frame_of(said[path], *sizes)
        if isinstance(frame, str):
            scanned.found.unsupported[path] = frame
        else:
            frames[path] = frame
    return frames


def _classes(annotations: Annotations, said: Sequence[Annotated]) -> dict[str, int]:
    """Labels by class; where no list says them those of the training boxes, sorted."""
    names = annotations.classes
    if names is None:
        names = tuple(sorted({row.label for one in said if one.part in ("train", None) for row in one.rows}))
    return {name: label for label, name in enumerate(names)}


def _images(
    said: Mapping[str, Annotated], frames: Mapping[str, Frame], classes: Mapping[str, int], faults: Faults
) -> dict[str, _Image]:
    return {
        path: _Image(said[path], path, frame, objects_of(said[path], frame.size, classes, faults))
        for path, frame in frames.items()
    }


def _split(
    tree: Tree, images: Mapping[str, _Image], scanned: Scanned, seed: int, name: str
) -> tuple[dict[Part, list[_Image]], list[str]]:
    """The images of each split, in an order of which every beginning holds the classes in about their proportions."""
    digests = {path: scanned.found.digests[path] for path in images}
    pool = [image for image in images.values() if image.said.part in ("train", None)]
    missing = {"validation", "test"} - {image.said.part for image in images.values()}
    different = len({digests[image.path] for image in pool})
    if different <= len(missing):
        raise InvalidData(
            f"{name} must have at least {1 + len(missing)} different images to be split into train, "
            f"{' and '.join(sorted(missing, reverse=True))}, got {different}: add images"
        )
    strata = _strata(pool, digests)
    items = [
        Item(path, strata.get(digests[path], ""), image.said.part, tree.files[path].size_bytes, 0)
        for path, image in images.items()
    ]
    found = split(items, seed=seed, content=digests, where=name)
    empty = [part for part in PARTS if not found.parts[part]]
    if empty:
        raise InvalidData(
            f"{name} must have images of its own in each split, and those of {some(empty)} are all byte-identical to "
            "images of other splits: give each split other images"
        )
    return {part: [images[item.name] for item in found.parts[part]] for part in PARTS}, list(found.notes)


def _strata(pool: Sequence[_Image], digests: Mapping[str, str]) -> dict[str, str]:
    """By content the class by which an image is split: its rarest one, "" for that of few images or none."""
    holds = Counter(label for image in pool for label in set(image.objects.labels.tolist()))
    rarest = {
        digests[image.path]: str(
            min(image.objects.labels.tolist(), key=lambda label: (holds[label], label), default="")
        )
        for image in pool
    }
    sizes = Counter(rarest.values())
    large = {stratum for stratum, count in sizes.items() if count >= FEW_IMAGES}
    others = sum(count for stratum, count in sizes.items() if stratum not in large)
    rest = "" if others >= FEW_IMAGES or not large else max(large, key=lambda stratum: (sizes[stratum], stratum))
    return {digest: stratum if stratum in large else rest for digest, stratum in rarest.items()}


def _box_notes(
    images: Mapping[str, _Image], parts: Mapping[Part, Sequence[_Image]], classes: Sequence[str]
) -> list[str]:
    notes: list[str] = []
    clipped = [path for path, image in images.items() if image.objects.clipped]
    if clipped:
        boxes = sum(images[path].objects.clipped for path in clipped)
        reach = "1 box reaches" if boxes == 1 else f"{boxes} boxes reach"
        notes.append(
            f"{reach} out of the image and {'is' if boxes == 1 else 'are'} clipped, as in {printable(clipped[0])}"
        )
    for part in PARTS:
        empty = [image for image in parts[part] if not len(image.objects.labels)]
        if empty:
            notes.append(f"{len(empty)} of {len(parts[part])} images in {part} have no objects")
    counts = Counter(label for image in parts["train"] for label in image.objects.labels.tolist())
    few = [f"{printable(name)} ({counts[label]})" for label, name in enumerate(classes) if counts[label] < FEW_IMAGES]
    if few:
        notes.append(
            f"{len(few)} of {len(classes)} classes {'has' if len(few) == 1 else 'have'} fewer than {FEW_IMAGES} "
            f"boxes in train: {some(few)}; add some, or leave the class out"
        )
    return notes


def _fingerprint(parts: Mapping[Part, Sequence[_Image]], classes: Sequence[str], contents: Mapping[str, str]) -> str:
    """Of every image's name, content, boxes and split, and the classes; not of where they stand."""
    images = {
        part: sorted(
            [
                [image.path, contents[image.path], image.frame.upright, image.objects.boxes.tolist()]
                + [each.tolist() for each in (image.objects.labels, image.objects.difficult, image.objects.crowd)]
                for image in chosen
            ]
        )
        for part, chosen in parts.items()
    }
    return digest_of(1, images, classes)
