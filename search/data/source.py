"""What a source of labelled images answers, and the values that its answers are made of."""

import hashlib
import json
from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, get_args

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = get_args(Part)
Progress = Callable[[int, int], None]
"""Called with the images done and the images in all."""


class Request(NamedTuple):
    """How the images are wanted: pixels, the seed of the splits, the most training images (None: all)."""

    resolution: int
    seed: int
    images: int | None


@dataclass(frozen=True)
class Record:
    """What is known of decoded images besides their pixels.

    The images of a split are the rows of the pixel file from its start on, one for each label. `fingerprint` is of
    the images' content, labels and splits. `skipped` names corrupt images; `notes` are sentences for a person.
    `contents` is the digest of each image's file by its name, see `search.data.contents`; empty for drawn images.
    """

    classes: tuple[str, ...]
    starts: dict[Part, int]
    labels: dict[Part, list[int]]
    fingerprint: str
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    contents: dict[str, str] = field(default_factory=dict)


class Source(Protocol):
    """Labelled images that `search.data.load` can bring into its cache."""

    name: str
    """Short, for people."""
    key: str
    """What tells this source from every other: a full path, a name on the hub."""

    def signature(self) -> str:
        """Return a text that changes when the images may have changed; cheap. Raises InvalidData."""

    def native_resolution(self) -> int:
        """Return the images' own size: the median shorter side of some of them. Raises InvalidData."""

    def prepare(self, path: Path, request: Request, progress: Progress) -> Record:
        """Write all pixels to `path` (see `cache.new_pixels`). Raises InvalidData, InvalidArgument, StorageError."""


@dataclass(frozen=True)
class Item:
    """One encoded image, not yet read.

    `part` is None where the source has no splits of its own. `at` is the source's own address of the image.
    """

    name: str
    label: str
    part: Part | None
    size_bytes: int
    at: int


@dataclass(frozen=True)
class Listing:
    """All images of a source, in an order that does not depend on the file system, and notes for a person."""

    items: tuple[Item, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


class TooLarge(OSError):
    """A file of more bytes than are read."""


Content = tuple[Item, bytes | Exception]
"""An image's bytes, or why they cannot be had."""


def digest_of(*values: object) -> str:
    """16 hexadecimal digits of the JSON of `values`: the same in every process and on every machine."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def some(names: Sequence[str], *, limit: int = 5) -> str:
    """The first names, and how many there are beyond."""
    first = ", ".join(names[:limit])
    return first if len(names) <= limit else f"{first} and {len(names) - limit} more"


def count_of(things: Sized, what: str) -> str:
    """How many there are of something: 1 image, 2 images."""
    return f"{len(things)} {what}" if len(things) == 1 else f"{len(things)} {what}s"


def printable(name: str) -> str:
    """A name from a file system or an archive, safe to print and to store as UTF-8."""
    text = name.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def one_line(error: BaseException) -> str:
    """An error's own words in one line of bounded length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."
