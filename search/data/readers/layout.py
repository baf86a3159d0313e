"""From the paths of a folder or an archive to labelled images: class folders, with or without train/val/test on top.

`datasets`' imagefolder is not used here: it would unpack an archive file by file, it leaves out without a word what it
cannot place, and its labels turn off when there is one class or folders of unequal depth.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from search.data.source import Item, Listing, Part, printable, some
from searchspace.errors import InvalidData

PART_NAMES: dict[str, Part] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
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


def arrange(files: Sequence[File], folders: Sequence[str], *, where: str) -> Listing:
    """Label every image by its class folder. Hidden files and folders are passed over, and files that are no images.

    Raises InvalidData where there are no images, fewer than two classes, or classes that differ between splits.
    """
    visible = [file for file in files if not _hidden(file.path)]
    images = [file for file in visible if _extension(file.path) in EXTENSIONS]
    if not images:
        raise InvalidData(_no_images(visible, where))
    folder_paths = [tuple(folder.split("/")) for folder in folders if folder and not _hidden(folder)]
    paths = [tuple(file.path.split("/")) for file in images]
    depth = _wrapper_depth(paths, folder_paths)
    paths = [path[depth:] for path in paths]
    splits = _given_splits(paths, where)
    level = 1 if splits else 0  # of the class folder below the wrapping ones
    labelled = [(file, path) for file, path in zip(images, paths, strict=True) if len(path) > level + 1]
    items = [Item(file.path, path[level], splits.get(path[0]), file.size_bytes, file.at) for file, path in labelled]
    loose = [file.path for file, path in zip(images, paths, strict=True) if len(path) <= level + 1]
    filled = {path[: level + 1] for path in paths}
    empty = {path[depth:] for path in folder_paths if len(path) == depth + level + 1} - filled
    notes = tuple(_notes([file for file in visible if _extension(file.path) not in EXTENSIONS], loose, empty))
    classes = tuple(sorted({item.label for item in items}))
    listing = Listing(tuple(sorted(items, key=lambda item: item.name)), classes, notes)
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


def _notes(stray: Sequence[File], loose: Sequence[str], empty: Iterable[tuple[str, ...]]) -> Iterator[str]:
    if stray:
        yield f"files whose names are no images' are left out: {printable(_kinds(stray))}"
    if loose:
        names = some(sorted(map(printable, loose)), limit=3)
        yield f"{len(loose)} images outside class folders have no label and are left out: {names}"
    if empty:
        yield f"folders without images are left out: {printable(some(sorted(map('/'.join, empty))))}"


def _wrapper_depth(images: Sequence[tuple[str, ...]], folders: Sequence[tuple[str, ...]]) -> int:
    """How many folders merely wrap the rest (photos/cats/1.jpg, photos/dogs/1.jpg: one)."""
    depth = 0
    while True:
        tops = {path[depth] for path in images} | {path[depth] for path in folders if len(path) > depth}
        if len(tops) != 1 or any(len(path) <= depth + 2 for path in images):
            return depth
        depth += 1


def _given_splits(paths: Sequence[tuple[str, ...]], where: str) -> dict[str, Part]:
    """Which top folder is which split; empty if the top folders are classes."""
    nested = {path[0] for path in paths if len(path) > 2}
    tops = {path[0] for path in paths if len(path) > 1}
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
