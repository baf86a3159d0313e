"""YOLO: `data.yaml` with class names and folders of images; beside images/ stands labels/ with a text for each image.

A line is a class and the box's centre (x, y), width and height in shares of the image, or a class and the corners of
a polygon, whose bounds are the box. An image without a text, or with an empty one, has no objects.
"""

import os
import posixpath
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite, nan
from pathlib import Path
from typing import Any

from scaling.efficientdet.readers.annotation import Annotated, Annotations, Fault, Faults, Located, Row
from scaling.efficientdet.readers.tree import Tree, part_of
from search.data.source import Part, count_of, one_line, printable, some
from searchspace.errors import InvalidData

LARGEST_YAML = 2**20
_LARGEST_TEXT = 64 * 2**20
_KEYS: Mapping[str, Part] = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
_SLACK = 0.01  # beyond 0 or 1, left by rounding
_LABEL_FOLDERS = ("labels", "Labels", "LABELS")
_CLASS_LISTS = ("classes.txt", "obj.names")


def yolo_file(tree: Tree) -> str | None:
    """The path of the `data.yaml`, or of labelImg's list of class names beside labels; None where there is neither."""
    found = [path for path in tree.ending(".yaml", ".yml") if _names_classes(tree, path)]
    lists = [path for path in tree.ending(*_CLASS_LISTS) if posixpath.basename(path) in _CLASS_LISTS]
    return min(found or lists, key=_rank, default=None)


def _rank(path: str) -> tuple[int, bool, str]:
    """The highest folder first, there data.yaml."""
    return path.count("/"), posixpath.basename(path) != "data.yaml", path


def _names_classes(tree: Tree, path: str) -> bool:
    if tree.files[path].size_bytes > LARGEST_YAML:
        return False
    lines = tree.text(path, most=LARGEST_YAML).splitlines()
    keys = {line.partition(":")[0].strip("\"' ") for line in lines if ":" in line}
    return bool(keys & {"names", "nc"}) and bool(keys & {*_KEYS, "path"})


def root_of(text: str, beside: Path) -> Path | None:
    """The folder of images that a `data.yaml` names by `path`, where it stands and is not that in which the file is."""
    said = _parsed(text, f"the data.yaml of {printable(str(beside))}")
    try:
        path = Path(beside, os.path.expanduser(str(said.get("path") or ""))).resolve()
        return path if path.is_dir() and not path.is_relative_to(beside) else None
    except (OSError, ValueError, RuntimeError):  # no path of this machine
        return None


def read_yolo(tree: Tree, path: str, *, text: str | None = None) -> Annotations:
    """The images that `path`, of `yolo_file`, names; `text` is its content where it is no file of the tree.

    Raises InvalidData.
    """
    what = f"{printable(path)} of {tree}"
    parts: dict[str, Part | None]
    notes: list[str]
    if posixpath.basename(path) in _CLASS_LISTS:
        listed = [line.strip() for line in tree.text(path, most=LARGEST_YAML).splitlines()]
        names = dict(enumerate(name for name in listed if name))
        parts, notes = {image: part_of(f"{posixpath.dirname(image)}/") for image in tree.images}, []
    else:
        said = _parsed(tree.text(path, most=LARGEST_YAML) if text is None else text, what)
        names = _names(said, what)
        parts, notes = _parts(tree, path, said, what)
    if len(set(names.values())) < len(names) or not names:
        raise InvalidData(f"{what} must give each class a name of its own, got {some(list(names.values()))}")
    faults = Faults()
    texts = {image: _text_of(image, tree) for image in parts}
    _check_labels(tree, texts, what)
    notes += _without_unlabelled(tree, texts, parts)
    images = [
        Annotated(image, image, part, _rows(tree, texts[image], names, faults), (1, 1)) for image, part in parts.items()
    ]
    without = [image for image in parts if texts[image] not in tree.files]
    if without:
        notes.append(f"{count_of(without, 'image')} without a label file: taken as images without objects")
    images += _without_image(tree, texts, parts)
    return Annotations(images, tuple(names.values()), faults, tuple(notes))


def _check_labels(tree: Tree, texts: Mapping[str, str], what: str) -> None:
    """Raises InvalidData where no image has a label file."""
    if texts and not any(text in tree.files for text in texts.values()):
        first = next(iter(texts.values()))
        raise InvalidData(
            f"{what}: labels must stand in labels/ beside images/, one .txt for each image, got none for "
            f"{count_of(texts, 'image')}: {printable(first)} is missing"
        )


def _without_unlabelled(tree: Tree, texts: Mapping[str, str], parts: dict[str, Part | None]) -> Iterator[str]:
    """Take out held-out splits of which no image has a label file, and tell of them: they cannot be judged by."""
    for part in ("validation", "test"):
        images = [image for image, of in parts.items() if of == part]
        if images and not any(texts[image] in tree.files for image in images):
            yield f"{part} has no label file for any of its {count_of(images, 'image')}: it is left out"
            for image in images:
                del parts[image]


def _parsed(text: str, what: str) -> dict[str, Any]:
    import yaml

    try:
        # The loader that makes nothing but texts, lists and dicts: a class may be called no, 1.0 or null.
        said = yaml.load(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidData(f"{what} must be YAML ({one_line(error)}): mend it") from None
    if not isinstance(said, dict):
        raise InvalidData(f"{what} must be YAML with train, val and names, got {type(said).__name__}: mend it")
    return said


def _names(said: Mapping[str, Any], what: str) -> dict[int, str]:
    """The classes' names by their numbers in the label files, sorted by number."""
    names, count = said.get("names"), said.get("nc")
    if names is None and isinstance(count, str) and count.isdecimal() and int(count) <= 10_000:
        names = [str(number) for number in range(int(count))]
    pairs = (
        list(names.items()) if isinstance(names, dict) else list(enumerate(names)) if isinstance(names, list) else []
    )
    good = all(isinstance(name, str) and name.strip() and str(number).isdecimal() for number, name in pairs)
    if not pairs or not good:
        raise InvalidData(
            f"{what} must have names, a list of the classes' names or one by number: write names: [cat, dog]"
        )
    if isinstance(count, str) and count.isdecimal() and int(count) != len(pairs):
        raise InvalidData(
            f"{what} must have as many names as nc says, got {len(pairs)} and nc: {count}: mend one of them"
        )
    return dict(sorted((int(number), name.strip()) for number, name in pairs))


def _parts(tree: Tree, path: str, said: Mapping[str, Any], what: str) -> tuple[dict[str, Part | None], list[str]]:
    """The split of each image that the folders and lists of a `data.yaml` name."""
    base = posixpath.dirname(path)
    notes: list[str] = []
    by_part: dict[Part, list[str]] = defaultdict(list)
    for key, part in _KEYS.items():
        entries = said.get(key)
        for entry in map(str, entries if isinstance(entries, list) else [entries or ""]):
            found = _images_of(tree, base, str(said.get("path") or ""), entry)
            if not found and entry:
                if part == "train":
                    raise InvalidData(
                        f"{what}: {key} must name a folder or list of images, got {printable(entry)!r}, where "
                        "no image is: mend the path, or put the file beside images/"
                    )
                notes.append(f"{key} of {printable(path)} names {printable(entry)}, where no image is")
            by_part[part] += found
    for part in ("validation", "test"):
        if by_part[part] and set(by_part[part]) == set(by_part["train"]):
            notes.append(f"{part} has the images of train: it is not taken as a split")
            del by_part[part]
    if set(filter(by_part.get, by_part)) == {"train"}:
        return dict.fromkeys(by_part["train"]), notes
    parts: dict[str, Part | None] = {}
    for part in ("train", "validation", "test"):
        parts |= dict.fromkeys(by_part.get(part, ()), part)
    return parts, notes


def _images_of(tree: Tree, base: str, root: str, entry: str) -> list[str]:
    """The images of a folder or a list, wherever in the tree the end of its path leads."""
    steps = [step for step in f"{root}/{entry}".replace("\\", "/").split("/") if step not in ("", ".", "..")]
    for at in range(len(steps)):
        place = posixpath.normpath(posixpath.join(base, *steps[at:]))
        if place in tree.files and place.endswith(".txt"):
            names = [line.strip() for line in tree.text(place, most=_LARGEST_TEXT).splitlines()]
            found = Located(tree.images).find([name for name in names if name], near=[posixpath.dirname(place), base])
            return list(found.values())
        images = [image for image in tree.images if image.startswith(f"{place}/")]
        if images:
            return images
    whole = not steps and (root or entry)
    return [image for image in tree.images if image.startswith(base)] if whole else []


def _text_of(image: str, tree: Tree) -> str:
    """Where an image's boxes stand: in labels/ for images/, else beside the image."""
    stem = image.rpartition(".")[0]
    steps = stem.split("/")
    places = [at for at, step in enumerate(steps[:-1]) if step.lower() == "images"]
    above, below = (steps[: places[-1]], steps[places[-1] + 1 :]) if places else ([], [])
    names = [f"{'/'.join([*above, folder, *below])}.txt" for folder in _LABEL_FOLDERS] if places else []
    return next((name for name in (*names, f"{stem}.txt") if name in tree.files), names[0] if names else f"{stem}.txt")


def _without_image(tree: Tree, texts: Mapping[str, str], parts: Mapping[str, Part | None]) -> list[Annotated]:
    """Label files that belong to no image, in the folders of those that do."""
    folders = {posixpath.dirname(text): parts[image] for image, text in texts.items() if image in parts}
    folders = {folder: part for folder, part in folders.items() if "labels" in folder.lower().split("/")}
    known = {_text_of(image, tree) for image in tree.images}
    lost = [path for path in tree.ending(".txt") if posixpath.dirname(path) in folders and path not in known]
    return [
        Annotated(None, f"the image of {path}", folders[posixpath.dirname(path)], (), None)
        for path in lost
        if posixpath.basename(path) not in _CLASS_LISTS
    ]


def _rows(tree: Tree, path: str, names: Mapping[int, str], faults: Faults) -> list[Row]:
    """The boxes of one label file, in shares of the image."""
    if path not in tree.files:
        return []
    rows: list[Row] = []
    place = printable(path)
    for number, line in enumerate(tree.text(path, most=_LARGEST_TEXT).splitlines(), 1):
        words = line.split()
        if not words:
            continue
        where = f"{place}: line {number} {printable(line.strip())[:60]!r}"
        label, *values = map(_number, words)
        is_box, is_polygon = len(values) == 4, len(values) >= 6 and len(values) % 2 == 0
        if not (is_box or is_polygon) or not all(map(isfinite, (label, *values))) or label != int(label):
            faults.add(Fault.UNREADABLE, where)
        elif int(label) not in names:
            faults.add(Fault.UNKNOWN, where)
        elif not all(-_SLACK <= value <= 1 + _SLACK for value in values):
            faults.add(Fault.OUTSIDE, where)
        else:
            rows.append(Row(names[int(label)], _corners(values), where))
    return rows


def _corners(values: Sequence[float]) -> tuple[float, float, float, float]:
    if len(values) > 4:
        return min(values[1::2]), min(values[::2]), max(values[1::2]), max(values[::2])
    x, y, width, height = values
    return y - height / 2, x - width / 2, y + height / 2, x + width / 2


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return nan
