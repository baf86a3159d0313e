"""The estimator that trains nothing: published weights, batch norm anew, a ridge by leaving one out."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from search.accuracy import EstimatorSettings, estimator
from search.accuracy.frozen import rank_by_frozen_features
from search.accuracy.protocol import EPOCHS
from search.data import Split
from search.training.effort import WHOLE, Effort
from search.training.evaluate import binomial_deviation
from searchspace.errors import InvalidArgument, InvalidData
from searchspace.nn import Network, build
from searchspace.nn.weights.sources import Parent, Parents
from searchspace.spaces.mnasnet import mnasnet_space
from searchspace.spec import NetworkSpec
from tests.scripted import dataset_of, two_halves

pytestmark = pytest.mark.usefixtures("one_thread")

SPACE = mnasnet_space(classes=3, resolution=32)
SPEC = SPACE.spec(SPACE.corner("smallest"))
LARGER = SPACE.spec(SPACE.corner("smallest") | {"stage2.kernel": 5})
IMAGES = dataset_of(two_halves(60, pixels=32), two_halves(40, pixels=32, seed=1))


def parent(name: str, spec: NetworkSpec, **changes: float) -> Parent:
    network = build(spec, generator=torch.Generator().manual_seed(0)).eval()
    for weights in network.parameters():
        weights.data *= changes.get("times", 1.0)
    return Parent(name, network, "these tests", None, None, name)


def settings(*parents: Parent, **changes: Any) -> EstimatorSettings:
    return EstimatorSettings(**({"seed": 5, "device": "cpu", "parents": Parents(parents), "pixels": 32} | changes))


def test_features_of_random_weights_tell_halves_apart_and_a_parent_without_any_does_not() -> None:
    judge = estimator("frozen", settings(parent("random", SPEC)))
    judge.prepare(IMAGES)
    found = judge.score(SPEC)
    assert found.mean > 0.7
    assert found.deviation == binomial_deviation(found.mean, 100)
    silent = estimator("frozen", settings(parent("silent", SPEC, times=0.0)))
    silent.prepare(IMAGES)
    assert silent.score(SPEC).mean == 0.5


def test_each_network_starts_from_its_nearest_parent_which_stays_as_it_is() -> None:
    near, far = parent("near", SPEC, times=0.0), parent("far", SPACE.spec(SPACE.corner("largest")))
    before = {name: value.clone() for name, value in near.network.state_dict().items()}
    judge = estimator("frozen", settings(near, far))
    judge.prepare(IMAGES)
    assert judge.score(SPEC).mean == 0.5
    assert all(torch.equal(value, before[name]) for name, value in near.network.state_dict().items())
    assert isinstance(near.network, Network)
    assert not near.network.training


def test_in_a_space_errors_are_those_after_equal_time_in_studies_of_before_those_of_the_features() -> None:
    alone, of_space, before = (
        estimator("frozen", settings(parent("random", SPEC), **more))
        for more in ({}, {"space": SPACE, "whole": 1.0}, {"space": SPACE, "equal": EPOCHS, "whole": 1.0})
    )
    found = []
    for judge in (alone, of_space, before):
        judge.prepare(IMAGES)
        found.append(judge.score(SPEC))
    times = Effort(SPACE).errors(SPEC)
    assert 1 - found[1].mean == pytest.approx(times * (1 - found[0].mean))
    assert found[1].deviation == pytest.approx(times * found[0].deviation)
    assert found[2].mean == found[0].mean
    assert "equal" in of_space.identity()
    assert "equal" not in before.identity()


def test_a_network_with_all_of_its_parents_weights_has_fewer_errors_to_come_and_the_models_doubt_counts() -> None:
    before, now = (
        estimator("frozen", settings(parent("random", SPEC), space=SPACE, whole=whole)) for whole in (1.0, WHOLE)
    )
    for judge in (before, now):
        judge.prepare(IMAGES)
    errors, moved = 1 - before.score(SPEC).mean, before.score(LARGER)
    whole = now.score(SPEC)
    assert 1 - whole.mean == pytest.approx(WHOLE * errors)
    assert whole.deviation > WHOLE * before.score(SPEC).deviation
    assert now.score(LARGER).mean == moved.mean
    assert now.score(LARGER).deviation > moved.deviation
    assert now.identity() != before.identity()


def test_a_parent_is_run_once_for_all_networks_that_are_fitted_to_its_maps() -> None:
    own, runs = parent("random", SPEC), list[int]()
    own.network.register_forward_hook(lambda *_: runs.append(1))
    judge = estimator("frozen", settings(own))
    judge.prepare(IMAGES)
    judge.score(SPEC)
    assert not runs  # its own weights need no fit
    first, *_ = judge.score(LARGER), judge.score(SPACE.spec(SPACE.corner("largest")))
    assert len(runs) == 1
    assert judge.score(LARGER).mean == first.mean
    judge.prepare(IMAGES)
    judge.score(LARGER)
    assert len(runs) == 2  # other images may have come


def test_networks_are_ranked_by_their_frozen_features() -> None:
    specs = {"silent": SPEC, "speaks": SPACE.spec(SPACE.corner("largest"))}
    shares = list[float]()
    own = settings(parent("silent", SPEC, times=0.0), parent("speaks", specs["speaks"]))
    found = rank_by_frozen_features(specs, IMAGES, own, on_progress=shares.append)
    assert [name for name, _ in found] == ["speaks", "silent"]
    assert shares == [0.5, 1.0]


def test_a_study_knows_it_by_its_parents_and_pixels() -> None:
    one, other = (estimator("frozen", settings(parent(name, SPEC))).identity() for name in ("one", "other"))
    larger = estimator("frozen", replace(settings(parent("one", SPEC)), pixels=48)).identity()
    assert one != other
    assert one != larger


def test_without_weights_or_with_too_few_images_the_next_step_is_told() -> None:
    with pytest.raises(InvalidArgument, match=r"starts from published weights.*--weights NAME.*--accuracy training"):
        estimator("frozen", EstimatorSettings())
    judge = estimator("frozen", settings(parent("random", SPEC)))
    few = Split(IMAGES.train.pixels[:1], IMAGES.train.labels[:1])
    with pytest.raises(InvalidData, match=r"at least 4 images .* got 2"):
        judge.prepare(dataset_of(few, few))
    with pytest.raises(ValueError, match=r"prepare\(data\) must come before score"):
        judge.score(SPEC)
