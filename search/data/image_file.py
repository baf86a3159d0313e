"""One image file of a user's, read by itself: told in one sentence where it cannot be."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from search.data.decode import why_unsupported
from searchspace.errors import InvalidData
from searchspace.files import storage_error


def read_image(path: Path, decode: Callable[[bytes], NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """What `decode` makes of the file's bytes. Raises StorageError, and InvalidData for a folder or no image."""
    if path.is_dir():
        raise InvalidData(f"{path} must be an image that can be read: it is a folder; give the files in it")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise storage_error("read", path, error) from error
    try:
        return decode(data)
    except Exception as error:  # Pillow's readers raise almost any type on a corrupt file
        why = why_unsupported(error, data) or "it is no image that Pillow reads, or corrupt: give another file"
        raise InvalidData(f"{path} must be an image that can be read: {why}") from error
