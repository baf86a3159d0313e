"""Accuracy of all proposals of an iteration before any training, in one pass over the images.

All proposals share the network's own forward pass, and the better half of them alone sees most of the images: a round
of successive halving (arXiv:1502.07943).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from search.data import Split
from search.training.augmentation import normalise
from searchspace.channels.steps import Step
from searchspace.graph import Graph, lower
from searchspace.nn import Network
from searchspace.nn.execute import Branch, Weights, branch, folded_weights, forward, logits
from searchspace.nn.weights.prune import Gates

SCREEN_IMAGES = 1000  # that offers are looked at before any training
FIRST_LOOK = 0.3  # of the images; the better half of the offers sees the others too
FEWEST = 6  # offers that see them all
ACTIVATION_BYTES = 1 << 28  # outputs of all layers that are held at once
LARGEST_BATCH = 250

Rank = tuple[float, ...]  # the lower the better


def batch_for(network: Network, pixels: int) -> int:
    """Images at once so that the outputs of all layers stay within ACTIVATION_BYTES."""
    spec = network.spec.with_resolution(max(pixels, network.spec.total_stride))
    each = 4 * sum(c * h * w for c, h, w in (layer.out_shape for layer in lower(spec).layers))
    return max(1, min(LARGEST_BATCH, ACTIVATION_BYTES // each))


class Look(NamedTuple):
    """What a step's network, with the weights that it takes over, comes to on the first `images` images: top-1
    accuracy, mean cross-entropy, and the accuracy of the network before it on the same images."""

    accuracy: float
    loss: float
    before: float
    images: int


def screen(
    network: Network,
    steps: Sequence[Step],
    images: Split,
    *,
    gates: Gates,
    rank: Callable[[int, Look], Rank] | None = None,
    device: str = "cpu",
) -> list[Look]:
    """A look at each step. With `rank` (of a step by its place and a first look at FIRST_LOOK of the images) the better
    half, and at least FEWEST, see all images. The network is on the CPU afterwards."""
    network.to(device)  # not in inference mode, in which it would come back as one that cannot be trained
    found = _screened(network, steps, images, gates, rank, device)
    network.cpu()
    return found


@torch.inference_mode()
def _screened(
    network: Network,
    steps: Sequence[Step],
    images: Split,
    gates: Gates,
    rank: Callable[[int, Look], Rank] | None,
    device: str,
) -> list[Look]:
    graph, weights = lower(network.spec), folded_weights(network)
    ready = _Ready(graph, weights, [branch(graph, weights, step, gates=gates) for step in steps], device)
    size = batch_for(network, images.pixels.shape[1])
    few = round(FIRST_LOOK * len(images))
    everyone = range(len(steps))
    if rank is None or few == 0 or len(steps) <= FEWEST:
        return list(ready.look(everyone, images, size).values())
    looks = ready.look(everyone, Split(images.pixels[:few], images.labels[:few]), size)
    better = sorted(everyone, key=lambda place: rank(place, looks[place]))
    better = better[: max(FEWEST, -(-len(steps) // 2))]
    more = ready.look(better, Split(images.pixels[few:], images.labels[few:]), size)
    return [_both(look, more.get(place)) for place, look in looks.items()]


def _both(one: Look, other: Look | None) -> Look:
    """Two looks at different images as one."""
    if other is None:
        return one
    images = one.images + other.images
    share = one.images / images

    def mean(first: float, second: float) -> float:
        return share * first + (1 - share) * second

    return Look(mean(one.accuracy, other.accuracy), mean(one.loss, other.loss), mean(one.before, other.before), images)


class _Ready(NamedTuple):
    """A network and the steps from it, to be looked at."""

    graph: Graph
    weights: Weights
    branches: list[Branch]
    device: str

    def look(self, places: Sequence[int], images: Split, size: int) -> dict[int, Look]:
        """The steps at `places` on all `images`, `size` at a time."""
        right, loss, own = dict.fromkeys(places, 0), dict.fromkeys(places, 0.0), 0
        for start in range(0, len(images), size):
            pixels = torch.tensor(images.pixels[start : start + size]).to(self.device)
            labels = torch.tensor(images.labels[start : start + size]).to(self.device)
            batch = normalise(pixels)
            base = forward(self.graph, self.weights, batch)
            own += int((base[-1].argmax(1) == labels).sum())
            for place in places:
                found = logits(self.branches[place], base, batch).float()
                right[place] += int((found.argmax(1) == labels).sum())
                loss[place] += float(torch.nn.functional.cross_entropy(found, labels, reduction="sum"))
        count = len(images)
        return {place: Look(right[place] / count, loss[place] / count, own / count, count) for place in places}
