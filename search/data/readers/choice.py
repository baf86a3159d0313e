"""--split-folders: a person's own word on which folders are splits."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from search.data.readers.names import WORDS
from search.data.source import Part, printable, some
from searchspace.errors import InvalidArgument

NONE = "none"
EXAMPLE = "--split-folders train=A,B,test=C names them, --split-folders none takes all folders for classes"


@dataclass(frozen=True)
class Choice:
    """Which names are which split: patterns such as fold1 or part*; none at all where there are no splits."""

    patterns: Mapping[str, Part]

    def parts(self, names: Iterable[str]) -> dict[str, Part]:
        """Those of `names` that are a split."""
        found: dict[str, Part] = {}
        for name in names:
            fits = [part for pattern, part in self.patterns.items() if name == pattern or fnmatchcase(name, pattern)]
            if fits:
                found[name] = self.patterns.get(name, fits[0])
        return found

    def is_whole(self, names: Iterable[str]) -> bool:
        """Whether each pattern is among `names`."""
        names = list(names)
        return bool(self.patterns) and not self._absent(names)

    def check_found(self, names: Iterable[str], *, where: str) -> None:
        """Raises InvalidArgument for a pattern that is none of `names`."""
        names = sorted(set(names))
        if absent := self._absent(names):
            raise InvalidArgument(
                f"--split-folders must name folders that are there, got {some(absent)}; {where} has "
                f"{printable(some(names)) or 'none'}: name some of those, or leave the flag out"
            )

    def _absent(self, names: Sequence[str]) -> list[str]:
        return [one for one in self.patterns if not any(one == name or fnmatchcase(name, one) for name in names)]


def parse_choice(text: str | None) -> Choice | None:
    """What --split-folders says: none, or train=A,B,validation=C,test=D. Raises InvalidArgument."""
    if text is None:
        return None
    if text.strip().lower() == NONE:
        return Choice({})
    patterns: dict[str, Part] = {}
    part: Part | None = None
    for piece in text.split(","):
        word, equals, name = piece.rpartition("=")
        if equals:
            part = WORDS.get(word.strip().lower())
        if part is None or not name.strip() or patterns.get(name.strip(), part) != part:
            raise InvalidArgument(_rule(text))
        patterns[name.strip()] = part
    if "train" not in patterns.values():
        raise InvalidArgument(_rule(text))
    return Choice(patterns)


def _rule(text: str) -> str:
    return (
        "--split-folders must be none (all folders are classes) or give each of train, validation and test its "
        f"folders, train always, as in train=fold1,fold2,validation=fold3,test=fold4, got {text!r}"
    )
