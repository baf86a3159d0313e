"""What a source of images tells before any image is decoded: names, classes, given splits."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = get_args(Part)
PART_NAMES: dict[str, Part] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
MAX_IMAGE_BYTES = 256 * 2**20  # a larger file is no photograph; it is counted as corrupt before it is read


@dataclass(frozen=True)
class Item:
    """One image, not yet read. `part` is None where the source gives no splits; `at` is the source's own address."""

    name: str
    label: str
    part: Part | None
    size_bytes: int
    at: int


@dataclass(frozen=True)
class Listing:
    """All images of a source in an order that does not depend on the file system, and what a person should know."""

    items: tuple[Item, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


class Source(Protocol):
    """Where images come from."""

    @property
    def name(self) -> str:
        """A short name for people."""

    @property
    def key(self) -> str:
        """What tells this source from every other: a full path, a name on the hub."""

    def signature(self) -> str:
        """Changes when the images may have changed; cheap. Raises InvalidData."""

    def listing(self) -> Listing:
        """Every image with its label. Raises InvalidData."""

    def read(self, items: Sequence[Item]) -> Iterator[tuple[Item, bytes | Exception]]:
        """The content of each item, or why it cannot be had, in the order that suits the source."""


def some(names: Sequence[str], *, limit: int = 5) -> str:
    """The first names, and how many there are beyond."""
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def printable(name: str) -> str:
    """A name from a file system or an archive, safe to print and to store as UTF-8."""
    text = name.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def one_line(error: BaseException) -> str:
    """An error's own words in one line of bounded length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."
