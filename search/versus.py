"""Two networks on the same test images: which one is better, or whether that cannot be told."""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple


class Difference(NamedTuple):
    """The accuracy of one network minus that of another, a fraction, with its interval."""

    value: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """Of the first network: "better", "worse", or "tied" where the interval holds 0."""
        return "better" if self.low > 0 else "worse" if self.high < 0 else "tied"


def paired_difference(first: Sequence[bool], second: Sequence[bool], *, confidence: float = 0.95) -> Difference:
    """By what each network told right of the same images, in the same order.

    Only images that one of the two tells right count, as in McNemar's test. The interval is Wald's after 1/2 is added
    to each of the four cells (Agresti and Min, Statistics in Medicine 24, 2005, "Wald+2").
    """
    only_first = sum(a and not b for a, b in zip(first, second, strict=True))
    only_second = sum(b and not a for a, b in zip(first, second, strict=True))
    images = len(first) + 2
    centre = (only_first - only_second) / images
    deviation = math.sqrt((only_first + only_second + 1) / images - centre**2) / math.sqrt(images)
    return _around(centre, deviation, confidence, (only_first - only_second) / max(1, len(first)))


def unpaired_difference(
    first: float, second: float, *, images: tuple[int, int], confidence: float = 0.95
) -> Difference:
    """By two accuracies alone, where what each image was told as is not known: wider than the paired one.

    Wald's interval after one right and one wrong image are added to each (Agresti and Caffo, The American
    Statistician 54, 2000).
    """
    smoothed = [(value * count + 1) / (count + 2) for value, count in zip((first, second), images, strict=True)]
    variance = sum(value * (1 - value) / (count + 2) for value, count in zip(smoothed, images, strict=True))
    return _around(smoothed[0] - smoothed[1], math.sqrt(variance), confidence, first - second)


def _around(centre: float, deviation: float, confidence: float, value: float) -> Difference:
    spread = NormalDist().inv_cdf(0.5 + confidence / 2) * deviation
    return Difference(value, max(-1.0, centre - spread), min(1.0, centre + spread))


def packed(right: Sequence[bool]) -> str:
    """Right and wrong, image by image, as text: hexadecimal digits, and the number of images before them."""
    bits = int("1" + "".join("01"[bool(each)] for each in right), 2)
    return f"{len(right)}:{bits:x}"


def unpacked(text: str) -> tuple[bool, ...]:
    """What `packed` was given."""
    count, _, digits = text.partition(":")
    found = tuple(bit == "1" for bit in f"{int(digits, 16):b}"[1:])
    if len(found) != int(count):
        raise ValueError(f"{count} images were packed, got {len(found)}")
    return found
