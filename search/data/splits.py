"""Train, validation and test: disjoint, stratified, and the same whatever the order in which images are listed.

Where an image goes depends on the seed, its class and its name alone; byte-identical images go together.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from search.data.source import PARTS, Item, Part, printable, some
from searchspace.errors import InvalidData

# Of the images that have no split yet. Where some splits are given, the missing ones are carved from train.
SHARES: Mapping[Part, float] = {"validation": 0.15, "test": 0.15}
FEW_IMAGES = 10  # a class of fewer is told: its accuracy is known to 10 points at best
UNBALANCED = 3.0  # the largest class in smallest ones, above which balanced accuracy stands beside accuracy
_STRENGTH = ("test", "validation", "train", None)  # who keeps an image that stands in several given splits


@dataclass(frozen=True)
class Splits:
    """The images of each split, ordered so that every beginning of a split is itself stratified."""

    parts: Mapping[Part, tuple[Item, ...]]
    notes: tuple[str, ...]


def split(
    items: Sequence[Item], *, seed: int, content: Mapping[str, str], images: int | None = None, where: str = "the data"
) -> Splits:
    """Give every image a split. Splits that the source gives are kept, missing ones are carved from train.

    `content` has the digests, by name, of images that may have a byte-identical twin. `images` is the most training
    images. Raises InvalidData, beginning with `where`, if a class has too few different images.
    """
    copies = groups_of_copies(items, content)
    groups = [_of_one_part(group) for group in copies]
    notes = [*_several_labels(copies), *_across_splits(copies, groups), *_few_images(groups)]
    given = {group[0].part for group in groups} - {None}
    missing = [part for part in PARTS if part != "train" and part not in given]
    parts: dict[Part, list[Item]] = {part: [] for part in PARTS}
    pool: dict[str, list[tuple[Item, ...]]] = defaultdict(list)
    for group in groups:
        part = group[0].part
        if part in ("validation", "test"):
            parts[part] += group
        else:
            pool[group[0].label].append(group)
    _check_enough(pool, 1 + len(missing), where)
    for groups_of_class in pool.values():
        for part, chosen in _carve(groups_of_class, missing, seed).items():
            parts[part] += chosen
    notes.append(_split_note(bool(given), missing, seed))
    ordered = {part: stratified_order(chosen, seed=seed) for part, chosen in parts.items()}
    train = ordered["train"]
    notes += _out_of_balance(train)
    classes = len({item.label for item in train})
    if images is not None and images < classes:
        raise InvalidData(f"training needs at least one image of each of the {classes} classes, got images={images}")
    if images is not None and images < len(train):
        notes.append(f"{images} of {len(train)} training images are used, as asked")
        ordered["train"] = train[:images]
    return Splits(ordered, tuple(notes))


def check_given(items: Sequence[Item], *, where: str) -> None:
    """Raises InvalidData, beginning with `where`, where a split that the source gives has no image of some class."""
    by_part: dict[Part | None, set[str]] = defaultdict(set)
    for item in items:
        by_part[item.part].add(item.label)
    classes = set[str]().union(*by_part.values())
    missing = {part: sorted(classes - labels) for part, labels in by_part.items()}
    told = [f"{part} has no image of {printable(some(labels))}" for part, labels in missing.items() if labels]
    if told:
        raise InvalidData(
            f"{where}: every split must hold every class, and {' and '.join(told)}: give a class the same name in all "
            "splits, add images of it, or take it out of the other splits (--split-folders train=A,test=B names the "
            "splits that count)"
        )


def stratified_order(items: Iterable[Item], *, seed: int) -> tuple[Item, ...]:
    """A random order in which every beginning holds the classes in their proportions, each class once at first."""
    by_label: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        by_label[item.label].append(item)
    placed: list[tuple[float, bytes, Item]] = []
    for of_class in by_label.values():
        ranked = sorted(((_rank(seed, item.name), item) for item in of_class), key=lambda pair: pair[0])
        placed += [((at + 0.5) / len(ranked) if at else 0.0, rank, item) for at, (rank, item) in enumerate(ranked)]
    placed.sort(key=lambda entry: entry[:2])
    return tuple(item for _, _, item in placed)


def shares_of(count: int, missing: Sequence[Part]) -> dict[Part, int]:
    """How many of `count` images go to each of `missing` (rounded, at least 1) and to train (the rest)."""
    counts: dict[Part, int] = {part: max(1, round(SHARES[part] * count)) for part in missing}
    return {"train": count - sum(counts.values()), **counts}


def _rank(seed: int, name: str) -> bytes:
    return hashlib.blake2b(f"{seed}:{name}".encode("utf-8", "surrogatepass"), digest_size=8).digest()


def groups_of_copies(items: Sequence[Item], content: Mapping[str, str]) -> list[tuple[Item, ...]]:
    """Byte-identical images together, all others alone, each group in the order of names."""
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in sorted(items, key=lambda item: item.name):
        groups[content.get(item.name, f"name:{item.name}")].append(item)
    return [tuple(group) for group in groups.values()]


def _of_one_part(copies: tuple[Item, ...]) -> tuple[Item, ...]:
    """Where copies stand in several given splits, only those of the strongest stay."""
    part = min((item.part for item in copies), key=_STRENGTH.index)
    return tuple(item for item in copies if item.part == part)


def _several_labels(groups: Sequence[tuple[Item, ...]]) -> list[str]:
    odd = [group for group in groups if len({item.label for item in group}) > 1]
    if not odd:
        return []
    names = some([" = ".join(printable(item.name) for item in one_of_each(group, "label")) for group in odd], limit=3)
    stand = "1 image stands" if len(odd) == 1 else f"{len(odd)} images stand"
    return [f"{stand} under several classes, byte for byte the same: {names}; keep each in the class that it shows"]


def _across_splits(copies: Sequence[tuple[Item, ...]], kept: Sequence[tuple[Item, ...]]) -> list[str]:
    torn = [group for group, stay in zip(copies, kept, strict=True) if len(stay) < len(group)]
    dropped = sum(map(len, copies)) - sum(map(len, kept))
    if not dropped:
        return []
    names = some([" = ".join(printable(item.name) for item in one_of_each(group, "part")) for group in torn], limit=3)
    what = "1 image that is a copy" if dropped == 1 else f"{dropped} images that are copies"
    return [
        f"{what} of images of another split {'is' if dropped == 1 else 'are'} left out, the copy in test is kept, then "
        f"that in validation: {names}; take copies out of train, since results on seen images say too much"
    ]


def _few_images(groups: Sequence[tuple[Item, ...]]) -> list[str]:
    counts = Counter(item.label for group in groups for item in group)
    few = [f"{printable(label)} ({count})" for label, count in sorted(counts.items()) if label and count < FEW_IMAGES]
    if not few:
        return []
    return [
        f"{len(few)} of {len(counts)} classes {'has' if len(few) == 1 else 'have'} fewer than {FEW_IMAGES} images: "
        f"{some(few)}; what is measured on so few is chance: add images, or leave the class out"
    ]


def _out_of_balance(train: Sequence[Item]) -> list[str]:
    counts = Counter(item.label for item in train).most_common()
    (large, most), (small, least) = counts[0], counts[-1]
    if most <= UNBALANCED * least:
        return []
    return [
        f"{printable(large)} has {most / least:.1f} times the training images of {printable(small)}: balanced accuracy "
        "is told beside accuracy, and --class-weights balanced lets all classes count alike in training"
    ]


def one_of_each(group: Iterable[Item], what: str) -> list[Item]:
    """The first of some copies for each label, or for each part, in their order."""
    first: dict[str, Item] = {}
    for item in group:
        first.setdefault(getattr(item, what), item)
    return list(first.values())


def _check_enough(pool: Mapping[str, Sequence[tuple[Item, ...]]], least: int, where: str) -> None:
    small = [f"{printable(label)} has {len(groups)}" for label, groups in sorted(pool.items()) if len(groups) < least]
    if small:
        raise InvalidData(
            f"{where}: every class needs at least {least} different images, one for each split, and {some(small)}: "
            "add images, or leave the class out"
        )


def _carve(groups: Sequence[tuple[Item, ...]], missing: Sequence[Part], seed: int) -> dict[Part, list[Item]]:
    parts: tuple[Part, ...] = ("train", *missing)
    room = shares_of(sum(len(group) for group in groups), missing)
    chosen: dict[Part, list[Item]] = {part: [] for part in parts}
    # Largest first, each into the split that lacks most: large groups of copies end in train.
    order = sorted(groups, key=lambda group: (-len(group), _rank(seed, group[0].name)))
    for at, group in enumerate(order):
        empty = [part for part in parts if not chosen[part]]
        candidates = empty if len(order) - at <= len(empty) else parts
        part = max(candidates, key=lambda part: room[part])
        chosen[part] += group
        room[part] -= len(group)
    return chosen


def _split_note(given: bool, missing: Sequence[Part], seed: int) -> str:
    held_out = [round(100 * SHARES[part]) for part in missing]
    if not missing:
        return "the source's own splits are used"
    if not given:
        shares = "/".join(map(str, [100 - sum(held_out), *held_out]))
        return f"split {shares} into train, validation and test by seed {seed}"
    return f"{held_out[0]} % of train each is set apart for {' and '.join(missing)} by seed {seed}"
