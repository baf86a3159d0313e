"""The schedule of one training."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from search.training.variation import FIELDS, NONE, before, fields_of

ONWARD_RATE = 0.5  # of the peak rate of a training from scratch: what was learnt is kept
# Fields that stored recipes of before lack, and what they meant.
YOUNG = {"rotate": False, "tilt": 0.0, "crop": 0.0, "class_weights": NONE}


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
    class_weights: str = NONE  # or "balanced": what an image weighs in the loss, see `balance`
    ema_fraction: float = 0.1  # what the moving average of the weights looks back over; at first all steps there are
    zero_init_residual: bool = True  # the last batch norm of residual branches starts at 0 (arXiv:1706.02677)
    flip: bool = False  # left and right with probability 1/2: wrong for digits, right for photographs
    rotate: bool = False  # by a quarter, a half or three quarters of a turn, or not at all, all as likely
    shift: float = 0.06  # the largest move in each direction
    tilt: float = 0.0  # the largest rotation in degrees, either way
    crop: float = 0.0  # the most of the side that is cut away; what is left is enlarged
    brightness: float = 0.0  # the largest relative change of the mean
    contrast: float = 0.0  # the same of the spread about grey
    colour: float = 0.0  # the same of each channel
    cutout: float = 0.0  # the side of a grey square at a random place

    @classmethod
    def for_data(cls, data: str | None, *, epochs: int | None = None) -> Self:
        """The recipe of before `--augment`: photographs are mirrored, the embedded digits are not."""
        recipe = cls().varied(before(data))
        return recipe if epochs is None else replace(recipe, epochs=epochs)

    def varied(self, augment: str) -> Self:
        """The same with images varied as `augment` says, a value of `--augment` other than auto."""
        return replace(self, **fields_of(augment))

    def varied_as(self, other: "Recipe") -> Self:
        """The same with images varied, and classes weighed, as by another recipe."""
        return replace(self, **{name: getattr(other, name) for name in (*FIELDS, "class_weights")})

    def identity(self) -> dict[str, Any]:
        """What tells it from other recipes, as it is stored; younger fields only where they say something."""
        return {name: value for name, value in asdict(self).items() if YOUNG.get(name, ...) != value}

    def onward(self, *, epochs: int) -> Self:
        """The recipe to go on by from trained weights: residual branches stay, and the rate is lower."""
        return replace(self, epochs=epochs, zero_init_residual=False, learning_rate=ONWARD_RATE * self.learning_rate)

    def steps_per_epoch(self, images: int) -> int:
        """Steps of one epoch with so many training images."""
        return max(1, min(self.epoch_images, images) // min(self.batch_size, images))


@dataclass(frozen=True, kw_only=True)
class FineTuning(Recipe):
    """How a network that has weights learns another task. What each element is worth: README.md of this folder.

    Shares are of the training's time: the clock is the schedule. `epoch_images` of a Recipe is not used.
    """

    epochs: int = 10  # looks at validation images
    look_growth: float = 1.0  # above 1: each look after so many times the images of the one before, else equal steps
    learning_rate: float = 5e-4  # of the classifier at its peak, for batches of 32
    adam: bool = True  # AdamW; else SGD, for which the rates must be some 20 times as high
    warmup_fraction: float = 0.05
    warmup_steps: int = 100  # the rate rises within at least so many: Adam's first steps undo what was learnt
    weight_decay: float = 0.02  # as AdamW counts it: times the learning rate
    zero_init_residual: bool = False  # what was learnt is kept
    ema_fraction: float = 0.1  # of the steps so far
    input_rate: float = 0.3  # the first block's rate, of the classifier's; those between by equal factors
    head_images: int = 2000  # the new classifier is fitted to in closed form, before any step; 0: it starts at 0
    small: float = 2 / 3  # the smaller size that training begins at, of the deployed one
    small_share: float = 0.5  # how long; where that size is below `small_least` training begins at the deployed one
    small_least: int = 64
    frozen: float = 0.0  # the first blocks that keep their weights, as a share of all
    stops_early: bool = True  # where what is left to gain is less than the validation images can show
    keeps_statistics: bool = True  # of batch norms, which then are a scale and an offset that train
    mixup: float = 0.0  # Beta(mixup, mixup) mixes pairs of images and their labels (arXiv:1710.09412); 0: none

    def rates(self, blocks: int) -> tuple[float, ...]:
        """What the rate is multiplied with, from the first of `blocks` to the last."""
        return tuple(self.input_rate ** (1 - (at + 1) / blocks) for at in range(blocks))

    def look_at(self, number: int) -> float:
        """The share of the training after which a look comes, counted from 1; the last comes at the end."""
        return self.look_growth ** (number - self.epochs) if self.look_growth > 1 else number / self.epochs

    def looks_by(self, share: float) -> int:
        """How many looks come within a share of the training."""
        return sum(self.look_at(number) <= share + 1e-9 for number in range(1, self.epochs + 1))

    def pixels_at(self, share: float, pixels: int) -> int:
        """The size to train at when `share` of the training is over, for a network deployed at `pixels`."""
        small = round(self.small * pixels / 32) * 32
        return small if share < self.small_share and self.small_least <= small < pixels else pixels

    def rate_at(self, share: float) -> float:
        """The learning rate there: linear warm-up, then cosine to 0."""
        if share < self.warmup_fraction:
            return self.learning_rate * (0.02 + 0.98 * share / self.warmup_fraction)
        progress = min(1.0, (share - self.warmup_fraction) / (1 - self.warmup_fraction))
        return self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * progress))


def learning_rate(step: float, steps: int, recipe: Recipe) -> float:
    """The rate at `step` (from 0) of `steps`: linear warm-up, then cosine to 0."""
    warmup = recipe.warmup_fraction * steps
    if step < warmup:
        return recipe.learning_rate * (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1.0, steps - warmup)
    return recipe.learning_rate * 0.5 * (1.0 + math.cos(math.pi * progress))
