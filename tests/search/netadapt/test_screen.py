"""Proposals are screened together as each network alone would be, the better half on all images."""

import math
import random

import pytest
import torch
from torch import nn

from search.data import Dataset
from search.netadapt.screen import FEWEST, FIRST_SHARE, screen, screen_modules
from search.netadapt.short_training import first
from search.netadapt.specs import gates_of
from search.training.augmentation import normalise
from search.training.evaluate import evaluate
from searchspace.channels.coupling import coupling
from searchspace.channels.steps import prune_group
from searchspace.nn.weights.importance import mean_gates
from searchspace.nn.weights.prune import prune_network
from searchspace.preprocessing import Preprocessing
from tests.search.netadapt.scripted import own_module, start, tiny

pytestmark = pytest.mark.usefixtures("one_thread")


OTHER = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@pytest.mark.parametrize(("how", "pixels"), [(None, None), (OTHER, 24)])
def test_proposals_are_screened_as_each_network_alone_would_be(
    how: Preprocessing | None, pixels: int | None, images: Dataset
) -> None:
    """At any pixels, prepared as the weights want."""
    network = start(tiny().with_preprocessing(how)).module
    group = next(group for group in coupling(network.spec) if group.counts)
    rng = random.Random(0)
    steps = [prune_group(network.spec, group, count, [rng.random() for _ in group.cells]) for count in (2, 5)]
    found = screen(network, steps, images.validation, gates={}, pixels=pixels)
    for step, screened in zip(steps, found, strict=True):
        assert screened.before == pytest.approx(evaluate(network, images.validation, pixels=pixels), abs=2e-3)
        alone = evaluate(prune_network(network, step), images.validation, pixels=pixels)
        assert screened.accuracy == pytest.approx(alone, abs=2e-3)
        assert math.isfinite(screened.loss)
        assert screened.images == len(images.validation)


def test_a_users_modules_are_screened_as_each_alone_would_be(images: Dataset) -> None:
    modules = [own_module(), own_module()]
    modules[1].get_submodule("head").get_parameter("weight").data.mul_(-1)
    (one,) = screen_modules(modules[0], modules[1:], images.validation)
    assert one.before == pytest.approx(evaluate(modules[0], images.validation), abs=2e-3)
    assert one.accuracy == pytest.approx(evaluate(modules[1], images.validation), abs=2e-3)


def test_only_the_better_half_of_many_proposals_sees_all_images(images: Dataset) -> None:
    network = start().module
    steps = [
        prune_group(network.spec, group, count, [1.0 * unit for unit in range(len(group.cells))])
        for group in coupling(network.spec)
        for count in [*group.counts][-3:]
    ]
    assert len(steps) > 2 * FEWEST
    whole = screen(network, steps, images.validation, gates={})
    halved = screen(network, steps, images.validation, gates={}, rank=lambda _, screened: (screened.loss,))
    few = round(FIRST_SHARE * len(images.validation))
    begun = screen(network, steps, first(images.validation, few), gates={})
    best = sorted(range(len(steps)), key=lambda place: begun[place].loss)[: -(-len(steps) // 2)]
    for place, screened in enumerate(halved):
        assert screened == pytest.approx(whole[place] if place in best else begun[place], abs=1e-5)


def test_a_network_whose_proposals_were_screened_on_another_device_can_be_trained_on(
    images: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = start().module
    monkeypatch.setattr(nn.Module, "to", lambda self, *_, **__: self._apply(torch.clone))  # as a move to a GPU does
    screen(network, [], images.validation, gates={})
    assert not any(parameter.is_inference() for parameter in network.parameters())


def test_mean_gates_in_batches_are_those_of_all_images_at_once(images: Dataset) -> None:
    network = start().module
    whole = mean_gates(network, normalise(torch.tensor(images.train.pixels)))
    found = gates_of(network, images.train, batch_size=60)
    assert found.keys() == whole.keys()
    assert all(torch.allclose(found[layer], whole[layer], atol=1e-6) for layer in whole)
