"""The schedule of one training."""

import math
from dataclasses import dataclass, replace
from typing import Self

ONWARD_RATE = 0.5  # of the peak rate of a training from scratch: what was learnt is kept


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The schedule of one training. The defaults are tuned for 160 steps from scratch, and hold for more.

    Fractions are of all steps, or of the image's side. A move mirrors the edges.
    """

    epochs: int = 4  # after each one validation images are looked at
    epoch_images: int = 1280  # or all there are; the next epoch goes on with those not seen yet
    epoch_validation: int = 1000  # images looked at after each epoch; after the last one all are
    batch_size: int = 32
    learning_rate: float = 0.05  # at its peak
    momentum: float = 0.9  # Nesterov's
    weight_decay: float = 5e-4  # of matrices and kernels only, not of biases and batch norms
    warmup_fraction: float = 0.2  # the rate rises linearly from 0, then falls to 0 by a cosine
    label_smoothing: float = 0.1
    ema_fraction: float = 0.1  # what the moving average of the weights looks back over; at first all steps there are
    zero_init_residual: bool = True  # the last batch norm of residual branches starts at 0 (arXiv:1706.02677)
    flip: bool = False  # left and right with probability 1/2: wrong for digits, right for photographs
    shift: float = 0.06  # the largest move in each direction
    brightness: float = 0.0  # the largest relative change of the mean
    contrast: float = 0.0  # the same of the spread about grey
    colour: float = 0.0  # the same of each channel
    cutout: float = 0.0  # the side of a grey square at a random place

    @classmethod
    def for_data(cls, data: str | None, *, epochs: int | None = None) -> Self:
        """The default recipe for a source of `search.data.load`: photographs are mirrored, digits are not."""
        from search.data import is_digits

        recipe = cls(flip=not is_digits(data))
        return recipe if epochs is None else replace(recipe, epochs=epochs)

    def onward(self, *, epochs: int) -> Self:
        """The recipe to go on by from trained weights: residual branches stay, and the rate is lower."""
        return replace(self, epochs=epochs, zero_init_residual=False, learning_rate=ONWARD_RATE * self.learning_rate)

    def steps_per_epoch(self, images: int) -> int:
        """Steps of one epoch with so many training images."""
        return max(1, min(self.epoch_images, images) // min(self.batch_size, images))


def learning_rate(step: int, steps: int, recipe: Recipe) -> float:
    """The rate at `step` (from 0) of `steps`: linear warm-up, then cosine to 0."""
    warmup = recipe.warmup_fraction * steps
    if step < warmup:
        return recipe.learning_rate * (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1.0, steps - warmup)
    return recipe.learning_rate * 0.5 * (1.0 + math.cos(math.pi * progress))
