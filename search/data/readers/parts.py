"""Which level of folders is the splits, if any; what looks like splits and cannot be told is refused."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from search.data.readers.choice import EXAMPLE, Choice
from search.data.readers.names import (
    are_numbered,
    flagged_part,
    mixed_names,
    parts_of_folds,
    read_folds,
    read_parts,
    resemble_splits,
    same_name,
)
from search.data.source import PARTS, Part, printable, some
from searchspace.errors import InvalidData

_TRUTH = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
Steps = tuple[str, ...]
"""A path in steps: folders, and the file's name as the last."""


@dataclass(frozen=True)
class GivenSplits:
    """The level of the folders that are splits (0: the top), and which is which; no `parts` where there are none."""

    level: int = 0
    parts: Mapping[str, Part] = field(default_factory=dict)

    def part_of(self, path: Steps) -> Part | None:
        """The split of an image; None where it stands in none."""
        return self.parts.get(path[self.level]) if len(path) > self.level + 1 else None

    def without(self, path: Steps) -> Steps:
        """The path as if there were no splits."""
        return path[: self.level] + path[self.level + 1 :]

    def note(self, by: str = "folders") -> str:
        """What was recognised, for a person, and `by` what."""
        of = {part: [name for name, its in sorted(self.parts.items()) if its == part] for part in PARTS}
        below = " below each class" if self.level else ""
        said = "; ".join(f"{part} is {printable(some(names))}" for part, names in of.items() if names)
        return f"splits by {by}{below}: {said} (--split-folders says otherwise)"


def find_splits(paths: Sequence[Steps], choice: Choice | None, *, where: str) -> GivenSplits:
    """The splits among the folders of images, whose wrapping folders are taken off.

    Raises InvalidData where folders look like splits and cannot be told, InvalidArgument for a choice of other names.
    """
    levels = [sorted({path[at] for path in paths if len(path) > at + 1}) for at in range(3)]
    if choice is not None:
        return _chosen(levels, choice, where)
    top = _Siblings(paths, where)
    if parts := top.parts():
        return GivenSplits(0, parts)
    below = levels[1]
    parts = read_parts(below) or parts_of_folds(read_folds(below), ())
    if len(set(parts.values())) < 2 or set(parts) != set(below):
        _check_deeper(paths, where)
        return GivenSplits()
    classes = {(path[0], same_name(path[2])) for path in paths if len(path) > 3}
    if len({name for _, name in classes}) < len(classes):
        tops = sorted({top for top, _ in classes})
        _refuse(where, tops, f"each has its own {some(below)}: give one of them, as --data .../{tops[0]}")
    if "train" not in parts.values():
        _refuse(where, below, "one of them must hold the training images")
    if unsplit := top.names - top.nested:
        hint = f": give --data .../{min(top.nested)}" if len(top.nested) == 1 else ""
        _refuse(where, below, f"{printable(some(sorted(unsplit)))} have none of them{hint}")
    return GivenSplits(1, parts)


def _check_deeper(paths: Sequence[Steps], where: str) -> None:
    """Raises InvalidData for splits within a folder that others stand beside, so that it would become a class."""
    below: dict[Steps, set[str]] = defaultdict(set)
    for folder in {path[:-1] for path in paths}:
        for at in range(1, len(folder)):
            below[folder[:at]].add(folder[at])
    for folder, names in sorted(below.items()):
        parts = read_parts(names)
        if {"train"} < set(parts.values()) and parts.keys() == names:
            inside = "/".join(folder)
            _refuse(where, names, f"they stand within {printable(inside)} alone: give --data .../{printable(inside)}")


def parts_of_names(names: Iterable[str]) -> dict[str, Part]:
    """Which of the names of a table's splits, of shards or of a column's values is which split; perhaps none is."""
    names = sorted(set(names))
    parts = read_parts(names)
    folds = read_folds(set(names) - set(parts))
    return parts | (parts_of_folds(folds, parts.values()) if len(folds) > 1 or parts else {})


def _chosen(levels: Sequence[Sequence[str]], choice: Choice, where: str) -> GivenSplits:
    if not choice.patterns:
        return GivenSplits()
    for level, names in enumerate(levels):
        if choice.is_whole(names):
            return GivenSplits(level, choice.parts(names))
    choice.check_found(next((names for names in levels if choice.parts(names)), levels[0]), where=where)
    return GivenSplits()


def parts_of_values(column: str, values: Iterable[str]) -> dict[str, Part]:
    """The split of each value of a column; the numbers of a column of folds are folds, and is_test is true or not."""
    values = set(values)
    if (part := flagged_part(column)) and {value.lower() for value in values} <= _TRUTH.keys():
        other: Part = "test" if part == "train" else "train"
        return {value: part if _TRUTH[value.lower()] else other for value in values}
    named = {f"{column} {value}": value for value in values}
    if len(read_folds(named)) == len(named) > 1:
        return {named[name]: part for name, part in parts_of_names(named).items()}
    return parts_of_names(values)


class _Siblings:
    """The top folders, and what they hold."""

    def __init__(self, paths: Sequence[Steps], where: str) -> None:
        self.where = where
        self.below: dict[str, set[str]] = defaultdict(set)  # by the name of a folder, the folders in it
        for path in paths:
            if len(path) > 1:
                self.below[path[0]] |= set(path[1:2] if len(path) > 2 else ())
        self.names = set(self.below)
        self.nested = {name for name, folders in self.below.items() if folders}

    def parts(self) -> dict[str, Part]:
        """Which folder is which split; empty where all are classes. Raises InvalidData."""
        if mixed := mixed_names(self.names):
            _refuse(
                self.where,
                mixed,
                "their names hold a split and a class: put them as train/cats, test/cats, or if they are classes give "
                "--split-folders none",
            )
        found = read_parts(self.names)
        folds = read_folds(self.names - set(found))
        if len(folds) > 1 or (folds and found):
            own = read_parts(set.intersection(*(self.below[name] for name in folds)))
            if own:
                why = f"each has its own {some(sorted(own))}: give one of them, as --data .../{min(folds)}"
                _refuse(self.where, folds, why)
            found |= parts_of_folds(folds, found.values())
        if not found:
            self._check_alike()
            return {}
        return found if self._are_splits(found) else {}

    def _are_splits(self, found: Mapping[str, Part]) -> bool:
        """Whether folders of such names are splits, by what they and the others hold. Raises InvalidData."""
        named, others = set(found), self.names - set(found)
        nested = named & self.nested
        if len(named) == 1 and (not nested or not others):
            held_out = "train" not in found.values() and len(others) > 1
            return self._refuse_both(named, others) if held_out else False
        if not nested:
            _refuse(
                self.where,
                self.names,
                "they hold no class folders: put one folder for each class there, or give a .csv of paths and labels",
            )
        if self._hold_classes(named, others):
            return self._refuse_both(named, others)
        if len(named) == 1:
            only_other = len(others) == 1 and len(self.below[min(named)]) > 1
            held_out = "train" not in found.values() and len(others) > 1
            return self._refuse_both(named, others) if only_other or held_out else False
        if not any(found[name] == "train" for name in nested):
            got = some(sorted(named))
            raise InvalidData(
                f"{self.where}: there must be class folders in train, got {got}: add train/, or {EXAMPLE}"
            )
        return True

    def _hold_classes(self, named: Iterable[str], others: Iterable[str]) -> bool:
        """Whether what stands beside splits is more than images without a label, perhaps in a folder of their own."""
        of_splits = self._folders_in(named)
        return any(
            self._folders_in([other]) & of_splits or (len(set(named)) > 1 and len(self.below[other]) > 1)
            for other in others
        )

    def _check_alike(self) -> None:
        """Raises InvalidData for part1, part2, ... or mytrain, mytest, ... that hold the same class folders."""
        pieces = read_folds(self.names, pieces=True)
        are_all = len(pieces) > 1 and set(pieces) == self.names
        if (are_all or are_numbered(self.names) or resemble_splits(self.names)) and self._share(self.names):
            _refuse(self.where, self.names, "all hold the same folders")

    def _share(self, names: Iterable[str]) -> bool:
        """Whether two of the folders hold a folder of the same name."""
        keys = [key for name in names for key in self._folders_in([name])]
        return len(set(keys)) < len(keys)

    def _folders_in(self, names: Iterable[str]) -> set[str]:
        return {same_name(folder) for name in names for folder in self.below[name]}

    def _refuse_both(self, named: set[str], others: set[str]) -> NoReturn:
        split, other = (printable(some(sorted(names))) for names in (named, others))
        has_train = "train" in read_parts(named).values()
        is_alike = self._folders_in(named) & self._folders_in(others)  # the others may be the training images
        move = "" if is_alike and not has_train else f"move {other if has_train else split} elsewhere, or "
        raise InvalidData(
            f"{self.where}: the top folders must be splits (train, val, test) or classes, and are both: {split} beside "
            f"{other}: {move}{EXAMPLE}"
        )


def _refuse(where: str, names: Iterable[str], why: str) -> NoReturn:
    raise InvalidData(
        f"{where}: {printable(some(sorted(names)))} look like splits and cannot be told, as {why}; {EXAMPLE}"
    )
