"""From the paths of a folder or an archive to labelled images: class folders, with or without train/val/test on top.

`datasets`' imagefolder is not used here: it would unpack an archive file by file, it leaves out without a word what it
cannot place, and its labels turn off when there is one class or folders of unequal depth.
"""

import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from search.data.readers.choice import Choice
from search.data.readers.junk import visible
from search.data.readers.names import are_pieces, is_unlabelled, same_name
from search.data.readers.parts import GivenSplits, Steps, find_splits
from search.data.source import PARTS, Item, Listing, Part, printable, some
from searchspace.errors import InvalidData

# What Pillow reads in decode.FORMATS.
EXTENSIONS = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".bmp", ".dib", ".webp", ".avif"),
        *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k"),
    }
)
TABLES = (".csv", ".tsv", ".jsonl")  # that may say the labels
_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar")
_UNREAD = frozenset(  # images that Pillow alone does not read, or not as pixels
    {
        *(".heic", ".heif", ".svg", ".svgz", ".jxl", ".psd", ".tga", ".ico", ".exr", ".hdr", ".pdf", ".eps", ".dcm"),
        *(".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf", ".orf", ".rw2", ".npy", ".npz", ".mat", ".nii"),
    }
)
_WANTED = (
    "give one folder for each class with its images in it (cats/1.jpg, dogs/1.jpg), with train/, val/ and test/ above "
    "or without, or a .csv of paths and labels"
)


_SAVE = "save images of other kinds as .jpg or .png"


@dataclass(frozen=True)
class File:
    """A file of a folder or an archive: path relative to its root with '/', size, the source's own address."""

    path: str
    size_bytes: int
    at: int


def arrange(files: Sequence[File], folders: Sequence[str], *, where: str, choice: Choice | None = None) -> Listing:
    """Label every image by its class folder. Junk is passed over (see `junk`), and files that are no images.

    `choice`: a person's word on which folders are splits; None to find them. Raises InvalidData where there are no
    images, fewer than two classes, or what the splits are cannot be told.
    """
    seen = visible([file.path for file in files], folders, is_image=is_image)
    kept = set(seen.files)
    every = [file for file in files if file.path in kept and is_image(file.path)]
    images, unlabelled = _labelled_folders(every) if choice is None else (every, [])
    others = [path for path in seen.files if not is_image(path)]
    if not images:
        raise InvalidData(_no_images(others, seen.left_out, where))
    full = [tuple(file.path.split("/")) for file in images]
    depth = _wrapper_depth(full, _without(seen.folders, seen.files))
    paths = [_inner(path, depth) for path in full]
    splits = find_splits(paths, choice, where=where)
    inner = _below_splits(paths, splits)
    if choice is None and not splits.parts:
        _check_pieces(inner, _tables(others), where)
    items, outside = _labelled(images, paths, inner, splits)
    items, strange = _without_strangers(items)
    items, renamed = with_common_names(items)
    level = depth + 1 + bool(splits.parts)
    empty = [path[depth:] for path in _without(seen.folders, [file.path for file in every]) if len(path) == level]
    notes = [splits.note()] if splits.parts else []
    notes += [*_notes(others, seen.left_out, empty), *_left_out("in folders of unlabelled images", unlabelled)]
    notes += [*outside, *strange, *_nested(inner), *renamed]
    classes = tuple(sorted({item.label for item in items}))
    listing = Listing(tuple(sorted(items, key=lambda item: item.name)), classes, tuple(notes))
    check_classes(listing, where=where)
    return listing


def check_classes(listing: Listing, *, where: str) -> None:
    """Raises InvalidData for fewer than two classes."""
    if len(listing.classes) < 2:
        found = f"got {len(listing.classes)} ({printable(some(listing.classes))})" if listing.classes else "got none"
        notes = f" ({'; '.join(listing.notes)})" if listing.notes else ""
        raise InvalidData(f"{where} must hold images of at least 2 classes, {found}{notes}: {_WANTED}")


def labels_hint(paths: Iterable[str], *, unpack: bool = False) -> str:
    """What to do where tables among the paths, or the images' names, may say the labels; "" where neither does.

    unpack: the paths are those of an archive.
    """
    seen = visible(list(paths), (), is_image=is_image).files
    tables, images = _tables(seen), [path for path in seen if is_image(path)]
    if not images:
        return ""
    if not tables:
        words = _first_words(images)
        told = printable(some(words, limit=3))
        return f"if {told} at the beginning of names are the classes, give each a folder of its own" if words else ""
    names, first = printable(some(tables)), "unpack the archive and " if unpack else ""
    if len(tables) == 1 or any("/" not in path for path in tables):
        return f"if {names} says the labels, {first}give it as --data"
    return f"if {names} say the labels, {first}write one table of them, with a column of splits, and give it as --data"


def _first_words(images: Sequence[str]) -> list[str]:
    """The words that names in the fullest folder begin with, as cat.0.jpg and dog.0.jpg; none where some have none."""
    by_folder: dict[str, list[str]] = {}
    for path in images:
        folder, _, name = path.rpartition("/")
        by_folder.setdefault(folder, []).append(name)
    fullest = max(by_folder.values(), key=len)
    found = [re.match(r"[^\W\d]+(?:[ _-][^\W\d]+)*(?=[\W_]*\d)", name) for name in fullest]
    counts = Counter(each[0] for each in found if each)
    several = sorted(word for word, count in counts.items() if count > 1)
    return several if len(several) > 1 and None not in found else []


def with_common_names(items: Sequence[Item]) -> tuple[list[Item], list[str]]:
    """The items, where a class of another split differs in case or blanks from one of train under train's name.

    Beside them sentences for a person.
    """
    own = {item.label for item in items if item.part in ("train", None)}
    by_key: dict[str, set[str]] = {}
    for label in own:
        by_key.setdefault(same_name(label), set()).add(label)
    new: dict[tuple[Part | None, str], str] = {}
    for part, label in sorted({(item.part, item.label) for item in items if item.label not in own}, key=str):
        if len(alike := by_key.get(same_name(label), set())) == 1:
            (new[part, label],) = alike
    notes = [f"{label} of {part} is taken for {to} of train" for (part, label), to in new.items()]
    notes += [
        f"classes that differ in case or blanks alone are kept apart: {some(sorted(labels))}"
        for labels in by_key.values()
        if len(labels) > 1
    ]
    same = [replace(item, label=new.get((item.part, item.label), item.label)) for item in items]
    return same, [printable(note) for note in notes]


def is_image(path: str) -> bool:
    """Whether a file's name is that of an image."""
    return _extension(path) in EXTENSIONS


def _extension(path: str) -> str:
    return posixpath.splitext(path)[1].lower()


def _no_images(others: Sequence[str], left_out: Sequence[str], where: str) -> str:
    if not others and not left_out:
        return f"{where} must hold images and is empty: {_WANTED}"
    kinds = [f"only {_kinds(others)}"] if others else []
    kinds += [f"{printable(some(left_out))} (results of this program, thumbnails or system files)"] if left_out else []
    hints = []
    if archives := [path for path in others if path.lower().endswith(_ARCHIVES)]:
        hints.append(f"archives in it are not looked into: unpack {printable(some(sorted(archives), limit=3))}")
    if any(_extension(path) in _UNREAD for path in others):
        hints.append(_SAVE)
    if any(_extension(path) == ".arrow" for path in others):
        hints.append("save a table of `datasets` as .parquet (to_parquet)")
    told = "; ".join([_WANTED, *hints])
    return f"{where} must hold images (.jpg, .png, .webp, ...) and has none, {' and '.join(kinds)}: {told}"


def _kinds(files: Sequence[str]) -> str:
    kinds = Counter(_extension(path) or "no extension" for path in files)
    return some([f"{count} x {kind}" for kind, count in sorted(kinds.items(), key=lambda pair: (-pair[1], pair[0]))])


def _labelled(
    images: Sequence[File], paths: Sequence[Steps], inner: Sequence[Steps], splits: GivenSplits
) -> tuple[list[Item], list[str]]:
    """The images that have a class and, where there are splits, one of them; and sentences about the others."""
    items: list[Item] = []
    loose: list[str] = []
    unsplit: list[str] = []
    for file, path, below in zip(images, paths, inner, strict=True):
        part = splits.part_of(path)
        if len(below) < 2:
            loose.append(file.path)
        elif splits.parts and part is None:
            unsplit.append(file.path)
        else:
            items.append(Item(file.path, below[0], part, file.size_bytes, file.at))
    return items, [
        *_left_out("outside class folders have no label and", loose),
        *_left_out("outside the splits", unsplit),
    ]


def _left_out(what: str, names: Sequence[str]) -> list[str]:
    if not names:
        return []
    return [f"{len(names)} images {what} are left out: {some(sorted(map(printable, names)), limit=3)}"]


def _labelled_folders(images: Sequence[File]) -> tuple[list[File], list[str]]:
    """The images outside folders that say to be unlabelled, and the paths of those inside; all where none is left."""
    inside = [any(map(is_unlabelled, file.path.split("/")[:-1])) for file in images]
    kept = [file for file, out in zip(images, inside, strict=True) if not out]
    return (kept, [file.path for file, out in zip(images, inside, strict=True) if out]) if kept else (list(images), [])


def _without_strangers(items: Sequence[Item]) -> tuple[list[Item], list[str]]:
    """The items without splits whose images all stand in one folder that is no class of train, as in test/unknown.

    Beside them sentences for a person.
    """
    own = {same_name(item.label) for item in items if item.part in ("train", None)}
    labels: dict[Part | None, set[str]] = {}
    for item in items:
        labels.setdefault(item.part, set()).add(item.label)
    strange = {part for part, of_part in labels.items() if len(of_part) == 1 and not own & set(map(same_name, of_part))}
    notes = [
        note
        for part in PARTS
        if part in strange
        for note in _left_out(
            f"of {part}, all in a folder that is no class of train,", [item.name for item in items if item.part == part]
        )
    ]
    return [item for item in items if item.part not in strange], notes


def _notes(stray: Sequence[str], left_out: Sequence[str], empty: Sequence[Steps]) -> Iterator[str]:
    if left_out:
        yield f"left out, as they are results of phinas, thumbnails or programs: {printable(some(left_out))}"
    unread = [path for path in stray if _extension(path) in _UNREAD]
    if unread:
        yield f"images of kinds that are not read are left out: {printable(_kinds(unread))}; {_SAVE}"
    if others := [path for path in stray if path not in set(unread)]:
        yield f"files whose names are no images' are left out: {printable(_kinds(others))}"
    if tables := [path for path in _tables(stray) if "/" not in path]:
        yield f"labels are taken from folders; if {printable(some(tables))} says them, give it as --data"
    if empty:
        yield f"folders without images are left out: {printable(some(sorted(map('/'.join, empty))))}"


def _tables(files: Iterable[str]) -> list[str]:
    """Those of the files that may say the labels, of the least depth."""
    found = [path for path in files if path.lower().endswith(TABLES)]
    depth = min((path.count("/") for path in found), default=0)
    return sorted(path for path in found if path.count("/") == depth)


def _check_pieces(inner: Sequence[Steps], tables: Sequence[str], where: str) -> None:
    """Raises InvalidData for numbered pieces of one set beside a table, which may say the labels."""
    tops = sorted({path[0] for path in inner if len(path) > 1})
    if tables and tops and are_pieces(tops):
        raise InvalidData(
            f"{where}: {printable(some(tops))} may be classes, or pieces of one set of images whose labels "
            f"{printable(some(tables))} says: give that as --data, or --split-folders none where the folders are "
            "classes"
        )


def _nested(inner: Sequence[Steps]) -> Iterator[str]:
    """What a person should know where class folders hold folders: those may be the classes."""
    below: dict[str, set[str]] = {}
    for path in inner:
        if len(path) > 2:
            below.setdefault(path[0], set()).add(path[1])
    nested = {label: folders for label, folders in sorted(below.items()) if len(folders) > 1}
    if nested:
        each = [f"{label} ({some(sorted(folders), limit=3)})" for label, folders in nested.items()]
        yield (
            f"folders within a class are taken together: {printable(some(each, limit=3))}; if those are the classes, "
            "give the folder that holds them as --data, or say with --split-folders what the others are"
        )


def _without(folders: Sequence[str], files: Sequence[str]) -> list[Steps]:
    """Folders that hold none of the files, nor do those below them."""
    filled = {"/".join(steps[:at]) for steps in (path.split("/") for path in files) for at in range(1, len(steps))}
    return [tuple(folder.split("/")) for folder in folders if folder and folder not in filled]


def _wrapper_depth(images: Sequence[Steps], empty: Sequence[Steps] = ()) -> int:
    """How many folders merely wrap the rest (photos/cats/1.jpg, photos/dogs/1.jpg: one)."""
    depth = 0
    while True:
        inside = [path for path in images if len(path) > depth + 1]
        tops = {path[depth] for path in inside} | {path[depth] for path in empty if len(path) > depth}
        if len(tops) != 1 or any(len(path) <= depth + 2 for path in inside):
            return depth
        depth += 1


def _inner(path: Steps, depth: int) -> Steps:
    """The path below its first folders; at least the file's name."""
    return path[min(depth, len(path) - 1) :]


def _below_splits(paths: Sequence[Steps], splits: GivenSplits) -> list[Steps]:
    """Each path without its split: the class folder comes first.

    A split's folder may hold itself again (seg_train/seg_train/cats), or folders that only wrap (train/images/cats).
    """
    inner = [splits.without(path) if splits.part_of(path) else path for path in paths]
    if not splits.parts or splits.level:
        return inner
    by_part: dict[Part, list[Steps]] = {}
    for path, below in zip(paths, inner, strict=True):
        if part := splits.part_of(path):
            by_part.setdefault(part, []).append(below)
    depths = {part: _wrapper_depth(of_part) for part, of_part in by_part.items()}
    wrapper = max(by_part["train"], key=len)[: depths["train"]]
    return [
        _unwrapped(below, wrapper, depths[part]) if (part := splits.part_of(path)) else below
        for path, below in zip(paths, inner, strict=True)
    ]


def _unwrapped(path: Steps, wrapper: Steps, depth: int) -> Steps:
    """The path without as many first folders as train's wrapper has, if its split has as many or they are the same."""
    for at, name in enumerate(wrapper):
        if len(path) < 2 or (at >= depth and path[0] != name):
            break
        path = path[1:]
    return path
