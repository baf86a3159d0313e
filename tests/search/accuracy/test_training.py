"""The estimator that trains: what the Trainer finds, from fresh weights of the same seed, under the study's old key."""

from dataclasses import asdict, replace

import pytest
import torch

from search.accuracy import EstimatorSettings, estimator
from search.training.evaluate import binomial_deviation
from search.training.recipe import Recipe
from search.training.trainer import Trainer
from searchspace.nn import build
from searchspace.spaces.mnasnet import mnasnet_space
from tests.scripted import dataset_of, two_halves

pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS = EstimatorSettings(recipe=Recipe(epochs=2, batch_size=8, epoch_images=32), seed=5, device="cpu")
IMAGES = dataset_of(two_halves(32, pixels=32), two_halves(20, pixels=32, seed=1))
SPACE = mnasnet_space(classes=2, resolution=32)
SPEC = SPACE.spec(SPACE.corner("smallest"))


def test_an_estimate_is_what_the_trainer_finds_with_fresh_weights_of_the_seed() -> None:
    judge = estimator("training", SETTINGS)
    judge.prepare(IMAGES)
    network = build(SPEC, generator=torch.Generator().manual_seed(5))
    outcome = replace(Trainer.on(IMAGES, recipe=SETTINGS.recipe, seed=5), device="cpu").fit(network)
    found = judge.score(SPEC)
    assert (found.mean, found.history) == (outcome.accuracy, outcome.history)
    assert found.deviation == binomial_deviation(outcome.accuracy, 20)


def test_a_study_knows_it_by_its_recipe() -> None:
    assert estimator("training", SETTINGS).identity() == {"recipe": asdict(SETTINGS.recipe)}


def test_images_come_before_scores() -> None:
    with pytest.raises(ValueError, match=r"prepare\(data\) must come before score"):
        estimator("training", SETTINGS).score(SPEC)
