"""From the paths of a folder or an archive to labelled images: class folders, with or without train/val/test on top.

`datasets`' imagefolder is not used here: it would unpack an archive file by file, it leaves out without a word what it
cannot place, and its labels turn off when there is one class or folders of unequal depth.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from search.data.readers.listing import PART_NAMES, Item, Listing, Part, printable, some
from searchspace.errors import InvalidData

# What Pillow reads in decode.FORMATS.
EXTENSIONS = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".bmp", ".dib", ".webp", ".avif"),
        *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k"),
    }
)
_WANTED = (
    "give one folder for each class with its images in it (cats/1.jpg, dogs/1.jpg), with train/, val/ and test/ above "
    "or without"
)
_JUNK = frozenset({"thumbs.db", "desktop.ini", "__macosx"})


@dataclass(frozen=True)
class File:
    """A file of a folder or an archive: path relative to its root with '/', size, the source's own address."""

    path: str
    size_bytes: int
    at: int


@dataclass(frozen=True)
class _Image:
    file: File
    parts: tuple[str, ...]  # the path's components below the root of the layout


def arrange(files: Sequence[File], folders: Sequence[str], *, where: str) -> Listing:
    """Label every image by its class folder. Hidden files and folders are passed over, and files that are no images.

    Raises InvalidData where there are no images, fewer than two classes, or classes that differ between splits.
    """
    visible = [file for file in files if not _hidden(file.path)]
    images = [file for file in visible if _extension(file.path) in EXTENSIONS]
    if not images:
        raise InvalidData(_no_images(visible, where))
    paths = [tuple(folder.split("/")) for folder in folders if folder and not _hidden(folder)]
    depth = _wrapper_depth([tuple(file.path.split("/")) for file in images], paths)
    rooted = [_Image(file, tuple(file.path.split("/"))[depth:]) for file in images]
    notes = _stray_notes(visible)
    top = _given_parts(rooted, where)
    if top:
        items, more = _with_parts(rooted, top)
    else:
        items, more = _without_parts(rooted)
    notes += more + _empty_notes({path[depth:] for path in paths}, {image.parts[:-1] for image in rooted}, bool(top))
    listing = Listing(tuple(sorted(items, key=lambda item: item.name)), _classes(items), tuple(notes))
    check_classes(listing, where=where)
    return listing


def check_classes(listing: Listing, *, where: str) -> None:
    """Raises InvalidData for fewer than two classes, or classes that differ between the given splits."""
    if len(listing.classes) < 2:
        found = f"got {len(listing.classes)} ({some(listing.classes)})" if listing.classes else "got none"
        notes = f" ({'; '.join(listing.notes)})" if listing.notes else ""
        raise InvalidData(f"{where} must hold images of at least 2 classes, {found}{notes}: {_WANTED}")
    by_part: dict[Part | None, set[str]] = {}
    for item in listing.items:
        by_part.setdefault(item.part, set()).add(item.label)
    for part, labels in by_part.items():
        missing = sorted(set(listing.classes) - labels)
        if missing:
            raise InvalidData(
                f"{where}: every split must hold every class, and {part} has no image of {some(missing)}: "
                "add some, or take the class out of the other splits"
            )


def _hidden(path: str) -> bool:
    return any(part.startswith(".") or part.lower() in _JUNK for part in path.split("/"))


def _extension(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def _no_images(visible: Sequence[File], where: str) -> str:
    if not visible:
        return f"{where} must hold images and is empty: {_WANTED}"
    return f"{where} must hold images (.jpg, .png, .webp, ...) and has none, only {_kinds(visible)}: {_WANTED}"


def _kinds(files: Sequence[File]) -> str:
    kinds = Counter(_extension(file.path) or "no extension" for file in files)
    return some([f"{count} x {kind}" for kind, count in sorted(kinds.items(), key=lambda pair: (-pair[1], pair[0]))])


def _stray_notes(visible: Sequence[File]) -> list[str]:
    stray = [file for file in visible if _extension(file.path) not in EXTENSIONS]
    return [f"files whose names are no images' are left out: {printable(_kinds(stray))}"] if stray else []


def _wrapper_depth(images: Sequence[tuple[str, ...]], folders: Sequence[tuple[str, ...]]) -> int:
    """How many folders merely wrap the rest (photos/cats/1.jpg, photos/dogs/1.jpg: one)."""
    depth = 0
    while True:
        tops = {path[depth] for path in images} | {path[depth] for path in folders if len(path) > depth}
        if len(tops) != 1 or any(len(path) <= depth + 2 for path in images):
            return depth
        depth += 1


def _given_parts(images: Sequence[_Image], where: str) -> dict[str, Part]:
    """Which top folder is which split; empty if the top folders are classes."""
    nested = {image.parts[0] for image in images if len(image.parts) > 2}
    tops = {image.parts[0] for image in images if len(image.parts) > 1}
    named = {top: PART_NAMES[top.lower()] for top in sorted(tops) if top.lower() in PART_NAMES}
    if len(named) < 2 or not nested & named.keys():
        return {}
    others = sorted(tops - named.keys())
    if others and nested >= named.keys():
        raise InvalidData(
            f"{where}: the top folders must be splits (train, val, test) or classes, and are both: "
            f"{some(sorted(named))} beside {some(others)}: move {some(others)} elsewhere"
        )
    if others:
        return {}
    if not any(part == "train" and top in nested for top, part in named.items()):
        raise InvalidData(f"{where}: there must be class folders in train, got {some(sorted(named))}: add train/")
    return named


def _with_parts(images: Sequence[_Image], top: dict[str, Part]) -> tuple[list[Item], list[str]]:
    labelled = [image for image in images if len(image.parts) > 2]
    loose = [image for image in images if len(image.parts) <= 2]
    items = [_item(image, image.parts[1], top[image.parts[0]]) for image in labelled]
    return items, _loose_notes(loose)


def _without_parts(images: Sequence[_Image]) -> tuple[list[Item], list[str]]:
    labelled = [image for image in images if len(image.parts) > 1]
    loose = [image for image in images if len(image.parts) <= 1]
    return [_item(image, image.parts[0], None) for image in labelled], _loose_notes(loose)


def _item(image: _Image, label: str, part: Part | None) -> Item:
    return Item(image.file.path, label, part, image.file.size_bytes, image.file.at)


def _loose_notes(loose: Sequence[_Image]) -> list[str]:
    if not loose:
        return []
    names = some(sorted(printable(image.file.path) for image in loose), limit=3)
    return [f"{len(loose)} images outside class folders have no label and are left out: {names}"]


def _empty_notes(folders: set[tuple[str, ...]], used: set[tuple[str, ...]], has_parts: bool) -> list[str]:
    """Class folders without an image: left out, and said so."""
    level = 2 if has_parts else 1
    filled = {path[:level] for path in used}
    empty = sorted("/".join(path) for path in folders if len(path) == level and path not in filled)
    return [f"folders without images are left out: {printable(some(empty))}"] if empty else []


def _classes(items: Sequence[Item]) -> tuple[str, ...]:
    return tuple(sorted({item.label for item in items}))
