"""The estimator that fine-tunes: from a parent's weights, its classifier first, the same steps for every candidate."""

from typing import Any

import pytest
import torch

from search.accuracy import EstimatorSettings, estimator
from search.training.evaluate import binomial_deviation
from search.training.recipe import Recipe
from search.training.ridge import pooled_features, ridge
from search.training.start import start
from searchspace.errors import InvalidArgument
from searchspace.nn import build
from searchspace.nn.weights.sources import Parent, Parents
from searchspace.preprocessing import Preprocessing
from searchspace.spaces.mnasnet import mnasnet_space
from tests.scripted import Ticks, dataset_of, two_halves

pytestmark = pytest.mark.usefixtures("one_thread")

IMAGES = dataset_of(two_halves(64, pixels=32), two_halves(40, pixels=32, seed=1))
SPACE = mnasnet_space(classes=2, resolution=32)
SPEC = SPACE.spec(SPACE.corner("smallest"))
SCALE = Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))


def parents() -> Parents:
    spec = SPEC.with_classes(7).with_preprocessing(SCALE)
    network = build(spec, generator=torch.Generator().manual_seed(9)).eval()
    return Parents([Parent("parent", network, "a test", None, None, "0")])


def settings(**more: Any) -> EstimatorSettings:
    recipe = Recipe(epochs=2, batch_size=8, epoch_images=32)
    return EstimatorSettings(**{"recipe": recipe, "seed": 5, "device": "cpu", "parents": parents(), **more})


def test_a_network_starts_with_the_weights_of_its_parent_and_prepares_images_as_they_want() -> None:
    found, parent = start(SPEC, parents(), images=IMAGES.train, seed=5)
    assert parent == "parent"
    assert found.spec.classes == 2
    assert found.spec.preprocessing == SCALE
    theirs = dict(parents()[0].network.named_parameters())
    pairs = [(value, theirs[name]) for name, value in found.named_parameters() if value.ndim == 4]
    same = [torch.allclose(ours, parents_own, atol=1e-3) for ours, parents_own in pairs]
    assert all(same[:-1])


def test_without_parents_a_network_starts_as_ever() -> None:
    found, parent = start(SPEC, None, images=IMAGES.train, seed=5)
    assert parent is None
    fresh = build(SPEC, generator=torch.Generator().manual_seed(5)).state_dict()
    assert all(torch.equal(value, fresh[name]) for name, value in found.state_dict().items())


def test_the_first_partial_result_is_the_classifier_in_closed_form_by_leaving_one_out() -> None:
    judge = estimator("finetune", settings())
    judge.prepare(IMAGES)
    network, _ = start(SPEC, parents(), images=IMAGES.train, seed=5)
    labels = torch.tensor(IMAGES.train.labels)
    expected = ridge(pooled_features(network, IMAGES.train, device="cpu"), labels, classes=2).loo_accuracy
    found = judge.score(SPEC)
    assert found.history[0] == expected
    assert len(found.history) == 2
    stopped = judge.score(SPEC, seconds=0)
    assert stopped.history == (expected,)
    assert stopped.deviation == binomial_deviation(expected, len(labels))


def test_partial_results_come_after_growing_numbers_of_images() -> None:
    ticks = Ticks(each=0.0)
    judge = estimator("finetune", settings(recipe=Recipe(epochs=4, batch_size=8, epoch_images=64), clock=ticks))
    judge.prepare(dataset_of(two_halves(640, pixels=32), two_halves(40, pixels=32, seed=1)))
    shares = list[float]()
    seen = list[float]()
    judge.score(SPEC, on_epoch=lambda *_: seen.append(shares[-1] if shares else 0.0), on_progress=shares.append)
    assert seen == [0.0, 32 / 256, 96 / 256, 1.0]


def test_a_study_is_held_to_how_it_fine_tunes() -> None:
    own = estimator("finetune", settings()).identity()
    assert own.keys() == {"recipe", "finetune"}
    assert own != estimator("training", settings()).identity()


def test_without_weights_it_is_refused_with_what_to_do() -> None:
    with pytest.raises(InvalidArgument, match="needs published weights to start from, got none: give --weights"):
        estimator("finetune", settings(parents=None))
