"""The schedule of one training."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

ONWARD_RATE = 0.5  # of the peak rate of a training from scratch: what was learnt is kept


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The schedule of one training. The defaults are tuned for 160 steps from scratch, and hold for more.

    Attributes:
        epochs: How often the rates below are followed by a look at the validation images.
        epoch_images: Training images of one epoch, or all of them where there are fewer. The next epoch goes on with
            images that were not seen yet, so a large data set makes no trial longer.
        epoch_validation: Validation images that are looked at after each epoch but the last, which takes all.
        batch_size: Images of one step of SGD.
        learning_rate: At its peak.
        momentum: Nesterov's.
        weight_decay: Of matrices and kernels only, not of biases and batch norms.
        warmup_fraction: Of all steps. The rate rises linearly from 0, then falls to 0 by a cosine.
        label_smoothing: Share of the target that is spread over all classes.
        ema_fraction: The moving average of the weights looks back over this share of all steps, at first over all
            steps there are.
        zero_init_residual: Residual branches start at 0: the scale of their last batch norm (arXiv:1706.02677).
        flip: Mirror left and right with probability 1/2: wrong for digits, right for photographs.
        shift: Largest move in each direction as a share of the image's side; edges are mirrored.
        brightness: Largest relative change of the mean.
        contrast: Largest relative change of the spread about grey.
        colour: Largest relative change of one channel.
        cutout: Side of a grey square at a random place as a share of the image's side, 0 for none.
    """

    epochs: int = 4
    epoch_images: int = 1280
    epoch_validation: int = 1000
    batch_size: int = 32
    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup_fraction: float = 0.2
    label_smoothing: float = 0.1
    ema_fraction: float = 0.1
    zero_init_residual: bool = True
    flip: bool = False
    shift: float = 0.06
    brightness: float = 0.0
    contrast: float = 0.0
    colour: float = 0.0
    cutout: float = 0.0

    @classmethod
    def for_data(cls, data: str | None, *, epochs: int | None = None) -> Recipe:
        """The default recipe for a source of `search.data.load`: photographs are mirrored, digits are not."""
        from search.data import is_digits

        recipe = cls(flip=not is_digits(data))
        return recipe if epochs is None else replace(recipe, epochs=epochs)

    def onward(self, *, epochs: int) -> Recipe:
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
