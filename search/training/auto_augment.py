"""`--augment auto`: whether training images may be mirrored and turned, found out on the images themselves.

Where a class looks the same mirrored, as most do in photographs, a quick classifier takes its images for another class
as often mirrored as they are. It is asked both ways of each image (search.training.looks), so that the images told
differently are compared pair by pair (sign test).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from search.data import Dataset, is_digits
from search.training.looks import Looks, looks
from search.training.variation import AUTO, MIRRORED, SHIFTED, checked
from searchspace.report import percent_text

AUGMENTATION = "augmentation"  # of a study and of summaries: its Decision
LEVEL = 0.01  # of the sign tests of all pairs of classes together
LEAST_MOVED = 0.1  # of the images of two classes: fewer that change sides are no confusion
MOST_LOST = 0.05  # of all images: they are turned where surely fewer are told wrong for it
LEAST_TOLD = 0.1  # of all images, above the largest class: a classifier that tells less says little
LEAST_MOVES = math.ceil(-math.log2(LEVEL))  # images that change sides, for a sign test to be able to tell
SURE = 1.645  # standard deviations, one-sided 95 %


class Confusion(NamedTuple):
    """Images of two classes, and how many more of them are taken for the other class once they are changed."""

    classes: tuple[int, int]
    images: int
    moved: int
    chance: float  # of as many, or more, if changed images looked like the others; times the pairs that were looked at

    @property
    def share(self) -> float:
        """Of the images."""
        return self.moved / self.images


class Decision(NamedTuple):
    """How images are varied, by the names of `--augment`, and why, for people."""

    augment: str
    why: str

    def sentence(self) -> str:
        """For people."""
        return f"augmentation: {self.augment}: {self.why}"


def decide(given: str, data: str | None, images: Dataset) -> Decision:
    """What `--augment` comes to for these images of the source `data`.

    Raises InvalidArgument for names that are none.
    """
    given = checked(given)
    if given != AUTO:
        return Decision(given, "as asked")
    if is_digits(data):
        return Decision(SHIFTED, "the embedded digits are no digits when they are mirrored or turned")
    return by_looks(looks(images), images.classes)


def by_looks(seen: Looks, classes: tuple[str, ...]) -> Decision:
    """What is known of images and of the same mirrored and turned."""
    mirrored = confusion(seen, "mirrored")
    if mirrored is not None:
        augment, why = SHIFTED, f"not mirrored, as {_sentence(mirrored, classes, 'mirrored')}"
    elif int(seen.labels.bincount().topk(2).values.sum()) < LEAST_MOVES:
        augment, why = (
            MIRRORED,
            "mirrored, as is usual: so few images of each class say too little (--augment shift: not)",
        )
    elif not _tells(seen):
        augment, why = MIRRORED, "mirrored, as is usual: a quick look tells too little (--augment shift: not mirrored)"
    else:
        augment, why = MIRRORED, "mirrored, as that makes no class look like another"
    turned, reason = _turning(seen, classes)
    right = ", ".join(
        f"{percent_text(_right(taken_for, seen))} right {how}"
        for how, taken_for in (("as they are", seen.as_is), ("mirrored", seen.changed["mirrored"]))
    )
    augment = checked(f"{augment},rotate") if turned else augment
    return Decision(augment, f"{why}; {reason} (a quick look at {len(seen.labels)} images: {right})")


def _turning(seen: Looks, classes: tuple[str, ...]) -> tuple[bool, str]:
    """Whether images are turned, and why (not): photographs have an up, so that it must be shown to do no harm."""
    ways = [name for name in seen.changed if name != "mirrored"]
    confused = [(found, name) for name in ways if (found := confusion(seen, name)) is not None]
    if confused:
        found, name = max(confused, key=lambda each: each[0].share)
        return False, f"not turned, as {_sentence(found, classes, name)}"
    lost = max(_most_lost(seen, name) for name in ways)
    if not _tells(seen) or lost > MOST_LOST:
        return False, "not turned, as it is not sure that this loses nothing"
    return True, f"turned, as that loses at most {100 * lost:.1f} points"


def confusion(seen: Looks, change: str) -> Confusion | None:
    """The two classes that a change confuses the most, if it surely confuses any.

    Of a pair of classes, images that change sides are counted: those of one taken for the other only once they are
    changed, and only as they are. If changed images looked like the others, both were as likely. Only pairs in which
    enough images change sides for the test to be able to tell are looked at (R. E. Tarone, 1990).
    """
    changed = seen.changed[change]
    away, back = _taken(seen, seen.as_is, changed), _taken(seen, changed, seen.as_is)
    counts = seen.labels.bincount()
    pairs = [
        (one, other, int(away[one, other]), int(back[one, other]))
        for one, other in torch.triu(away + back >= LEAST_MOVES, diagonal=1).nonzero().tolist()
    ]
    found = [
        Confusion((one, other), int(counts[one] + counts[other]), there - here, len(pairs) * _chance(there, here))
        for one, other, there, here in pairs
    ]
    sure = [each for each in found if each.chance <= LEVEL and each.share >= LEAST_MOVED]
    return max(sure, key=lambda each: each.share, default=None)


def _taken(seen: Looks, before: Tensor, after: Tensor) -> Tensor:
    """(classes, classes), symmetric: the images of one class of a pair taken for the other only by `after`."""
    classes = int(seen.labels.max()) + 1  # nothing is taken for a class that no image has
    only = (after != before) & (after != seen.labels)
    flat = seen.labels[only] * classes + after[only]
    table = flat.bincount(minlength=classes * classes).reshape(classes, classes)
    return table + table.T


def _chance(there: int, here: int) -> float:
    """Of `there` or more of as many throws of a coin."""
    throws = there + here
    return sum(math.comb(throws, heads) for heads in range(there, throws + 1)) / (1 << throws)


def _most_lost(seen: Looks, change: str) -> float:
    """The share of images told wrong for a change, at most (one-sided, 95 %), with one more lost than was seen."""
    before, after = seen.as_is == seen.labels, seen.changed[change] == seen.labels
    lost, won, count = int((before & ~after).sum()) + 1, int((after & ~before).sum()), len(before)
    return (lost - won + SURE * math.sqrt(lost + won)) / count


def _tells(seen: Looks) -> bool:
    """Whether the classifier tells classes apart."""
    largest = float(seen.labels.bincount().max()) / len(seen.labels)
    return _right(seen.as_is, seen) >= largest + LEAST_TOLD


def _right(taken_for: Tensor, seen: Looks) -> float:
    return float((taken_for == seen.labels).to(torch.float64).mean())


def _sentence(found: Confusion, classes: tuple[str, ...], how: str) -> str:
    one, other = (classes[each] for each in found.classes)
    return (
        f"{found.moved} of {found.images} images of {one!r} and {other!r} are taken for the other one when {how} "
        f"(chance alone does that {_once_in(found.chance)})"
    )


def _once_in(probability: float) -> str:
    times = 1 / max(probability, 1e-6)
    return "less than once in a million times" if times >= 1e6 else f"once in {float(f'{times:.1g}'):,.0f} times"
