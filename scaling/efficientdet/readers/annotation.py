"""What readers of all formats answer: annotated images, and what is wrong with single boxes."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from search.data.source import Part

Corners = tuple[float, float, float, float]


class Fault(StrEnum):
    """What is wrong with a box."""

    UNKNOWN = "of unknown classes"
    OUTSIDE = "outside the image"
    EMPTY = "of no area"
    UNREADABLE = "that cannot be read"
    HOMELESS = "of images that are not listed"


@dataclass
class Faults:
    """Boxes that cannot be used: where each stands, by what is wrong."""

    found: dict[Fault, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, fault: Fault, where: str) -> None:
        """Count one box."""
        self.found[fault].append(where)

    @property
    def count(self) -> int:
        """Of all faults together."""
        return sum(map(len, self.found.values()))


class Row(NamedTuple):
    """One annotated box: its class, (y1, x1, y2, x2), and what the format says of it besides.

    `where` names it for a person.
    """

    label: str
    corners: Corners
    where: str
    difficult: bool = False
    crowd: bool = False


@dataclass(frozen=True)
class Annotated:
    """One listed image.

    Attributes:
        image: Its path in the tree; None where it is missing.
        listed: Its name in the annotations.
        part: None where the source has no splits.
        rows: Its boxes; in shares of height and width where `size` is (1, 1), else in pixels.
        size: Height and width that the boxes mean; None where the annotation does not say.
    """

    image: str | None
    listed: str
    part: Part | None
    rows: Sequence[Row]
    size: tuple[int, int] | None


@dataclass(frozen=True)
class Annotations:
    """All listed images of a source.

    Attributes:
        images: In any order.
        classes: Their names, by label; None where they are those of the training boxes.
        faults: Of boxes that belong to no image or could not be read.
        notes: What a person should know.
    """

    images: Sequence[Annotated]
    classes: tuple[str, ...] | None
    faults: Faults
    notes: tuple[str, ...] = ()


class Located:
    """Finds the images that annotations name by the ends of their paths: root + name, with one root for each list.

    stems: names come without their suffix.
    """

    def __init__(self, images: Iterable[str], *, stems: bool = False) -> None:
        self._stems = stems
        self.paths = tuple(images)
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for path in self.paths:
            self._by_name[self._key(path).rpartition("/")[2]].append(path)

    def find(self, names: Iterable[str], *, near: Sequence[str]) -> dict[str, str]:
        """The path of each name that is there.

        Of several roots (folders before a name) the one with most of the names is taken, then the first of `near`.
        """
        names = list(dict.fromkeys(names))
        found = self._with_root({name: name.replace("\\", "/").removeprefix("./").lstrip("/") for name in names}, near)
        if not found:  # the folders of whoever made the annotations
            found = self._with_root({name: name.replace("\\", "/").rpartition("/")[2] for name in names}, near)
        return found

    def _with_root(self, wanted: dict[str, str], near: Sequence[str]) -> dict[str, str]:
        by_root: dict[str, dict[str, str]] = defaultdict(dict)
        for name, end in wanted.items():
            for path in self._by_name.get(end.rpartition("/")[2], ()):
                key = self._key(path)
                if key == end or key.endswith(f"/{end}"):
                    by_root[key[: len(key) - len(end)].rstrip("/")][name] = path
        counts = Counter({root: len(paths) for root, paths in by_root.items()})
        rank = {root: at for at, root in reversed(list(enumerate(near)))}
        best = max(counts, key=lambda root: (counts[root], -rank.get(root, len(near)), -len(root), root), default="")
        return by_root.get(best, {})

    def _key(self, path: str) -> str:
        folder, slash, name = path.rpartition("/")
        return folder + slash + name.rpartition(".")[0] if self._stems else path
