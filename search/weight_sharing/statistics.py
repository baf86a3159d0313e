"""Batch norms of one candidate: taken over some training images as it will see them."""

import torch

from search.data import Split
from search.training.augmentation import prepared
from search.training.evaluate import autocast
from searchspace.nn.build import Network
from searchspace.nn.weights.statistics import renew_batch_norm

IMAGES = 256
BATCH = 128


def with_statistics(network: Network, train: Split, *, pixels: int, device: torch.device) -> Network:
    """The network on `device` in eval mode, with batch norms of the first training images at `pixels`."""
    network.to(device)
    stored = train.pixels[:IMAGES]
    batches = (torch.tensor(stored[at : at + BATCH]).to(device) for at in range(0, len(stored), BATCH))
    with autocast(device):
        renew_batch_norm(network, (prepared(batch, network, pixels) for batch in batches))
    return network
