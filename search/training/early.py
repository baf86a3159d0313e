"""When a training comes to its end early: once what is left could gain less than the validation images can show.

How much that is follows from what the last doubling of the training brought, and from how often it will double yet.
"""

import math
from collections.abc import Sequence
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from search.training.evaluate import binomial_deviation

DOUBLING = 0.2  # of the errors: what twice the images may still take away, where the last doubling took less
CLOSING = 0.15  # of the training so far: the rate falls to 0 within it, once little is left to gain
SURE = 2.0  # standard deviations above chance: a network that is not so much better has not begun to learn
LEAST_LOOKS = 8  # of a training by epochs, before it may end
WORN_OUT = 50  # times that each image was seen: from then on what the last doubling took is all that is expected


def gain_left(accuracy: float, before: float, share: float, *, doubling: float = DOUBLING) -> float:
    """What is left of a training may gain, as a fraction, where `share` of it is over and half of that came `before`.

    doubling: of the errors, what a doubling takes away at least.
    """
    return max(doubling * (1 - accuracy), accuracy - before) * -math.log2(share)


def is_over(history: Sequence[float], share: float, *, passes: float, images: int, chance: float) -> bool:
    """Whether a training by epochs should close.

    Args:
        history: Validation accuracy after each epoch so far, fractions.
        share: Of the training that is over.
        passes: How often each training image was seen.
        images: For validation.
        chance: See `chance_of`; a training that is no better has not begun to learn.
    """
    count = len(history)
    if count < LEAST_LOOKS or share >= 1:
        return False
    accuracy, before = fmean(history[3 * count // 4 :]), fmean(history[3 * count // 8 : count // 2])
    noise = binomial_deviation(accuracy, images)
    left = gain_left(accuracy, before, share, doubling=0.0 if passes >= WORN_OUT else DOUBLING)
    return noise > left and has_learnt(accuracy, noise, chance)


def has_learnt(accuracy: float, noise: float, chance: float) -> bool:
    """Whether an accuracy of this standard deviation is surely above `chance`: what is not may still begin to rise."""
    return accuracy - chance > SURE * noise


def chance_of(labels: NDArray[np.int64]) -> float:
    """The accuracy of naming the largest class of labels (n,) every time."""
    return float(np.bincount(labels).max()) / len(labels)
