"""What a training starts from: weights of a published network, or random ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from search.data import Split
from search.training.augmentation import prepared
from searchspace.nn import Network, build
from searchspace.nn.weights.calibrate import calibrate
from searchspace.nn.weights.transfer import Transferred, transfer
from searchspace.spec import NetworkSpec

if TYPE_CHECKING:
    from searchspace.nn.weights.sources import Parents

CALIBRATION_IMAGES = 256  # 128 fit worse
CALIBRATION_PX = 96  # at most: 256 images of 224 px take half a minute and gigabytes


class Start(NamedTuple):
    """A network in eval mode, and the name of the network whose weights it has (None: random ones)."""

    network: Network
    parent: str | None


def start(spec: NetworkSpec, parents: Parents | None, *, images: Split, seed: int, pixels: int | None = None) -> Start:
    """A network of `spec` with the weights of the nearest of `parents`, or random ones (None), drawn from `seed`.

    What a network could not keep of its parent is fitted at `pixels` (None: as images are stored); see `transferred`.
    """
    generator = torch.Generator().manual_seed(seed)
    if parents is None:
        return Start(build(spec, generator=generator), None)
    parent = parents.nearest(spec)
    found = transferred(parent.network, spec, images=images, generator=generator, pixels=pixels)
    return Start(found.network, parent.name)


def transferred(
    parent: Network, spec: NetworkSpec, *, images: Split, generator: torch.Generator, pixels: int | None = None
) -> Transferred:
    """A network of `spec` with the parent's weights.

    Where it has other layers than the parent, its statistics and 1x1 convolutions are fitted to the parent's maps of
    the first of the `images`, at `pixels` (None: as they are stored) or CALIBRATION_PX.
    """
    found = transfer(parent, spec, generator=generator)
    if not parent.spec.has_layers_of(spec):
        first = torch.tensor(images.pixels[:CALIBRATION_IMAGES])
        shown_px = min(pixels or first.shape[1], CALIBRATION_PX)
        calibrate(found.network, parent, found.origins, prepared(first, found.network, shown_px))
    return found
