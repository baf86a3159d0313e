"""Small data sets with boxes, in each format."""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from PIL import Image

from scaling.efficientdet.detection_data import load
from scaling.efficientdet.examples import DetectionData, Example

Files = Mapping[str, str | bytes]
Row = tuple[object, ...]


@pytest.fixture(scope="session")
def picture() -> Callable[..., bytes]:
    """picture(seed): the bytes of a noise image, 40 px high and 60 px wide, another for each seed."""

    def make(seed: int = 0, *, size: tuple[int, int] = (40, 60), form: str = "PNG", **saving: Any) -> bytes:
        pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, form, **saving)
        return buffer.getvalue()

    return make


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """folder({"a/b.txt": "text"}): a folder with these files; what was found on them is kept beside it."""
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path / "cache"))

    def make(files: Files, at: str = "data") -> Path:
        for name, content in files.items():
            path = tmp_path / at / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return tmp_path / at

    return make


@pytest.fixture(scope="session")
def voc(picture: Callable[..., bytes]) -> Callable[..., dict[str, str | bytes]]:
    """voc({"a": [("cat", 1, 2, 30, 20)]}): files of Pascal VOC; class, xmin, ymin, xmax, ymax, difficult."""

    def make(
        images: Mapping[str, Sequence[Row]], lists: Mapping[str, str] | None = None, size: str = "60 40"
    ) -> dict[str, str | bytes]:
        files: dict[str, str | bytes] = {}
        for seed, (name, rows) in enumerate(images.items()):
            width, height = size.split()
            objects = "".join(
                f"<object><name>{label}</name><difficult>{int(bool(more))}</difficult><bndbox><xmin>{x1}</xmin>"
                f"<ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
                for label, x1, y1, x2, y2, *more in rows
            )
            files[f"Annotations/{name}.xml"] = (
                f"<annotation><size><width>{width}</width><height>{height}</height></size>{objects}</annotation>"
            )
            files[f"JPEGImages/{name}.png"] = picture(seed)
        return files | {f"ImageSets/Main/{name}.txt": text for name, text in (lists or {}).items()}

    return make


@pytest.fixture(scope="session")
def coco(picture: Callable[..., bytes]) -> Callable[..., dict[str, str | bytes]]:
    """coco({"a": [(1, 5, 6, 10, 20)]}): files of COCO; a box is its category, x, y, width, height, iscrowd."""

    def make(
        images: Mapping[str, Sequence[Row]],
        categories: Mapping[int, str] | None = None,
        *,
        part: str = "",
        beside: str = "",
        **more: Any,
    ) -> dict[str, str | bytes]:
        rows = [(image, *row) for image, of_image in enumerate(images.values(), 1) for row in of_image]
        content = {
            "images": [
                {"id": at, "file_name": f"{name}.png", "width": 60, "height": 40} for at, name in enumerate(images, 1)
            ],
            "annotations": [
                {"id": at, "image_id": image, "category_id": category, "bbox": box, "iscrowd": int(bool(box[4:]))}
                | {"bbox": box[:4]}
                for at, (image, category, *box) in enumerate(rows, 1)
            ],
            "categories": [{"id": at, "name": name} for at, name in (categories or {1: "cat", 2: "dog"}).items()],
        } | more
        pictures = {
            f"{part or 'images'}/{name}.png": picture(seed) for seed, name in enumerate(images, crc32(part.encode()))
        }
        return {f"annotations/instances_{part or 'all'}.json": json.dumps(content), **pictures}

    return make


@pytest.fixture(scope="session")
def yolo(picture: Callable[..., bytes]) -> Callable[..., dict[str, str | bytes]]:
    """yolo({"train/a": "0 .5 .5 .2 .2"}): files of YOLO; None for an image without a label file."""

    def make(
        images: Mapping[str, str | None], yaml: str = "train: images/train\nval: images/val\nnames: [cat, dog]\n"
    ) -> dict[str, str | bytes]:
        files: dict[str, str | bytes] = {"data.yaml": yaml}
        for seed, (name, text) in enumerate(images.items()):
            files[f"images/{name}.png"] = picture(seed)
            if text is not None:
                files[f"labels/{name}.txt"] = text
        return files

    return make


@pytest.fixture
def read(folder: Callable[..., Path]) -> Callable[..., DetectionData]:
    """read(files): the examples of a folder with these files."""
    return lambda files, seed=0: load(str(folder(files)), seed=seed)


@pytest.fixture(scope="session")
def by_name() -> Callable[[DetectionData], dict[str, Example]]:
    """by_name(data): all examples of all splits, by the names of their files."""

    def examples(data: DetectionData) -> dict[str, Example]:
        every = (*data.train, *data.validation, *data.test)
        return {Path(example.id).stem: example for example in every}

    return examples
