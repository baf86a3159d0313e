"""Classes of unequal size: weights of classes in a loss, and the accuracy that counts each class alike."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from search.data import Dataset
from search.data.splits import UNBALANCED
from search.training.variation import BALANCED


def class_weights(how: str, labels: NDArray[np.int64]) -> Tensor | None:
    """The weight of each class in a loss, float32 (classes,), by the training labels (n,); None for "none".

    "balanced": the inverse of a class's share, so that all weigh alike and an image weighs 1 on average.
    """
    if how != BALANCED:
        return None
    counts = np.bincount(labels)
    return torch.tensor(len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1)), dtype=torch.float32)


def cross_entropy(logits: Tensor, target: Tensor, *, weights: Tensor | None, smoothing: float) -> Tensor:
    """The loss of logits (batch, classes) for labels (batch,) or shares (batch, classes), a mean.

    weights: Of the classes that are trained on (see `class_weights`), on the logits' device; the others weigh 1.
    """
    if weights is not None:
        weights = nn.functional.pad(weights, (0, logits.shape[1] - len(weights)), value=1.0).to(logits.dtype)
    return nn.functional.cross_entropy(logits, target, weight=weights, label_smoothing=smoothing)


def balanced_accuracy(right: Sequence[bool], labels: NDArray[np.int64]) -> float:
    """The mean, over the classes among `labels` (n,), of the share of a class's images that were told right."""
    told = np.asarray(right, np.float64)
    counts = np.bincount(labels)
    shares = np.bincount(labels, weights=told)[counts > 0] / counts[counts > 0]
    return float(shares.mean())


def balance(images: Dataset, right: Sequence[bool]) -> dict[str, Any]:
    """What a summary says beside the accuracy where the largest class is more than three times the smallest.

    Args:
        images: Of the training and the test.
        right: Which of the first test images were told right.
    """
    counts = np.bincount(images.train.labels, minlength=len(images.classes))
    large, small = int(counts.argmax()), int(counts.argmin())
    if counts[large] <= UNBALANCED * counts[small]:
        return {}
    return {
        "test_balanced_accuracy": balanced_accuracy(right, images.open_test().labels[: len(right)]),
        "largest_class": [images.classes[large], int(counts[large])],
        "smallest_class": [images.classes[small], int(counts[small])],
    }
