"""The estimator by shared weights: trained once and kept, batch norms of each candidate, modules to go on with."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from search.accuracy import AccuracyEstimator, EstimatorSettings, estimator
from search.accuracy.shared import SharedWeights
from search.training.errors import TrainingFailed
from search.training.evaluate import binomial_deviation, evaluate
from search.training.recipe import Recipe
from searchspace.cost import params
from searchspace.errors import InvalidArgument, StudyMismatch
from searchspace.nn import build
from searchspace.nn.weights.sources import Parent, Parents
from tests.naive_slicing import TINY
from tests.scripted import Ticks, dataset_of, two_halves

pytestmark = pytest.mark.usefixtures("one_thread")

IMAGES = dataset_of(two_halves(64, pixels=32), two_halves(40, pixels=32, seed=1))
SPEC = TINY.spec(TINY.corner("largest"))
RECIPE = Recipe(epochs=2, batch_size=8, epoch_images=16, epoch_validation=30)


def settings(**more: Any) -> EstimatorSettings:
    own: dict[str, Any] = {"recipe": RECIPE, "seed": 5, "device": "cpu", "space": TINY}
    return EstimatorSettings(**{**own, **more})


def prepared(**more: Any) -> AccuracyEstimator:
    judge = estimator("shared", settings(**more))
    judge.prepare(IMAGES)
    return judge


def parents() -> Parents:
    network = build(SPEC.with_classes(5), generator=torch.Generator().manual_seed(9)).eval()
    return Parents([Parent("parent", network, "a test", None, None, "a sum")])


@pytest.fixture(scope="module")
def judge() -> AccuracyEstimator:
    return prepared()


def test_a_score_is_the_accuracy_of_what_can_be_extracted(judge: AccuracyEstimator) -> None:
    assert isinstance(judge, SharedWeights)
    for choices in (TINY.corner("smallest"), TINY.corner("largest")):
        spec = TINY.spec(choices)
        found, module = judge.score(spec), judge.extract(spec)
        assert module.spec.blocks == spec.blocks
        assert found.mean == evaluate(module, IMAGES.validation, images=30, device="cpu")
        assert found.deviation == binomial_deviation(found.mean, 30)


def test_batch_norms_are_of_the_candidate_and_the_shared_network_stays(judge: AccuracyEstimator) -> None:
    assert isinstance(judge, SharedWeights)
    before = judge.extract(SPEC).state_dict()
    judge.score(TINY.spec(TINY.corner("smallest")))
    assert all(torch.equal(value, before[name]) for name, value in judge.extract(SPEC).state_dict().items())
    narrow = judge.extract(TINY.spec({**TINY.corner("largest"), "stage1.se": False}))
    means = [each.get_submodule("stage2.0.depthwise.norm").running_mean for each in (narrow, judge.extract(SPEC))]
    assert not torch.allclose(means[0], means[1], atol=1e-3)


def test_what_was_trained_is_taken_again_for_the_same_study_and_refused_for_another(tmp_path: Path) -> None:
    first = prepared(folder=tmp_path)
    clock = Ticks()
    second = prepared(folder=tmp_path, seconds=60.0, clock=clock)  # a clock that stands: a training would not end
    assert first.score(SPEC).mean == second.score(SPEC).mean
    assert isinstance(first, SharedWeights)
    assert isinstance(second, SharedWeights)
    states = (first.extract(SPEC).state_dict(), second.extract(SPEC).state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    with pytest.raises(StudyMismatch, match="another data set"):
        estimator("shared", settings(folder=tmp_path)).prepare(replace(IMAGES, fingerprint="others"))
    with pytest.raises(StudyMismatch, match="another search space"):
        prepared(folder=tmp_path, space=TINY.with_choices({"stage1.layers": (1,)}))


def test_a_candidate_outside_fails_alone(judge: AccuracyEstimator) -> None:
    wider = TINY.with_choices({"stage2.kernel": (7,)})
    with pytest.raises(TrainingFailed, match=r"is outside the shared network of tiny: stage2.*--space"):
        judge.score(wider.spec(wider.corner("largest")))
    assert judge.score(SPEC).mean >= 0


def test_the_budget_holds_in_the_training() -> None:
    asked = list[int]()

    def within(spec: Any) -> bool:
        asked.append(params(spec))
        return asked[-1] < 12_000

    prepared(within=within)
    assert min(asked) < 12_000 < max(asked)


def test_a_study_knows_it_by_recipe_and_weights() -> None:
    scratch, tuned = (estimator("shared", settings(parents=each)).identity() for each in (None, parents()))
    assert scratch != tuned
    assert "parent a sum" in json.dumps(tuned)
    assert scratch != estimator("shared", settings(recipe=replace(RECIPE, flip=True))).identity()


def test_a_space_and_prepared_images_are_needed() -> None:
    with pytest.raises(InvalidArgument, match="needs the search space that they are of, got none"):
        estimator("shared", settings(space=None))
    with pytest.raises(ValueError, match=r"prepare\(data\) must come before score"):
        estimator("shared", settings()).score(SPEC)
