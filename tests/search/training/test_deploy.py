"""Weights at the deployed size: stages that are kept only where they tell more images right, and what they say."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from search.data import Split
from search.training.augmentation import normalise, resized
from search.training.deploy import adapt_to_deployed, size_at
from search.training.evaluate import evaluate
from search.training.recipe import Recipe
from search.training.trainer import Trainer
from searchspace.errors import InvalidArgument
from searchspace.nn import Network, build
from searchspace.preprocessing import Preprocessing
from searchspace.spaces.mnasnet import mnasnet_space
from searchspace.spec import NetworkSpec
from tests.scripted import Ticks, dataset_of, two_halves

pytestmark = pytest.mark.usefixtures("one_thread")

TRAIN, VALIDATION = two_halves(200), two_halves(60, seed=1)
IMAGES = dataset_of(TRAIN, VALIDATION)
IMAGENET = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
RECIPE = Recipe(epochs=4, batch_size=16, shift=0.0)


def _spec() -> NetworkSpec:
    space = mnasnet_space(classes=2, resolution=64)
    return space.spec(space.corner("smallest"))


@pytest.fixture(scope="module")
def trained(one_thread: None) -> Network:
    """Trained at 32 px, with the preprocessing of other weights."""
    network = build(_spec().with_preprocessing(IMAGENET), generator=torch.Generator().manual_seed(0))
    Trainer.on(IMAGES, recipe=RECIPE, seed=0).fit(network, pixels=32)
    return network


def _untouched(network: Network) -> Network:
    return copy.deepcopy(network)


def test_the_module_ends_with_the_weights_of_the_best_stage_in_eval_mode(trained: Network) -> None:
    network = _untouched(trained)
    lines: list[str] = []
    found = adapt_to_deployed(
        network, IMAGES, pixels=64, trained_at=32, seconds=40, recipe=RECIPE, clock=Ticks(1.0), on_line=lines.append
    )
    names = ["as trained", "batch norm", "classifier", "all layers", "classifier again"]
    assert [stage.name for stage in found.stages] in (names, names[:-1])
    assert not network.training
    assert found.accuracy == evaluate(network, VALIDATION, pixels=64) == max(stage.accuracy for stage in found.stages)
    assert found.at_training_size == evaluate(trained, VALIDATION, pixels=32)
    assert found.kept == next(stage.name for stage in found.stages if stage.accuracy == found.accuracy)
    assert len(lines) == len(found.stages)
    assert f"kept: {found.kept}" in found.sentence()
    assert 0 < found.deviation < 0.1


def test_weights_that_every_stage_makes_worse_stay_as_they_were(
    trained: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = _untouched(trained)
    wrong = Split(TRAIN.pixels, 1 - TRAIN.labels)
    still = Split(TRAIN.pixels * 0, TRAIN.labels)
    for train in (wrong, still):
        images = replace(IMAGES, train=train, validation=_told_right(trained))
        found = adapt_to_deployed(network, images, pixels=64, trained_at=32, seconds=14, clock=Ticks(1.0))
        assert (found.kept, found.accuracy) == ("as trained", 1.0)
        for name, value in trained.state_dict().items():
            assert torch.equal(value, network.state_dict()[name])


def _told_right(network: Network) -> Split:
    """Images on which the network as it is makes no mistake at 64 px."""
    with torch.inference_mode():
        answers = network(normalise(resized(torch.tensor(VALIDATION.pixels), 64), IMAGENET)).argmax(1)
    return Split(VALIDATION.pixels, answers.numpy())


def test_at_the_size_of_the_training_there_is_nothing_to_do(trained: Network) -> None:
    network = _untouched(trained)
    found = adapt_to_deployed(network, IMAGES, pixels=32, trained_at=32)
    assert [stage.name for stage in found.stages] == ["as trained"]
    assert found.accuracy == found.at_training_size
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in trained.state_dict().items())


def test_a_module_of_ones_own_keeps_its_classifier_but_for_training() -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 2)
    )
    found = adapt_to_deployed(module, IMAGES, pixels=32, seconds=20, clock=Ticks(1.0))
    assert [stage.name for stage in found.stages] == ["as trained", "batch norm", "all layers"]
    assert found.trained_at == 16


def test_seconds_must_be_above_zero(trained: Network) -> None:
    with pytest.raises(InvalidArgument, match="seconds must be above 0, got 0"):
        adapt_to_deployed(_untouched(trained), IMAGES, pixels=64, seconds=0)


@pytest.mark.parametrize(("trained_at", "pixels"), [(48, 224), (32, 96), (40, 64), (224, 96)])
def test_sizes_go_evenly_from_the_known_one_to_the_deployed_one_and_stay_there(trained_at: int, pixels: int) -> None:
    sizes = [size_at(step / 100, trained_at=trained_at, pixels=pixels) for step in range(101)]
    assert sizes == sorted(sizes, reverse=pixels < trained_at)
    assert abs(sizes[0] - trained_at) <= 8
    assert set(sizes[60:]) == {pixels}
