"""What a scan found, on disk until the files change: a large data set is not looked at anew at each start."""

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scaling.efficientdet.readers.scan import Scanned
from scaling.efficientdet.readers.tree import Tree
from search.data.cache import cache_folder
from search.data.decode import Remark
from search.data.decode_many import Decoded
from search.data.depth import Extent
from search.data.source import digest_of
from searchspace.errors import StorageError
from searchspace.files import content_of, read_json, write_json

_VERSION = 1  # of how images are looked at; change it with what `scan` finds


def kept_or_new(tree: Tree, paths: Sequence[str], look: Callable[[], Scanned]) -> Scanned:
    """The scan of these images that is kept, while names, sizes and times of their files are the same; else a new one.

    A disk that refuses it is no error: the images are looked at again the next time.
    """
    path = cache_folder(None) / "images" / f"scan-{digest_of(os.fspath(tree.path))}.json"
    signature = digest_of(_VERSION, tree.signature(paths))
    with contextlib.suppress(StorageError):
        if (known := _read(path, signature)) is not None:
            return known
    scanned = look()
    if len(scanned.sizes) + len(scanned.found.unusable) == len(paths):  # else it ended early
        with contextlib.suppress(StorageError):
            write_json(path, {"signature": signature, **asdict(scanned)})
    return scanned


def _read(path: Path, signature: str) -> Scanned | None:
    """None for that of other files. Raises StorageError."""
    stored: Any = read_json(path)
    with content_of(path):
        if stored["signature"] != signature:
            return None
        found = stored["found"]
        decoded = Decoded(
            digests=dict(found["digests"]),
            corrupt=dict(found["corrupt"]),
            unsupported=dict(found["unsupported"]),
            deep={name: Extent(*extent) for name, extent in found["deep"].items()},
            remarks={remark: list(found["remarks"][remark]) for remark in Remark},
        )
        sizes = {name: (tuple(before), tuple(upright)) for name, (before, upright) in stored["sizes"].items()}
        return Scanned(decoded, sizes)
