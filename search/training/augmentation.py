"""Batches for training and evaluation, made from one uint8 tensor of images, augmented as a whole batch.

Images are stored (n, height, width, 3) uint8. Batches are (batch, 3, height, width) float32 in channels-last
memory, which is how they lie already: nothing is copied to transpose them.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from search.data import Dataset
from search.training.recipe import Recipe
from searchspace.preprocessing import OWN, Preprocessing, Triple


def preprocessing_of(module: nn.Module) -> Preprocessing:
    """What a module's weights want: that of its spec; OWN where it has none."""
    return getattr(getattr(module, "spec", None), "preprocessing", None) or OWN


def normalise(images: Tensor, preprocessing: Preprocessing = OWN) -> Tensor:
    """uint8 (batch, height, width, 3) -> float32 (batch, 3, height, width), channels-last, about -2 to 2."""
    centre, scale = (_channels(each, images.device) for each in (preprocessing.centre, preprocessing.scale))
    return images.permute(0, 3, 1, 2).to(torch.float32).sub_(centre).div_(scale)


def resized(images: Tensor, pixels: int | None, interpolation: str = "bicubic") -> Tensor:
    """uint8 (batch, height, width, 3) -> uint8 (batch, pixels, pixels, 3), antialiased, as Pillow resizes.

    As they are where `pixels` is None or their size.
    """
    if pixels is None or images.shape[1:3] == (pixels, pixels):
        return images
    maps = images.permute(0, 3, 1, 2)
    if images.device.type != "cpu":  # only on a CPU does torch resize uint8
        maps = maps.to(torch.float32)
    out = nn.functional.interpolate(maps, (pixels, pixels), mode=interpolation, align_corners=False, antialias=True)
    if out.dtype != torch.uint8:
        out = out.round_().clamp_(0, 255).to(torch.uint8)
    return out.permute(0, 2, 3, 1)


def prepared(images: Tensor, module: nn.Module, pixels: int | None = None) -> Tensor:
    """uint8 (batch, height, width, 3) as the input of a module, as its spec wants it, at `pixels` (None: their own)."""
    how = preprocessing_of(module)
    return normalise(resized(images, pixels, how.interpolation), how)


def augmented(
    images: Tensor,
    chosen: Tensor,
    recipe: Recipe,
    *,
    generator: torch.Generator,
    preprocessing: Preprocessing = OWN,
    pixels: int | None = None,
) -> Tensor:
    """The `chosen` (batch,) of `images` uint8 (n, height, width, 3), each varied by itself and normalised.

    What varies is the recipe's flip, rotate, shift, tilt, crop, brightness, contrast, colour and cutout. Random
    numbers come from `generator` (on the CPU). Returns float32 (batch, 3, height, width), channels-last, on the device
    of `images`; (batch, 3, pixels, pixels) where `pixels` is given: images are moved as they are stored, then resized.
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
    moved = images[move(chosen)[:, None, None], move(rows)[:, :, None], move(columns)[:, None, :]]
    if recipe.rotate:
        _turn(moved, torch.randint(0, 4, (batch,), generator=generator))
    out = normalise(resized(moved, pixels, preprocessing.interpolation), preprocessing)
    if recipe.tilt or recipe.crop:
        out = _sampled(out, move(_windows(recipe, uniform(4, batch))))
    gain = (1 + recipe.contrast * uniform(batch, 1, 1, 1)) * (1 + recipe.colour * uniform(batch, 3, 1, 1))
    red, green, blue = (127.5 / scale for scale in preprocessing.scale)
    offset = recipe.brightness * uniform(batch, 1, 1, 1) * _channels((red, green, blue), torch.device("cpu"))
    out.mul_(move(gain)).add_(move(offset))
    if recipe.cutout > 0:
        height, width = out.shape[2:]
        out.masked_fill_(move(_square(batch, height, width, recipe.cutout, uniform(2, batch, 1))), 0.0)
    return out


def _channels(values: Triple, device: torch.device) -> Tensor | float:
    """For (batch, 3, height, width); one number where the channels are alike, which is quicker."""
    if len(set(values)) == 1:
        return values[0]
    return torch.tensor(values, device=device)[:, None, None]


def _shifted(length: int, shift: float, draw: Tensor) -> Tensor:
    """Source positions (batch, length) of a line moved by up to `shift` of it, mirrored at its ends."""
    most = round(shift * length)
    at = torch.arange(length) + (draw * (most + 0.5)).round().clamp_(-most, most).to(torch.int64)
    at = torch.where(at < 0, -at, at)
    return torch.where(at > length - 1, 2 * (length - 1) - at, at)


def _turn(images: Tensor, quarters: Tensor) -> None:
    """Turn square images (batch, side, side, 3) in place, each by so many quarters (batch,)."""
    for count in range(1, 4):
        which = (quarters == count).nonzero()[:, 0].to(images.device)
        images[which] = torch.rot90(images[which], count, (1, 2))


def _windows(recipe: Recipe, draw: Tensor) -> Tensor:
    """Where each image is looked at: affine maps (batch, 2, 3) of a tilted part of it, by numbers (4, batch)."""
    angle = math.radians(recipe.tilt) * draw[0]
    side = 1 - recipe.crop * (draw[1] + 1) / 2
    sine, cosine = side * angle.sin(), side * angle.cos()
    across, down = (1 - side) * draw[2:]
    return torch.stack([torch.stack([cosine, -sine, across], 1), torch.stack([sine, cosine, down], 1)], 1)


def _sampled(images: Tensor, windows: Tensor) -> Tensor:
    """Images (batch, 3, height, width) seen through affine maps (batch, 2, 3); beyond their edges they are mirrored."""
    grid = nn.functional.affine_grid(windows, list(images.shape), align_corners=False)
    out = nn.functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    return out.contiguous(memory_format=torch.channels_last)


def _square(batch: int, height: int, width: int, side: float, draw: Tensor) -> Tensor:
    """A mask (batch, 1, height, width), true in one square of each image; squares may hang over the edge."""
    down = (torch.arange(height) + 0.5) / height
    along = (torch.arange(width) + 0.5) / width
    centre = (draw + 1) / 2
    rows = (down - centre[0]).abs() < side / 2
    columns = (along - centre[1]).abs() < side / 2
    return (rows[:, :, None] & columns[:, None, :])[:, None]


def weights_metadata(
    images: Dataset,
    *,
    seed: int,
    preprocessing: Preprocessing | None = None,
    trained_at: int | None = None,
    deployed_at: int | None = None,
) -> dict[str, Any]:
    """What is written beside weights: their classes, how an image becomes their input, the seed of the splits.

    Args:
        images: That they were trained on.
        seed: Of the splits.
        preprocessing: Of the network's spec; None for OWN.
        trained_at: Pixels of the training; None for those of `images`.
        deployed_at: Pixels that the weights were made good at, and are to be used at; None for those of the training.
    """
    trained = trained_at or images.resolution
    return {
        "classes": list(images.classes),
        "trained_at_px": trained,
        "deployed_at_px": deployed_at or trained,
        "preprocessing": (preprocessing or OWN).to_dict(),
        "split_seed": seed,
    }
