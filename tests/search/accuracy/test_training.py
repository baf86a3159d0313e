"""The estimator that trains: what the Trainer finds, from fresh weights of the same seed, under the study's old key."""

from dataclasses import replace

import pytest
import torch

from search.accuracy import AccuracyEstimator, EstimatorSettings, estimator
from search.accuracy.protocol import EPOCHS, TIME
from search.training.effort import step_cost
from search.training.evaluate import binomial_deviation
from search.training.recipe import Recipe
from search.training.trainer import Trainer
from searchspace.nn import build
from searchspace.spaces.mnasnet import mnasnet_space
from searchspace.spec import NetworkSpec
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
    found = estimator("training", SETTINGS).identity()
    assert found == {"recipe": SETTINGS.recipe.identity(), "equal": TIME}


def test_networks_of_a_space_train_for_equal_time_within_bounds_those_of_studies_of_before_for_equal_epochs() -> None:
    """Steps counted: two epochs of 32 images in batches of 8 are 8 steps of a middling network."""
    wide = mnasnet_space(classes=2, resolution=32).with_choices({"*.width_mult": (0.25, 0.75), "*.layers": (1, 2)})
    specs = {which: wide.spec(wide.corner(which)) for which in ("smallest", "largest")}
    steps: dict[str, dict[str, int]] = {}
    for equal in (TIME, EPOCHS):
        judge = estimator("training", replace(SETTINGS, space=wide, equal=equal))
        judge.prepare(IMAGES)
        steps[equal] = {which: steps_of(judge, spec) for which, spec in specs.items()}
        assert ("equal" in judge.identity()) == (equal == TIME)
    assert steps[TIME]["largest"] == 4  # half of it, though its steps take far more than twice as long
    assert steps[EPOCHS] == {"smallest": 8, "largest": 8}
    assert step_cost(specs["largest"]) > 2 * step_cost(specs["smallest"])


def steps_of(judge: AccuracyEstimator, spec: NetworkSpec) -> int:
    shares: list[float] = []
    judge.score(spec, on_progress=shares.append)
    return len(shares)


def test_candidates_are_told_by_at_most_2000_validation_images_at_the_end() -> None:
    many = dataset_of(two_halves(16, pixels=32), two_halves(2400, pixels=32, seed=1))
    judge = estimator("training", replace(SETTINGS, recipe=Recipe(epochs=1, batch_size=8, epoch_images=8)))
    judge.prepare(many)
    found = judge.score(SPEC)
    assert found.deviation == binomial_deviation(found.mean, 2000)
    assert found.mean * 2000 == pytest.approx(round(found.mean * 2000))


def test_images_come_before_scores() -> None:
    with pytest.raises(ValueError, match=r"prepare\(data\) must come before score"):
        estimator("training", SETTINGS).score(SPEC)
