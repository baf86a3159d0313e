"""Accuracy of all proposals of an iteration before any training, in one pass over the images.

The better half of the proposals alone sees most of the images: a round of successive halving (arXiv:1502.07943).
Proposals for a spec also share the network's own forward pass.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from search.data import Split
from search.training.augmentation import prepared
from searchspace.channels.steps import Step
from searchspace.graph import lower
from searchspace.nn import Network
from searchspace.nn.execute import branch, folded_weights, forward, logits
from searchspace.nn.weights.prune import Gates

SCREEN_IMAGES = 1000  # that proposals are screened on
FIRST_SHARE = 0.3  # of the images; the better half of the proposals sees the others too
FEWEST = 6  # proposals that see them all
ACTIVATION_BYTES = 1 << 28  # outputs of all layers that are held at once
LARGEST_BATCH = 250

Rank = tuple[float, ...]  # the lower the better
Logits = Callable[[Tensor, Sequence[int]], Iterable[Tensor]]
"""Of uint8 images (batch, height, width, 3): logits of the network itself, then of each proposal at these places."""


class Screened(NamedTuple):
    """Accuracy and mean cross-entropy on the first `images` images, and the accuracy of the network before it there."""

    accuracy: float
    loss: float
    before: float
    images: int


Ranking = Callable[[int, Screened], Rank]
"""Of a proposal by its place and what was seen of it."""


def batch_for(network: Network, pixels: int) -> int:
    """Images at once so that the outputs of all layers stay within ACTIVATION_BYTES."""
    spec = network.spec.with_resolution(max(pixels, network.spec.total_stride))
    each = 4 * sum(c * h * w for c, h, w in (layer.out_shape for layer in lower(spec).layers))
    return max(1, min(LARGEST_BATCH, ACTIVATION_BYTES // each))


def screen(
    network: Network,
    steps: Sequence[Step],
    images: Split,
    *,
    gates: Gates,
    rank: Ranking | None = None,
    device: str = "cpu",
    pixels: int | None = None,
) -> list[Screened]:
    """The networks of steps from `network`, see `screen_all`. The network is on the CPU afterwards."""
    network.to(device)  # not in inference mode, in which it would come back as one that cannot be trained
    with torch.inference_mode():
        graph, weights = lower(network.spec), folded_weights(network)
        branches = [branch(graph, weights, step, gates=gates) for step in steps]

        def by_branch(batch: Tensor, places: Sequence[int]) -> Iterable[Tensor]:
            inputs = prepared(batch, network, pixels)
            base = forward(graph, weights, inputs)
            yield base[-1]
            for place in places:
                yield logits(branches[place], base, inputs)

        size = batch_for(network, pixels or images.pixels.shape[1])
        found = screen_all(by_branch, len(steps), images, size=size, rank=rank, device=device)
    network.cpu()
    return found


def screen_modules(
    module: nn.Module,
    others: Sequence[nn.Module],
    images: Split,
    *,
    rank: Ranking | None = None,
    device: str = "cpu",
    pixels: int | None = None,
) -> list[Screened]:
    """Any modules beside `module`, see `screen_all`. They are in eval mode on the CPU afterwards."""
    for one in (module, *others):
        one.to(device).eval()

    def by_module(batch: Tensor, places: Sequence[int]) -> Iterable[Tensor]:
        inputs = prepared(batch, module, pixels)
        return (each(inputs) for each in (module, *(others[place] for place in places)))

    with torch.inference_mode():
        found = screen_all(by_module, len(others), images, rank=rank, device=device)
    for one in (module, *others):
        one.cpu()
    return found


def screen_all(
    logits_of: Logits,
    count: int,
    images: Split,
    *,
    size: int = LARGEST_BATCH,
    rank: Ranking | None = None,
    device: str = "cpu",
) -> list[Screened]:
    """Screen `count` proposals on `images`, `size` of them at a time.

    With `rank` (of a proposal by its place and what FIRST_SHARE of the images say) only the better half, and at least
    FEWEST, see all images.
    """
    everyone, few = range(count), round(FIRST_SHARE * len(images))
    if rank is None or few == 0 or count <= FEWEST:
        return list(_round(logits_of, everyone, images, size, device).values())
    begun = Split(images.pixels[:few], images.labels[:few]), Split(images.pixels[few:], images.labels[few:])
    found = _round(logits_of, everyone, begun[0], size, device)
    better = sorted(everyone, key=lambda place: rank(place, found[place]))[: max(FEWEST, -(-count // 2))]
    more = _round(logits_of, better, begun[1], size, device)
    return [_both(one, more.get(place)) for place, one in found.items()]


def _round(logits_of: Logits, places: Sequence[int], images: Split, size: int, device: str) -> dict[int, Screened]:
    right, loss, right_before = dict.fromkeys(places, 0), dict.fromkeys(places, 0.0), 0
    for start in range(0, len(images), size):
        batch = torch.tensor(images.pixels[start : start + size]).to(device)
        labels = torch.tensor(images.labels[start : start + size]).to(device)
        own, *others = logits_of(batch, places)
        right_before += int((own.argmax(1) == labels).sum())
        for place, found in zip(places, others, strict=True):
            right[place] += int((found.argmax(1) == labels).sum())
            loss[place] += float(nn.functional.cross_entropy(found.float(), labels, reduction="sum"))
    count = len(images)
    return {place: Screened(right[place] / count, loss[place] / count, right_before / count, count) for place in places}


def _both(one: Screened, other: Screened | None) -> Screened:
    if other is None:
        return one
    images = one.images + other.images
    share = one.images / images
    accuracy, loss, before = (share * mine + (1 - share) * its for mine, its in zip(one[:3], other[:3], strict=True))
    return Screened(accuracy, loss, before, images)
