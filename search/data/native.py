"""The images' own size: none need be stored larger, as a training enlarges its batches."""

from pathlib import Path

from search.data.cache import cache_folder
from search.data.readers.registry import open_source
from search.data.source import Source, digest_of
from searchspace.errors import StorageError
from searchspace.files import read_json, write_json


def native_resolution(source: str | Source | None = None, *, cache_dir: Path | None = None) -> int:
    """The median shorter side, in pixels, of 64 images of `source` (as in `load`); digits: 48.

    Only headers are read, once: the answer is kept in the cache until the source's signature changes. Raises
    InvalidData, StorageError.
    """
    if source is None or isinstance(source, str):
        source = open_source(source)
    path = cache_folder(cache_dir) / "images" / f"native-{digest_of(source.key)}.json"
    signature = source.signature()
    try:
        known = read_json(path)
        if isinstance(known, dict) and known.get("signature") == signature and type(known.get("pixels")) is int:
            return int(known["pixels"])
    except StorageError:
        pass  # there is none yet, or it is damaged
    pixels = source.native_resolution()
    write_json(path, {"signature": signature, "pixels": pixels})
    return pixels
