"""Accuracy of all proposals of an iteration before any training, in one pass over the images."""

from collections.abc import Sequence

import torch

from search.augment import normalise
from search.data import Split
from searchspace.descent import Step
from searchspace.graph import lower
from searchspace.nn import Network
from searchspace.nn.descend import Gates
from searchspace.nn.execute import branch, folded_weights, forward, logits

SCREEN_IMAGES = 1000  # that offers are looked at before any training
ACTIVATION_BYTES = 1 << 28  # outputs of all layers that are held at once
LARGEST_BATCH = 250


def batch_for(network: Network, pixels: int) -> int:
    """Images at once so that the outputs of all layers stay within ACTIVATION_BYTES."""
    spec = network.spec.with_resolution(max(pixels, network.spec.total_stride))
    each = 4 * sum(c * h * w for c, h, w in (layer.out_shape for layer in lower(spec).layers))
    return max(1, min(LARGEST_BATCH, ACTIVATION_BYTES // each))


def screen(
    network: Network, steps: Sequence[Step], images: Split, *, gates: Gates, device: str = "cpu",
) -> tuple[list[tuple[float, float]], float]:  # fmt: skip
    """((top-1 accuracy, mean cross-entropy) of each step's network on `images`, with the weights it takes over; the
    accuracy of the network itself). The network is on the CPU afterwards."""
    network.to(device)  # not in inference mode, in which it would come back as one that cannot be trained
    found = _screened(network, steps, images, gates, device)
    network.cpu()
    return found


@torch.inference_mode()
def _screened(
    network: Network, steps: Sequence[Step], images: Split, gates: Gates, device: str
) -> tuple[list[tuple[float, float]], float]:
    graph = lower(network.spec)
    weights = folded_weights(network)
    branches = [branch(graph, weights, step, gates=gates) for step in steps]
    right, loss, own = [0] * len(steps), [0.0] * len(steps), 0
    size = batch_for(network, images.pixels.shape[1])
    for start in range(0, len(images), size):
        pixels = torch.tensor(images.pixels[start : start + size]).to(device)
        labels = torch.tensor(images.labels[start : start + size]).to(device)
        batch = normalise(pixels)
        base = forward(graph, weights, batch)
        own += int((base[-1].argmax(1) == labels).sum())
        for index, ready in enumerate(branches):
            found = logits(ready, base, batch).float()
            right[index] += int((found.argmax(1) == labels).sum())
            loss[index] += float(torch.nn.functional.cross_entropy(found, labels, reduction="sum"))
    offers = [(hits / len(images), total / len(images)) for hits, total in zip(right, loss, strict=True)]
    return offers, own / len(images)
