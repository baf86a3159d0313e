"""What a quick classifier takes images for, as they are and mirrored or turned: each told by a fit to all others.

The classifier is a kernel ridge regression on histograms of gradients (N. Dalal and B. Triggs, 2005) and a coarse
picture in colour. Leaving one image out is exact and costs nothing more, also for the same image mirrored: the fit has
seen it neither way. No network and no weights are needed; some 1,500 images take seconds.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from search.data import Dataset, Split

PIXELS = 32
ORIENTATIONS = 8
CELL, CELL_STEP = 8, 4  # pixels: cells overlap by half
COARSE = 8  # pixels of the picture in colour
COLOUR_SHARE = 0.5  # of the distance between two pictures
WIDTH = 0.5  # of the kernel, in median squared distances
PENALTIES = (0.003, 0.03, 0.3)
MOST = 1500  # images; half of them validation images, as far as there are
BATCH = 250

Change = Callable[[Tensor], Tensor]

CHANGES: dict[str, Change] = {
    "mirrored": lambda images: images.flip(3),
    "turned by 90 degrees": lambda images: torch.rot90(images, 1, (2, 3)),
    "turned by 180 degrees": lambda images: torch.rot90(images, 2, (2, 3)),
    "turned by 270 degrees": lambda images: torch.rot90(images, 3, (2, 3)),
}


class Looks(NamedTuple):
    """Labels int64 (n,), and the class each image is taken for: as it is, and changed in each way."""

    labels: Tensor
    as_is: Tensor
    changed: dict[str, Tensor]


def looks(images: Dataset) -> Looks:
    """Of the first validation and training images."""
    validation, train = images.validation, images.train
    of_validation = min(len(validation), max(MOST // 2, MOST - len(train)))
    of_train = min(len(train), MOST - of_validation)
    parts = [(validation, of_validation), (train, of_train)]
    pictures = torch.cat([_small(split, count) for split, count in parts])
    labels = torch.cat([torch.tensor(split.labels[:count]) for split, count in parts])
    return told(_features(pictures), {name: _features(change(pictures)) for name, change in CHANGES.items()}, labels)


def _small(split: Split, count: int) -> Tensor:
    """The first images of a split: float32 (count, 3, PIXELS, PIXELS), 0 to 1."""
    found = []
    for start in range(0, count, BATCH):
        batch = torch.tensor(split.pixels[start : min(count, start + BATCH)])
        pictures = batch.permute(0, 3, 1, 2).to(torch.float32) / 255
        found.append(nn.functional.interpolate(pictures, (PIXELS, PIXELS), mode="bilinear", antialias=True))
    return torch.cat(found) if found else torch.empty(0, 3, PIXELS, PIXELS)


def told(features: Tensor, changed: dict[str, Tensor], labels: Tensor) -> Looks:
    """By features float32 (n, features) of the images as they are and changed; n is at least 2."""
    scale, targets = _scale(features), nn.functional.one_hot(labels).to(torch.float64)
    targets = targets - targets.mean(0)
    kernel = _kernel(features, features, scale)
    identity = torch.eye(len(labels), dtype=torch.float64)
    fits: list[tuple[float, Tensor, Tensor]] = []
    for penalty in PENALTIES:
        inverse = torch.linalg.inv(kernel + penalty * identity)
        off = inverse @ targets / inverse.diagonal()[:, None]  # of the target, where the image is left out
        fits.append((float(off.square().sum()), off, inverse))
    _, off, inverse = min(fits, key=lambda fit: fit[0])
    weights = inverse @ targets

    def taken_for(which: Tensor) -> Tensor:
        known = _kernel(which, features, scale)
        taken: Tensor = (known @ weights - (known * inverse).sum(1, keepdim=True) * off).argmax(1)
        return taken

    found = {name: taken_for(each) for name, each in changed.items()}
    return Looks(labels, (targets - off).argmax(1), found)


def _scale(features: Tensor) -> float:
    return max(1e-9, WIDTH * float(torch.cdist(features, features).square().median()))


def _kernel(one: Tensor, other: Tensor, scale: float) -> Tensor:
    apart: Tensor = torch.cdist(one, other)
    return apart.square().div_(-scale).exp_().to(torch.float64)


def _features(pictures: Tensor) -> Tensor:
    """float32 (n, features) of pictures (n, 3, PIXELS, PIXELS)."""
    gradients, colours = _gradients(pictures.mean(1)), nn.functional.adaptive_avg_pool2d(pictures, COARSE) - 0.5
    parts = [(gradients, 1.0), (colours, COLOUR_SHARE)]
    return torch.cat([weight * part.flatten(1) / part[0].numel() ** 0.5 for part, weight in parts], 1)


def _gradients(grey: Tensor) -> Tensor:
    """Of grey pictures (n, PIXELS, PIXELS), by orientation and cell, relative to the cell's own contrast."""
    padded = nn.functional.pad(grey[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    across = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
    down = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    at = torch.atan2(down, across) * (ORIENTATIONS / (2 * torch.pi)) % ORIENTATIONS
    away = (at[:, None] - torch.arange(ORIENTATIONS)[:, None, None]).abs()
    shares = (1 - torch.minimum(away, ORIENTATIONS - away)).clamp(min=0)
    cells = nn.functional.avg_pool2d(shares * torch.hypot(across, down)[:, None], CELL, CELL_STEP, padding=CELL // 2)
    return cells / (cells.square().sum(1, keepdim=True).sqrt() + 0.02)
