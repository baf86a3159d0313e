"""Which format a source has: YOLO by its `data.yaml`, COCO by its JSON, Pascal VOC by its XML files."""

import posixpath
from pathlib import Path
from typing import NamedTuple

from scaling.efficientdet.readers.annotation import Annotations
from scaling.efficientdet.readers.coco import coco_files, read_coco
from scaling.efficientdet.readers.tree import Tree
from scaling.efficientdet.readers.voc import read_voc, voc_files
from scaling.efficientdet.readers.yolo import LARGEST_YAML, read_yolo, root_of, yolo_file
from search.data.source import count_of, printable
from searchspace.errors import InvalidData

_FORMATS = (
    "a data.yaml with images/ and labels/ (YOLO), a JSON such as instances_train.json beside the images (COCO), or "
    "Annotations/*.xml beside JPEGImages/ (Pascal VOC)"
)


class Opened(NamedTuple):
    """The files of a source, and the one that its text names: a data.yaml or a .json, None where it names none.

    `yaml` is the text of a data.yaml that stands outside of the files.
    """

    tree: Tree
    named: str | None = None
    yaml: str | None = None


def open_source(source: str) -> Opened:
    """What a source's text names. Raises InvalidData."""
    try:
        path = Path(source).expanduser().resolve()
        is_file = path.is_file()
    except (OSError, ValueError, RuntimeError) as error:
        raise InvalidData(f"the path {source[:200]!r} cannot be looked at ({error}): give another") from error
    if not is_file or path.suffix.lower() not in (".yaml", ".yml", ".json"):
        return Opened(Tree(path))
    tree = Tree(path.parent)
    if path.suffix.lower() == ".json":
        return Opened(tree, path.name)
    text = tree.text(path.name, most=LARGEST_YAML) if path.name in tree.files else ""
    root = root_of(text, path.parent)
    return Opened(tree, path.name) if root is None else Opened(Tree(root), path.name, text)


def annotations_of(opened: Opened) -> Annotations:
    """What a source's annotations say. Raises InvalidData."""
    tree, named, text = opened
    if not tree.images:
        raise InvalidData(f"{tree} must hold images and their boxes, got no image: give the folder above them")
    if named is not None and not named.lower().endswith(".json"):
        return read_yolo(tree, named, text=text)
    yolo = yolo_file(tree) if named is None else None
    coco = coco_files(tree) if named is None else [named]
    voc = voc_files(tree) if named is None else []
    if yolo is not None:
        found, taken = read_yolo(tree, yolo), f"YOLO, {printable(yolo)}"
    elif coco:
        found, taken = read_coco(tree, coco), f"COCO, {', '.join(map(printable, coco[:3]))}"
    elif voc:
        found, taken = read_voc(tree, voc), f"Pascal VOC, {count_of(voc, 'XML file')} such as {printable(voc[0])}"
    else:
        raise InvalidData(
            f"{tree} must say where the objects of its {count_of(tree.images, 'image')} are, got neither {_FORMATS}"
        )
    others = [name for name, there in (("COCO", coco), ("Pascal VOC", voc)) if there and not taken.startswith(name)]
    besides = f"; annotations of {' and '.join(others)} are there, too, and are not read" if others else ""
    return _with_note(found, f"boxes are read from {taken}{besides}")


def _with_note(found: Annotations, note: str) -> Annotations:
    return Annotations(found.images, found.classes, found.faults, (note, *found.notes))


def name_of(tree: Tree) -> str:
    """A source's name, short, for people."""
    return printable(posixpath.basename(str(tree.path)) or str(tree.path))
