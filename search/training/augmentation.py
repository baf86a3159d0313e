"""Batches for training and evaluation, made from one uint8 tensor of images, augmented as a whole batch.

Images are stored (n, height, width, 3) uint8. Batches are (batch, 3, height, width) float32 in channels-last
memory, which is how they lie already: nothing is copied to transpose them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

# One fixed scale for all data, so that a trained network needs no statistics beside its weights.
CENTRE = 127.5
SCALE = 64.0


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What varies from one look at an image to the next. Lengths are fractions of the image's side.

    flip: mirror left and right with probability 1/2 (wrong for digits, right for photographs); shift: largest
    move in each direction, edges mirrored; brightness, contrast, colour: largest relative change of all, of the
    spread about grey, of each channel; cutout: side of a grey square at a random place, 0 for none.
    """

    flip: bool = False
    shift: float = 0.08
    brightness: float = 0.1
    contrast: float = 0.1
    colour: float = 0.1
    cutout: float = 0.0


def normalise(images: Tensor) -> Tensor:
    """uint8 (batch, height, width, 3) -> float32 (batch, 3, height, width), channels-last, about -2 to 2."""
    return images.permute(0, 3, 1, 2).to(torch.float32).sub_(CENTRE).div_(SCALE)


def augmented(images: Tensor, chosen: Tensor, how: Augmentation, *, generator: torch.Generator) -> Tensor:
    """The `chosen` (batch,) of `images` uint8 (n, height, width, 3), each varied by itself and normalised.

    Random numbers come from `generator` (on the CPU); the result is on the device of `images`.
    """
    batch, (height, width) = len(chosen), images.shape[1:3]

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator).mul_(2).sub_(1)

    rows = _moved(height, how.shift, uniform(batch, 1))
    columns = _moved(width, how.shift, uniform(batch, 1))
    if how.flip:
        columns = torch.where(uniform(batch, 1) < 0, columns.flip(1), columns)

    def there(drawn: Tensor) -> Tensor:
        return drawn.to(images.device, non_blocking=True)  # a GPU's queue need not run empty for it

    where = (there(chosen)[:, None, None], there(rows)[:, :, None], there(columns)[:, None, :])
    out = normalise(images[where])
    gain = (1 + how.contrast * uniform(batch, 1, 1, 1)) * (1 + how.colour * uniform(batch, 3, 1, 1))
    lift = how.brightness * uniform(batch, 1, 1, 1) * (CENTRE / SCALE)
    out.mul_(there(gain)).add_(there(lift))
    if how.cutout > 0:
        out.masked_fill_(there(_square(batch, height, width, how.cutout, uniform(2, batch, 1))), 0.0)
    return out


def _moved(length: int, shift: float, draw: Tensor) -> Tensor:
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
