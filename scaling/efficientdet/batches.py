"""Batches of examples as the network's input, made ahead of the network by a thread."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from scaling.efficientdet.augment_boxes import MEAN, Augmentation, Colour, Placed, augmented, letterboxed
from scaling.efficientdet.examples import Example

Made = TypeVar("Made")
AHEAD = 2


@dataclass(frozen=True, eq=False)
class Batch:
    """Images (batch, resolution, resolution, 3) uint8; what belongs to each of them is in `placed`."""

    images: NDArray[np.uint8]
    placed: tuple[Placed, ...]

    def __len__(self) -> int:
        return len(self.placed)


def training_batches(
    examples: Sequence[Example],
    how: Augmentation,
    *,
    resolution: int,
    batch: int,
    seed: int,
    epoch: int,
    fill: Colour = MEAN,
    skip: int = 0,
) -> Iterator[Batch]:
    """One epoch in random order; a last batch that is not full is left out, unless it is the only one.

    Order and views are a function of (seed, epoch) alone; `skip` leaves out the first batches, to go on within one.
    """
    order = np.random.default_rng([seed, epoch]).permutation(len(examples))
    count = max(1, len(order) // batch)

    def make(number: int) -> Batch:
        places = range(number * batch, min(len(order), (number + 1) * batch))
        return _stacked(
            [
                augmented(examples[order[at]], resolution, np.random.default_rng([seed, epoch, at]), how, fill=fill)
                for at in places
            ]
        )

    return made_ahead(make, range(skip, count))


def evaluation_batches(
    examples: Sequence[Example], *, resolution: int, batch: int, fill: Colour = MEAN
) -> Iterator[Batch]:
    """All examples in order, letterboxed; the last batch may be smaller."""

    def make(start: int) -> Batch:
        return _stacked([letterboxed(each, resolution, fill=fill) for each in examples[start : start + batch]])

    return made_ahead(make, range(0, len(examples), batch))


def made_ahead(make: Callable[[int], Made], numbers: Sequence[int], *, ahead: int = AHEAD) -> Iterator[Made]:
    """`make(number)` for each number, in order; a thread is `ahead` of what is taken, and stops with the iterator."""
    with ThreadPoolExecutor(1) as pool:
        waiting: deque[Future[Made]] = deque()
        try:
            for number in numbers:
                waiting.append(pool.submit(make, number))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for each in waiting:
                each.cancel()


def _stacked(placed: Sequence[Placed]) -> Batch:
    return Batch(np.stack([each.image for each in placed]), tuple(placed))
