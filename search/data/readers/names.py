"""Which names of folders, files or table splits read as train, validation or test, and which as folds.

A name is cut into words: TrainingSet, train_images and 01-train hold the word train and fillers. Words that all
siblings share besides (seg_train, seg_test) are fillers too.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from search.data.source import Part

WORDS: Mapping[str, Part] = {
    **dict.fromkeys(("train", "trains", "training", "trn", "trainval"), "train"),
    **dict.fromkeys(("val", "vals", "valid", "validate", "validation", "validating", "vld", "dev"), "validation"),
    **dict.fromkeys(("development", "eval", "evaluate", "evaluation"), "validation"),
    **dict.fromkeys(("test", "tests", "testing", "tst", "holdout", "heldout"), "test"),
    **dict.fromkeys(("entrenamiento", "treino", "trainings", "entrainement", "训练", "训练集", "訓練"), "train"),
    **dict.fromkeys(("validacion", "validacao", "validierung", "验证", "验证集", "検証"), "validation"),
    **dict.fromkeys(("prueba", "pruebas", "teste", "测试", "测试集", "テスト"), "test"),
}
_EVAL = frozenset({"eval", "evaluate", "evaluation"})
_FILLERS = frozenset(
    {
        *("set", "sets", "data", "dataset", "datasets", "image", "images", "img", "imgs", "pic", "pics", "picture"),
        *("pictures", "photo", "photos", "jpg", "jpeg", "png", "split", "splits", "folder", "folders", "dir", "file"),
        *("files", "sample", "samples", "example", "examples", "subset", "full", "all", "new", "final", "original"),
        *("orig", "raw", "resized", "cropped", "processed", "augmented", "aug", "labeled", "labelled", "of", "the"),
        *("public", "private", "daten"),
    }
)
_LONGEST_FIRST = "|".join(sorted(WORDS, key=len, reverse=True))
_JOINED = re.compile(rf"({_LONGEST_FIRST})({'|'.join(sorted(_FILLERS, key=len, reverse=True))})")
_RESEMBLING = re.compile(r"(train|test|valid).*|.*(train|test|valid|training|testing)|tr|te|ts|va|vl")
_FOLDS = frozenset({"fold", "folds", "kfold", "cv", "crossval"})
_PIECES = frozenset(
    {
        *("split", "part", "subset", "set", "batch", "shard", "chunk", "partition", "group", "section", "portion"),
        *("piece", "volume"),
    }
)


class _Reading(NamedTuple):
    words: tuple[str, ...]  # that name a split
    rest: tuple[str, ...]  # that are neither such a word nor a filler nor a number


class Fold(NamedTuple):
    """A name such as fold3: its word (fold), and its number or letter."""

    word: str
    at: int | str


def read_parts(names: Iterable[str]) -> dict[str, Part]:
    """Those of sibling names that read as a split. No train: the siblings may still be classes."""
    readings = _without_shared({name: _read(name) for name in sorted(set(names))})
    one_word = {name: reading for name, reading in readings.items() if len(reading.words) == 1}
    kinds = _kinds_by_rest(one_word)
    found = {name: reading.words[0] for name, reading in one_word.items() if _is_filler(reading.rest, kinds)}
    taken = {WORDS[word] for word in found.values() if word not in _EVAL}
    as_test = "validation" in taken and "test" not in taken  # train, val, eval: the last is the test
    return {name: "test" if as_test and word in _EVAL else WORDS[word] for name, word in found.items()}


def mixed_names(names: Iterable[str]) -> list[str]:
    """Names that hold both a split and a class, as train_cats, train_dogs, test_cats and test_dogs do."""
    readings = {name: _read(name) for name in names}
    one_word = {name: reading for name, reading in readings.items() if len(reading.words) == 1 and reading.rest}
    shared = {rest for rest, kinds in _kinds_by_rest(one_word).items() if len(kinds) > 1}
    return sorted(name for name, reading in one_word.items() if reading.rest in shared) if len(shared) > 1 else []


def read_folds(names: Iterable[str], *, pieces: bool = False) -> dict[str, Fold]:
    """Those of sibling names that are numbered folds of one word; `pieces`: parts, batches, shards instead."""
    by_word: dict[tuple[str, ...], dict[str, Fold]] = defaultdict(dict)
    for name in sorted(set(names)):
        words, numbers = _words(name)
        key = tuple(word for word in words if len(word) > 1 or word == "k")
        marks: list[int | str] = [*map(int, numbers), *(word for word in words if len(word) == 1 and word != "k")]
        known = [word for word in key if word in (_PIECES if pieces else _FOLDS)]
        if len(known) == 1 and len(marks) == 1:
            by_word[key][name] = Fold(known[0], marks[0])
    return max(by_word.values(), key=len, default={})


def are_numbered(names: Iterable[str]) -> bool:
    """Whether sibling names differ in their numbers alone."""
    read = [_words(name) for name in names]
    return len(read) > 1 and all(numbers for _, numbers in read) and len({tuple(words) for words, _ in read}) == 1


def are_pieces(names: Sequence[str]) -> bool:
    """Whether sibling names are numbered parts, batches, shards of one thing, as images_part_1 and images_part_2."""
    return are_numbered(names) and bool(_PIECES & set(_words(names[0])[0]))


def parts_of_folds(folds: Mapping[str, Fold], given: Iterable[Part]) -> dict[str, Part]:
    """The last fold is the test and the one before it validation, where no other folder is; the rest is train."""
    order = sorted(folds, key=lambda name: (isinstance(folds[name].at, str), folds[name].at, name))
    parts: dict[str, Part] = dict.fromkeys(order, "train")
    wanted: list[Part] = [part for part in ("test", "validation") if part not in set(given)]
    for name, part in zip(reversed(order[1:]), wanted, strict=False):
        parts[name] = part
    return parts


def same_name(name: str) -> str:
    """A key that names share which differ in case, blanks, '-', '_' or the form of their accents alone."""
    return " ".join(re.split(r"[\s_-]+", unicodedata.normalize("NFKC", name).casefold().strip()))


def flagged_part(column: str) -> Part | None:
    """The split that a column such as is_valid or IsTest says of each row whether it belongs to."""
    words, _ = _words(column)
    said = _read(" ".join(words[1:]))
    return WORDS[said.words[0]] if words[:1] == ["is"] and len(said.words) == 1 and not said.rest else None


@lru_cache(4096)
def is_unlabelled(name: str) -> bool:
    """Whether a folder's name says that its images have no label."""
    return re.search(r"(?<![a-z])(un|non|not|no|without)[\W_]*label", name.casefold()) is not None


def resemble_splits(names: Iterable[str]) -> list[str]:
    """Names that hold a word for a split glued to others, or its first letters: mytrain, tr."""
    return sorted(name for name in names if any(_RESEMBLING.fullmatch(word) for word in _words(name)[0]))


def _words(name: str) -> tuple[list[str], list[str]]:
    """The words and the numbers of a name."""
    text = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    text = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", text).casefold()
    text = re.sub(r"\b(hold|held)[\W_]*out", r"\1out", text.replace("_", " "))
    text = re.sub(r"\b(train|training)\W*(val|validation)\b", "trainval", text)
    text = re.sub(r"\bcross\W*val(idation)?(?![a-z])", "crossval", text)
    tokens = re.findall(r"[^\W\d]+|\d+", text)
    words = [token for token in tokens if not token.isdecimal()]
    return words, [token for token in tokens if token.isdecimal()]


def _read(name: str) -> _Reading:
    words: list[str] = []
    for word in _words(name)[0]:
        joined = _JOINED.fullmatch(word)
        words += [*joined.groups()] if joined else [word]
    parts = tuple(word for word in words if word in WORDS)
    return _Reading(parts, tuple(word for word in words if word not in WORDS and word not in _FILLERS))


def _without_shared(readings: Mapping[str, _Reading]) -> dict[str, _Reading]:
    """Where names hold two words for splits, that which all of those share says nothing: dev_train, dev_test."""
    several = [set(reading.words) for reading in readings.values() if len(reading.words) > 1]
    shared = set.intersection(*several) if len(several) > 1 else set()
    return {
        name: reading._replace(words=tuple(word for word in reading.words if word not in shared))
        if len(reading.words) > 1
        else reading
        for name, reading in readings.items()
    }


def _kinds_by_rest(readings: Mapping[str, _Reading]) -> dict[tuple[str, ...], set[Part]]:
    kinds: dict[tuple[str, ...], set[Part]] = defaultdict(set)
    for reading in readings.values():
        kinds[reading.rest].add(WORDS[reading.words[0]])
    return kinds


def _is_filler(rest: tuple[str, ...], kinds: Mapping[tuple[str, ...], set[Part]]) -> bool:
    """Whether what is left of a name says nothing: it is nothing, or the same for several splits of which none is bare.

    Beside train and test, train_masks and test_masks are something else.
    """
    return not rest or (len(kinds[rest]) > 1 and len(kinds.get((), ())) < 2)
