"""Kinds of files with images, lists of images, and what is kept of images that were read."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.fuzz.law import Subject
from tests.fuzz.subjects import written


def picture(size: int, colour: int) -> Image.Image:
    """An image that no other one is equal to."""
    rng = np.random.default_rng(colour)
    return Image.fromarray(rng.integers(0, 255, (size, size, 3), dtype=np.uint8))


def encoded(colour: int, form: str = "PNG") -> bytes:
    """A picture as a file."""
    data = io.BytesIO()
    picture(12, colour).save(data, form)
    return data.getvalue()


def _images() -> dict[str, bytes]:
    return {f"{label}/{at}.png": encoded(10 * kind + at) for kind, label in enumerate("ab") for at in range(12)}


def _zip() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in _images().items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return data.getvalue()


def _tar(mode: str) -> Callable[[], bytes]:
    def make() -> bytes:
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode=mode) as archive:  # type: ignore[call-overload]
            for name, content in _images().items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return data.getvalue()

    return make


def _parquet(folder: Path) -> Path:
    import pyarrow as pa
    from pyarrow import parquet

    images = [{"bytes": content, "path": name} for name, content in _images().items()]
    parquet.write_table(
        pa.table({"image": images, "label": [name[0] for name in _images()]}), folder / "images.parquet"
    )
    return folder / "images.parquet"


def loaded(path: Path) -> Any:
    """The images of a source, decoded anew."""
    from search.data import load

    cache = path.parent / "cache"
    for old in cache.rglob("*.*"):
        old.unlink()
    found = load(str(path), resolution=8, cache_dir=cache)
    return found.classes, found.fingerprint, len(found.skipped)


def _cache(suffix: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        from search.data import cache
        from search.data.source import Record

        path, labels = folder / "images.npy", {"train": [0, 1], "validation": [0], "test": [1]}
        with cache.new_pixels(path, rows=4, resolution=8) as pixels:
            for row in range(4):
                pixels.put(row, np.asarray(picture(8, row)))
        starts = {"train": 0, "validation": 2, "test": 3}
        cache.write_record(path, Record(("a", "b"), starts, labels, "f", notes=("n",)), signature="s")  # type: ignore[arg-type]
        return path.with_suffix(suffix)

    return make


def _cache_read(path: Path) -> Any:
    """None where it is to be made anew."""
    from search.data import cache

    try:
        found = cache.read(path.with_suffix(".npy"), signature="s")
    except cache.UnusableCache:
        return None
    assert found is not None
    return found[0], found[1].tobytes()


def _native(folder: Path) -> Path:
    from search.data.native import native_resolution

    (folder / "images.zip").write_bytes(_zip())
    native_resolution(str(folder / "images.zip"), cache_dir=folder / "cache")
    (path,) = (folder / "cache").rglob("native-*.json")
    return path


def _native_read(path: Path) -> Any:
    from search.data.native import native_resolution

    content = path.read_bytes()
    try:
        return native_resolution(str(path.parents[2] / "images.zip"), cache_dir=path.parents[1])
    finally:
        path.write_bytes(content)  # it is made again


LISTING = {f"a/{at}.png": f"{at:032x}" for at in range(5)}


def _listing(folder: Path) -> Path:
    from search.data.contents import CONTENTS, keep_contents

    keep_contents(folder, LISTING, "/photos")
    return folder / CONTENTS


def _listing_read(path: Path) -> Any:
    """None where what changed cannot be told."""
    from search.data.contents import kept_contents, kept_source

    return (kept_contents(path.parent), kept_source(path.parent)) if kept_contents(path.parent) else None


FORMS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "gif": "GIF", "bmp": "BMP"}


def _folder(name: str) -> Callable[[Path], Path]:
    """A folder of 24 images of all forms; the file is the one of this name."""

    def make(folder: Path) -> Path:
        for at, each in enumerate(_images()):
            path = (folder / "photos" / each).with_suffix(f".{[*FORMS][at % len(FORMS)]}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(at, FORMS[path.suffix[1:]]))
        sixteen = np.asarray(picture(12, 99))[:, :, 0].astype(np.uint16) * 257
        Image.fromarray(sixteen).save(folder / "photos" / "a" / "deep.tiff")
        return folder / "photos" / name

    return make


def _in_folder(path: Path) -> Any:
    return loaded(path.parents[1])


def _list(name: str) -> Callable[[Path], Path]:
    """A list of 24 images beside them."""

    def make(folder: Path) -> Path:
        for each, content in _images().items():
            path = folder / each
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        rows = [(each, f"class {each[0]}", "val" if at % 4 == 3 else "train") for at, each in enumerate(_images())]
        if name.endswith("jsonl"):
            lines = [json.dumps({"file_name": each, "label": label, "split": split}) for each, label, split in rows]
        else:
            mark = "\t" if name.endswith("tsv") else ","
            lines = [mark.join(row) for row in (("path", "label", "split"), *rows)]
        (folder / name).write_text("\n".join([*lines, ""]))
        return folder / name

    return make


SUBJECTS = (
    Subject("zip of images", written("images.zip", _zip), loaded, sealed=False),
    Subject("tar of images", written("images.tar", _tar("w")), loaded, sealed=False),
    Subject("compressed tar of images", written("images.tar.gz", _tar("w:gz")), loaded, sealed=False),
    Subject("parquet of images", _parquet, loaded, sealed=False),
    Subject("pixel cache", _cache(".npy"), _cache_read, renewed=True),
    Subject("record of a pixel cache", _cache(".json"), _cache_read, renewed=True, form="json"),
    Subject("images' own size", _native, _native_read, form="json"),
    Subject("listing of images", _listing, _listing_read, renewed=True, form="json"),
    *(
        Subject(f"{form} in a folder", _folder(name), _in_folder, sealed=False)
        for form, name in (
            *(("PNG", "a/0.png"), ("JPEG", "a/1.jpg"), ("WebP", "a/2.webp"), ("GIF", "a/3.gif"), ("BMP", "a/4.bmp")),
            ("TIFF", "a/deep.tiff"),
        )
    ),
    *(Subject(f"{name} of images", _list(name), loaded, sealed=False, form="text") for name in ("l.csv", "l.tsv")),
    Subject("l.jsonl of images", _list("l.jsonl"), loaded, sealed=False, form="text"),
)
