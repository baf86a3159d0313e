"""What a training starts from: weights of a published network, or random ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch

from search.data import Split
from search.training.augmentation import prepared
from searchspace.nn import Network, build
from searchspace.nn.weights.calibrate import ParentMaps, calibrating, watched
from searchspace.nn.weights.transfer import Transferred, transfer
from searchspace.spec import NetworkSpec

if TYPE_CHECKING:
    from searchspace.nn.weights.sources import Parent, Parents

CALIBRATION_IMAGES = 256  # 128 fit worse
CALIBRATION_PX = 96  # at most: 256 images of 224 px take half a minute and gigabytes
KEPT_MAPS = 4  # of parents, some 50 MB each: several parents, or several sizes


class Calibration:
    """The images that networks are calibrated by, and what each parent makes of them: the same for all networks."""

    def __init__(self, images: Split) -> None:
        self.images = Split(images.pixels[:CALIBRATION_IMAGES], images.labels[:CALIBRATION_IMAGES])
        self._kept: dict[tuple[str, str, int], ParentMaps] = {}  # the maps used last stand last

    def maps(self, parent: Parent, pixels: int) -> ParentMaps:
        """Of the images at `pixels`. The maps used last are kept."""
        key = (parent.sha256, parent.name, pixels)
        maps = self._kept.pop(key, None)
        if maps is None:
            maps = watched(parent.network, prepared(torch.tensor(self.images.pixels), parent.network, pixels))
        self._kept[key] = maps
        if len(self._kept) > KEPT_MAPS:
            del self._kept[next(iter(self._kept))]
        return maps


class Start(NamedTuple):
    """A network in eval mode, and the name of the network whose weights it has (None: random ones)."""

    network: Network
    parent: str | None


def start(
    spec: NetworkSpec,
    parents: Parents | None,
    *,
    images: Split,
    seed: int,
    pixels: int | None = None,
    calibration: Calibration | None = None,
) -> Start:
    """A network of `spec` with the weights of the nearest of `parents`, or random ones (None), drawn from `seed`.

    What a network could not keep of its parent is fitted at `pixels` (None: as images are stored); see `transferred`.
    A caller that starts many networks from the same images gives their `calibration`.
    """
    generator = torch.Generator().manual_seed(seed)
    if parents is None:
        return Start(build(spec, generator=generator), None)
    parent = parents.nearest(spec)
    maps = None if calibration is None else partial(calibration.maps, parent)
    found = transferred(parent.network, spec, images=images, generator=generator, pixels=pixels, maps=maps)
    return Start(found.network, parent.name)


def transferred(
    parent: Network,
    spec: NetworkSpec,
    *,
    images: Split,
    generator: torch.Generator,
    pixels: int | None = None,
    maps: Callable[[int], ParentMaps] | None = None,
) -> Transferred:
    """A network of `spec` with the parent's weights.

    Where it has other layers than the parent, its statistics and 1x1 convolutions are fitted to the parent's maps of
    the first of the `images`, at `pixels` (None: as they are stored) or CALIBRATION_PX. `maps(pixels)` gives those,
    where they are known.
    """
    found = transfer(parent, spec, generator=generator)
    if not parent.spec.has_layers_of(spec):
        first = torch.tensor(images.pixels[:CALIBRATION_IMAGES])
        shown_px = min(pixels or first.shape[1], CALIBRATION_PX)
        shown = prepared(first, found.network, shown_px)
        known = watched(parent, shown) if maps is None else maps(shown_px)
        with torch.no_grad(), calibrating(found.network, known, found.origins):
            found.network(shown)
    return found
