"""Cuts of a network from published weights: calibrated by the maps of the network before the cut."""

from typing import Any

import numpy as np
import pytest
import torch

from search.data import Split
from search.netadapt.prunable import Screening
from search.netadapt.specs import PrunableSpec
from search.training.augmentation import prepared
from searchspace.cost import macs
from searchspace.nn import build
from searchspace.nn.weights.importance import scores
from searchspace.nn.weights.prune import prune_network
from searchspace.preprocessing import Preprocessing
from tests.scripted import dataset_of
from tests.search.netadapt.scripted import MACS, tiny

pytestmark = pytest.mark.usefixtures("one_thread")

HOW = Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


def photographs(count: int) -> Split:
    rng = np.random.default_rng(0)
    return Split(rng.integers(0, 255, (count, 32, 32, 3)).astype(np.uint8), np.arange(count) % 10)


def first_cut(published: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The logits of a network, of its first cut as it was made, and of the plain cut."""
    spec = tiny().with_preprocessing(HOW if published else None)
    before = build(spec, generator=torch.Generator().manual_seed(1))
    split = photographs(64)
    images = prepared(torch.tensor(split.pixels), before, 32)
    with torch.no_grad():
        before.train()(images)  # running statistics of these images
    before.eval()
    network = PrunableSpec(before)
    proposals = network.propose(MACS, target=0.8 * macs(spec), floor=0.0, moves=("channels",))
    how = Screening(dataset_of(split, split, classes=10), 20, "l2", by_accuracy, "cpu")
    (candidate, *_) = network.screen(proposals, how)
    made = candidate.make().module
    plain = prune_network(before, proposals[0].make(lambda group: scores(before, group, "l2")))
    with torch.no_grad():
        return before(images), made(images), plain(images)


def by_accuracy(place: int, seen: Any) -> float:
    return -float(seen.accuracy)


def test_a_cut_of_a_network_from_published_weights_computes_nearly_what_it_did() -> None:
    before, made, plain = first_cut(published=True)
    assert (made - before).square().mean() < 0.7 * (plain - before).square().mean()


def test_a_cut_of_a_network_from_scratch_takes_its_weights_as_they_are() -> None:
    _, made, plain = first_cut(published=False)
    assert torch.allclose(made, plain, atol=1e-6)
