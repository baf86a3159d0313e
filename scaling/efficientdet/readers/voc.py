"""Pascal VOC: an XML file for each image, lists of names in ImageSets/Main where there are splits.

xmin, ymin, xmax and ymax are taken as the edges of a box, as labelImg and today's tools write them; the VOC
challenge counted pixels from 1, which is a pixel away at most.
"""

import posixpath
from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import isfinite, nan
from xml.etree import ElementTree

from scaling.efficientdet.readers.annotation import Annotated, Annotations, Fault, Faults, Located, Row
from scaling.efficientdet.readers.tree import Tree, part_of
from search.data.readers.files import DAMAGE
from search.data.source import Part, one_line, printable
from searchspace.errors import InvalidData

LARGEST_XML = 16 * 2**20
_LISTS: dict[str, Part] = {"train": "train", "val": "validation", "valid": "validation", "test": "test"}
_CORNERS = ("ymin", "xmin", "ymax", "xmax")


def voc_files(tree: Tree) -> list[str]:
    """The XML files that annotate images."""
    paths = tree.ending(".xml")
    beside = [path for path in paths if path.split("/")[-2:-1] == ["Annotations"]]
    return beside or paths


def read_voc(tree: Tree, files: Sequence[str]) -> Annotations:
    """The images that `files` annotate. Raises InvalidData."""
    faults = Faults()
    by_folder: dict[str, list[str]] = defaultdict(list)
    for path in files:
        by_folder[posixpath.dirname(path)].append(path)
    located = Located(tree.images, stems=True)
    images: list[Annotated] = []
    notes: list[str] = []
    for folder, paths in by_folder.items():
        above = posixpath.dirname(folder)
        stems = {_stem(path): path for path in paths}
        near = [folder, *(posixpath.join(above, name) for name in ("JPEGImages", "images")), above]
        found = located.find(stems, near=near)
        lists = {part: names for part, names in _lists(tree, above).items() if not stems.keys().isdisjoint(names)}
        parts = {stem: part for part, names in lists.items() for stem in names}
        absent = [stem for stem in parts if stem not in stems]
        images += [Annotated(None, stem, parts[stem], (), None) for stem in absent]
        used = [stem for stem in stems if not lists or stem in parts]
        for stem in used:
            rows, size = _annotation(tree, stems[stem], faults)
            part = parts[stem] if lists else part_of(f"{folder}/")
            images.append(Annotated(found.get(stem), stem, part, rows, size))
        if len(used) < len(stems):
            unlisted = [stem for stem in stems if stem not in parts]
            notes.append(
                f"{len(unlisted)} annotated images of {printable(folder)} are in no list of ImageSets/Main and left out"
            )
    return Annotations(images, None, faults, tuple(notes))


def _stem(path: str) -> str:
    return posixpath.basename(path).rpartition(".")[0]


def _lists(tree: Tree, root: str) -> Mapping[Part, Sequence[str]]:
    """By split the names in ImageSets/Main below `root`; an image in several is in the last of train to test."""
    found: dict[Part, list[str]] = {}
    folder = posixpath.join(root, "ImageSets", "Main")
    for name, part in _LISTS.items():
        path = f"{folder}/{name}.txt"
        if path in tree.files:
            found[part] = _names(tree, path)
    path = f"{folder}/trainval.txt"
    if path in tree.files and "train" not in found:
        found = {"train": _names(tree, path), **found}
    return found


def _names(tree: Tree, path: str) -> list[str]:
    """The first word of each line, unless a second one says that the image is none of the list (-1)."""
    lines = [line.split() for line in tree.text(path, most=LARGEST_XML).splitlines()]
    return [words[0] for words in lines if words and words[1:] != ["-1"]]


class _Safe(ElementTree.TreeBuilder):
    """Refuses what could grow without bounds or read other files."""

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        raise ValueError("it declares a document type, and with it entities, which is not read")


def _annotation(tree: Tree, path: str, faults: Faults) -> tuple[list[Row], tuple[int, int] | None]:
    """The boxes of one file, and the size of its image."""
    try:
        parser = ElementTree.XMLParser(target=_Safe())
        parser.feed(tree.read(path, most=LARGEST_XML))
        root = parser.close()
    except (*DAMAGE, ElementTree.ParseError, RecursionError) as error:
        raise InvalidData(
            f"{printable(path)} of {tree} must be an XML file of Pascal VOC ({one_line(error)}): mend it or take it out"
        ) from error
    height, width = (_number(root.findtext(f"size/{side}")) for side in ("height", "width"))
    size = (int(height), int(width)) if height >= 1 and width >= 1 and isfinite(height * width) else None
    rows: list[Row] = []
    place = printable(path)
    for number, element in enumerate(root.iterfind("object"), 1):
        label = (element.findtext("name") or "").strip()
        where = f"{place}: box {number} {printable(label)!r}"
        y1, x1, y2, x2 = (_number(element.findtext(f"bndbox/{corner}")) for corner in _CORNERS)
        if not label or not isfinite(y1 + x1 + y2 + x2):
            faults.add(Fault.UNREADABLE, where)
            continue
        rows.append(Row(label, (y1, x1, y2, x2), where, _number(element.findtext("difficult")) == 1))
    return rows, size


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return nan
