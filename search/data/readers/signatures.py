"""Short digests of plain values."""

import hashlib
import json
import os
from pathlib import Path


def digest_of(*values: object) -> str:
    """16 hexadecimal digits of the JSON of `values`: the same in every process and on every machine."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def file_signature(path: Path) -> str:
    """From a file's size and time of change."""
    status = os.stat(path)
    return digest_of(status.st_size, status.st_mtime_ns)
