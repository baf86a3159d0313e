"""Batches for training and evaluation, made from one uint8 tensor of images, augmented as a whole batch.

Images are stored (n, height, width, 3) uint8. Batches are (batch, 3, height, width) float32 in channels-last
memory, which is how they lie already: nothing is copied to transpose them.
"""

from typing import Any

import torch
from torch import Tensor

from search.data import Dataset
from search.training.recipe import Recipe

# One fixed scale for all data, so that a trained network needs no statistics beside its weights.
CENTRE = 127.5
SCALE = 64.0


def normalise(images: Tensor) -> Tensor:
    """uint8 (batch, height, width, 3) -> float32 (batch, 3, height, width), channels-last, about -2 to 2."""
    return images.permute(0, 3, 1, 2).to(torch.float32).sub_(CENTRE).div_(SCALE)


def augmented(images: Tensor, chosen: Tensor, recipe: Recipe, *, generator: torch.Generator) -> Tensor:
    """The `chosen` (batch,) of `images` uint8 (n, height, width, 3), each varied by itself and normalised.

    What varies is the recipe's flip, shift, brightness, contrast, colour and cutout. Random numbers come from
    `generator` (on the CPU). Returns float32 (batch, 3, height, width), channels-last, on the device of `images`.
    """
    batch, (height, width) = len(chosen), images.shape[1:3]

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator).mul_(2).sub_(1)

    def move(drawn: Tensor) -> Tensor:
        return drawn.to(images.device, non_blocking=True)  # a GPU's queue need not run empty for it

    rows = _shifted(height, recipe.shift, uniform(batch, 1))
    columns = _shifted(width, recipe.shift, uniform(batch, 1))
    if recipe.flip:
        columns = torch.where(uniform(batch, 1) < 0, columns.flip(1), columns)
    out = normalise(images[move(chosen)[:, None, None], move(rows)[:, :, None], move(columns)[:, None, :]])
    gain = (1 + recipe.contrast * uniform(batch, 1, 1, 1)) * (1 + recipe.colour * uniform(batch, 3, 1, 1))
    offset = recipe.brightness * uniform(batch, 1, 1, 1) * (CENTRE / SCALE)
    out.mul_(move(gain)).add_(move(offset))
    if recipe.cutout > 0:
        out.masked_fill_(move(_square(batch, height, width, recipe.cutout, uniform(2, batch, 1))), 0.0)
    return out


def _shifted(length: int, shift: float, draw: Tensor) -> Tensor:
    """Source positions (batch, length) of a line moved by up to `shift` of it, mirrored at its ends."""
    most = round(shift * length)
    at = torch.arange(length) + (draw * (most + 0.5)).round().clamp_(-most, most).to(torch.int64)
    at = torch.where(at < 0, -at, at)
    return torch.where(at > length - 1, 2 * (length - 1) - at, at)


def _square(batch: int, height: int, width: int, side: float, draw: Tensor) -> Tensor:
    """A mask (batch, 1, height, width), true in one square of each image; squares may hang over the edge."""
    down = (torch.arange(height) + 0.5) / height
    along = (torch.arange(width) + 0.5) / width
    centre = (draw + 1) / 2
    rows = (down - centre[0]).abs() < side / 2
    columns = (along - centre[1]).abs() < side / 2
    return (rows[:, :, None] & columns[:, None, :])[:, None]


def weights_metadata(images: Dataset, *, seed: int) -> dict[str, Any]:
    """What is written beside weights: their classes, how their images were prepared, the seed of the splits."""
    return {
        "classes": list(images.classes),
        "trained_at_px": images.resolution,
        "pixel_centre": CENTRE,
        "pixel_scale": SCALE,
        "split_seed": seed,
    }
