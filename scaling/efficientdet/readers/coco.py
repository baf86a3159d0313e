"""COCO: one JSON, or one for each split, beside the folders of their images."""

import json
import posixpath
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple

from scaling.efficientdet.readers.annotation import Annotated, Annotations, Fault, Faults, Located, Row
from scaling.efficientdet.readers.tree import Tree, part_of
from search.data.readers.files import DAMAGE
from search.data.source import Part, count_of, one_line, printable, some
from searchspace.errors import InvalidData

_LARGEST_JSON = 2 * 2**30
_ORDER: Sequence[Part | None] = ("train", None, "validation", "test")


class _File(NamedTuple):
    path: str
    part: Part | None
    content: dict[str, Any]
    categories: dict[object, str]


def coco_files(tree: Tree) -> list[str]:
    """The JSON files with boxes of images; of COCO's own the instances alone, not captions or keypoints."""
    found = [path for path in tree.ending(".json") if _is_coco(tree, path)]
    instances = [path for path in found if "instances" in posixpath.basename(path)]
    return instances or found


def _is_coco(tree: Tree, path: str) -> bool:
    try:
        data = tree.read(path, most=_LARGEST_JSON)
    except DAMAGE:
        return "instances" in posixpath.basename(path)  # refused with its reason when it is read
    return all(f'"{key}"'.encode() in data for key in ("images", "annotations", "categories"))


def read_coco(tree: Tree, paths: Sequence[str]) -> Annotations:
    """The images of the files of `coco_files`. Raises InvalidData."""
    files = sorted((_file(tree, path) for path in paths), key=lambda file: _ORDER.index(file.part))
    parts = {file.part for file in files}
    if None in parts and len(parts) > 1:
        odd = [printable(file.path) for file in files if file.part is None]
        raise InvalidData(
            f"{tree}: each COCO file must be of one split where there are splits, and {some(odd)} names none: call it "
            "instances_train.json, instances_val.json or instances_test.json, or take it out"
        )
    faults, notes, images = Faults(), [], []
    located = Located(tree.images)
    for file in files:
        found = list(_images(file, located, faults))
        if found and all(one.image is None for one in found) and len(files) > 1:
            notes.append(f"{printable(file.path)} is left out: none of its {count_of(found, 'image')} is there")
            continue
        images += found
    classes = dict.fromkeys(name for file in files if file.part == files[0].part for name in file.categories.values())
    return Annotations(images, tuple(classes), faults, tuple(notes))


def _file(tree: Tree, path: str) -> _File:
    what = f"{printable(path)} of {tree}"
    try:
        content = json.loads(tree.read(path, most=_LARGEST_JSON))
    except (*DAMAGE, RecursionError) as error:
        raise InvalidData(f"{what} must be JSON as COCO's ({one_line(error)}): mend it or take it out") from None
    lists = ("images", "annotations", "categories")
    good = isinstance(content, dict) and all(
        isinstance(content.get(key), list) and all(isinstance(one, dict) for one in content[key]) for key in lists
    )
    if not good:
        raise InvalidData(
            f"{what} must have lists of objects as images, annotations and categories, as COCO's: mend it"
        )
    for key, wanted in (("images", "file_name"), ("categories", "name")):
        bad = [one for one in content[key] if not isinstance(one.get(wanted), str) or not _is_id(one.get("id"))]
        if bad:
            raise InvalidData(
                f"{what}: each of {key} must have an id and a {wanted}, got {str(bad[0])[:100]!r}: mend it"
            )
        twice = [one for one, count in Counter(one["id"] for one in content[key]).items() if count > 1]
        if twice:
            raise InvalidData(f"{what}: each of {key} must have an id of its own, got {twice[0]!r} twice: mend it")
    return _File(path, part_of(path), content, _categories(content, what))


def _is_id(value: object) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _categories(content: Mapping[str, Any], what: str) -> dict[object, str]:
    """Names by id, in the order of ids, which may have gaps. Groups of other categories without boxes are none."""
    used = {one.get("category_id") for one in content["annotations"] if _is_id(one.get("category_id"))}
    groups = {str(one.get("supercategory")) for one in content["categories"] if one.get("supercategory") != one["name"]}
    kept = [one for one in content["categories"] if one["id"] in used or one["name"] not in groups]
    kept = kept or content["categories"]
    kept.sort(key=lambda one: (isinstance(one["id"], str), one["id"]))
    names = {one["id"]: one["name"] for one in kept}
    if len(set(names.values())) < len(names) or not names:
        raise InvalidData(
            f"{what} must give each category a name of its own, got {some(list(names.values())) or 'none'}"
        )
    return names


def _images(file: _File, located: Located, faults: Faults) -> Iterator[Annotated]:
    folder, content = posixpath.dirname(file.path), file.content
    names = [image["file_name"] for image in content["images"]]
    roots = {posixpath.dirname(path) for path in located.paths}
    same_part = sorted(root for root in roots if file.part is not None and part_of(f"{root}/") == file.part)
    stem = posixpath.basename(file.path).rpartition(".")[0].removeprefix("instances_")
    above = posixpath.dirname(folder)
    near = [folder, posixpath.join(above, stem), posixpath.join(above, "images", stem), posixpath.join(folder, stem)]
    found = located.find(names, near=[*near, *same_part])
    rows = _rows(file, {image["id"] for image in content["images"]}, faults)
    for image in content["images"]:
        name = image["file_name"]
        height, width = image.get("height"), image.get("width")
        known = all(type(side) is int and side > 0 for side in (height, width))
        yield Annotated(found.get(name), name, file.part, rows[image["id"]], (height, width) if known else None)


def _rows(file: _File, images: set[object], faults: Faults) -> Mapping[object, list[Row]]:
    """By the id of the image its boxes."""
    rows: dict[object, list[Row]] = defaultdict(list)
    path = printable(file.path)
    for number, one in enumerate(file.content["annotations"], 1):
        own = one.get("id")
        where = f"{path}: annotation {own if isinstance(own, int) else f'number {number}'}"
        image, category, box = one.get("image_id"), one.get("category_id"), one.get("bbox")
        if not _is_id(image) or image not in images:
            faults.add(Fault.HOMELESS, f"{where} (image {printable(str(image))[:40]})")
        elif not _is_id(category) or category not in file.categories:
            faults.add(Fault.UNKNOWN, f"{where} (category {printable(str(category))[:40]})")
        elif not _is_box(box):
            faults.add(Fault.UNREADABLE, f"{where} (bbox {printable(str(box))[:60]})")
        else:
            x, y, width, height = map(float, box)
            corners = (y, x, y + height, x + width)
            name = file.categories[category]
            rows[image].append(Row(name, corners, f"{where} {name!r}", crowd=one.get("iscrowd") in (1, True)))
    return rows


def _is_box(box: object) -> bool:
    if not isinstance(box, list) or len(box) != 4:
        return False
    return all(
        isinstance(side, int | float) and type(side) is not bool and abs(side) < 1e9 and isfinite(side) for side in box
    )
