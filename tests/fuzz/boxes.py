"""Kinds of files that say where the objects of images are: COCO, Pascal VOC, YOLO. They carry no checksums."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.fuzz.images import encoded
from tests.fuzz.law import Subject

NAMES = "abcdefgh"
PIXELS = 12  # of an image's sides
XML = (
    "<annotation><filename>{name}.png</filename><size><width>12</width><height>12</height><depth>3</depth></size>"
    "<object><name>cat</name><difficult>0</difficult>"
    "<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>9</xmax><ymax>8</ymax></bndbox></object></annotation>\n"
)


def _coco() -> dict[str, str]:
    content = {
        "images": [
            {"id": at, "file_name": f"{name}.png", "width": PIXELS, "height": PIXELS} for at, name in enumerate(NAMES)
        ],
        "annotations": [
            {"id": at, "image_id": at, "category_id": 1, "bbox": [2, 3, 6, 5], "area": 30, "iscrowd": 0}
            for at in range(len(NAMES))
        ],
        "categories": [{"id": 1, "name": "cat"}],
    }
    return {"instances.json": json.dumps(content)}


def _voc() -> dict[str, str]:
    lists = {"train": "a\nb\nc\nd\ne\n", "val": "f\ng\nh\n"}
    return {f"Annotations/{name}.xml": XML.format(name=name) for name in NAMES} | {
        f"ImageSets/Main/{part}.txt": text for part, text in lists.items()
    }


def _yolo() -> dict[str, str]:
    labels = {f"labels/{'train' if name < 'f' else 'val'}/{name}.txt": "0 .5 .5 .25 .25\n" for name in NAMES}
    return labels | {"data.yaml": "path: .\ntrain: images/train\nval: images/val\nnames:\n  0: cat\n"}


def _made(texts: Callable[[], Mapping[str, str]], images: str, name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        files = {path: text.encode() for path, text in texts().items()}
        for at, each in enumerate(NAMES):
            files[images.format(name=each, part="train" if each < "f" else "val")] = encoded(at)
        for path, content in files.items():
            (folder / "boxes" / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / "boxes" / path).write_bytes(content)
        return folder / "boxes" / name

    return make


def _read(path: Path) -> Any:
    from scaling.efficientdet.detection_data import load

    found = load(str(next(parent for parent in path.parents if parent.name == "boxes")))
    examples = [*found.train, *found.validation, *found.test]
    return found.classes, [(each.pixels().shape, each.boxes.tolist(), each.labels.tolist()) for each in examples]


COCO = (_coco, "{name}.png")
VOC = (_voc, "JPEGImages/{name}.png")
YOLO = (_yolo, "images/{part}/{name}.png")
SUBJECTS = (
    Subject("boxes of COCO", _made(*COCO, "instances.json"), _read, sealed=False, form="json"),
    *(
        Subject(f"boxes of {form}", _made(*how, name), _read, sealed=False, form="text")
        for form, how, name in (
            ("Pascal VOC", VOC, "Annotations/a.xml"),
            ("Pascal VOC, a list", VOC, "ImageSets/Main/val.txt"),
            ("YOLO", YOLO, "data.yaml"),
            ("YOLO, of an image", YOLO, "labels/train/a.txt"),
        )
    ),
    Subject("image with boxes", _made(*COCO, "a.png"), _read, sealed=False),
)
