"""What holds for every accuracy estimator: those of search.accuracy, a toy from outside, the tests' stand-in."""

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from search.accuracy import AccuracyEstimator, Estimate, EstimatorSettings, estimator, names, register
from search.accuracy.protocol import EPOCHS
from search.data import Dataset, Split
from search.training.evaluate import binomial_deviation
from search.training.recipe import Recipe
from searchspace.errors import InvalidArgument
from searchspace.nn import build
from searchspace.nn.weights.sources import Parent, Parents
from searchspace.spaces.mnasnet import mnasnet_space
from searchspace.spec import NetworkSpec
from tests.scripted import ScriptedEstimator, Ticks, dataset_of, two_halves

pytestmark = pytest.mark.usefixtures("one_thread")

RECIPE = Recipe(epochs=3, batch_size=8, epoch_images=8, epoch_validation=10)
TRAIN = two_halves(32, pixels=32)


@register("nearest_mean")
class NearestMean:
    """A toy from outside the package: the class whose mean image is nearest, whatever the network."""

    epochs = 1
    trains = only_space = False

    def __init__(self, settings: EstimatorSettings) -> None:
        self._clock = settings.clock

    def identity(self) -> dict[str, Any]:
        return {}

    def prepare(self, data: Dataset, *, on_progress: Callable[[float], None] | None = None) -> None:
        images, labels = data.train.pixels.astype(float), data.train.labels
        self._means = np.stack([images[labels == label].mean(0) for label in range(len(data.classes))])
        self._validation = data.validation

    def score(
        self,
        spec: NetworkSpec,
        *,
        seconds: float | None = None,
        on_epoch: Callable[[int, float], None] | None = None,
        on_progress: Callable[[float], None] | None = None,
    ) -> Estimate:
        began = self._clock()
        distances = np.abs(self._validation.pixels[:, None] - self._means).sum((2, 3, 4))
        mean = float((distances.argmin(1) == self._validation.labels).mean())
        for call, values in ((on_progress, (1.0,)), (on_epoch, (1, mean))):
            if call is not None:
                call(*values)
        deviation = binomial_deviation(mean, len(self._validation))
        return Estimate(mean, deviation, self._clock() - began, (mean,))


# What `spec` is the smallest network of.
SPACE = mnasnet_space(classes=2, resolution=32).with_choices(
    {
        **{"*.expand_ratio": (3,), "*.kernel": (3,), "*.se": (False,), "*.activation": ("relu",), "*.layers": (1,)},
        **{"*.width_mult": (0.75,), "stage1.expand_ratio": (1,), "stage2.kernel": (3, 5)},
        **{"stage5.layers": (0, 1), "stage7.layers": (0,)},
    }
)


def spec(resolution: int = 32) -> NetworkSpec:
    space = mnasnet_space(classes=2, resolution=resolution)
    return space.spec(space.corner("smallest"))


def parents() -> Parents:
    """Random weights to start from."""
    network = build(spec().with_classes(5), generator=torch.Generator().manual_seed(0)).eval()
    return Parents([Parent("random", network, "these tests", None, None, "0" * 64)])


def settings(**changes: Any) -> EstimatorSettings:
    own = {"recipe": RECIPE, "seed": 3, "device": "cpu", "parents": parents(), "pixels": 32, "space": SPACE}
    return EstimatorSettings(**(own | changes))


def prepared(name: str, *, train: Split = TRAIN, validation: Split = TRAIN, **changes: Any) -> AccuracyEstimator:
    found = estimator(name, settings(**changes))
    found.prepare(dataset_of(train, validation), on_progress=lambda share: None)
    return found


# Stand-ins of other tests, which know nothing of images, are registered as "scripted ...".
@pytest.fixture(params=[name for name in names() if not name.startswith("scripted")])
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def holds_together(found: Estimate, epochs: int) -> None:
    """The laws of one estimate."""
    assert 0 <= found.mean <= 1
    assert found.deviation > 0
    assert found.history[-1] == found.mean
    assert 1 <= len(found.history) <= epochs


def test_an_estimate_is_a_fraction_with_its_deviation_and_its_partial_results(name: str) -> None:
    judge, reports, shares = prepared(name), list[tuple[int, float]](), list[float]()
    found = judge.score(spec(), on_epoch=lambda *report: reports.append(report), on_progress=shares.append)
    holds_together(found, judge.epochs)
    assert reports == list(enumerate(found.history, 1))
    assert len(found.history) == judge.epochs
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_the_deviation_shrinks_with_more_validation_images(name: str) -> None:
    few, many = (prepared(name, validation=two_halves(count, pixels=32)) for count in (8, 80))
    assert many.score(spec()).deviation < few.score(spec()).deviation


def test_images_that_are_all_alike_are_told_apart_by_chance(name: str) -> None:
    grey = Split(np.full_like(TRAIN.pixels, 128), TRAIN.labels)
    # Of equal epochs: at equal time frozen features count for what the network would come to in trainings.
    found = prepared(name, train=grey, validation=grey, equal=EPOCHS).score(spec())
    assert found.mean == 0.5
    assert found.deviation >= binomial_deviation(0.5, 2 * len(grey)) - 1e-12  # training images may be judged by, too


def test_seconds_are_what_the_clock_says(name: str) -> None:
    began = time.perf_counter()
    seconds = prepared(name).score(spec()).seconds
    assert 0 <= seconds <= time.perf_counter() - began
    clock = Ticks(each=1.0)
    judge, before = prepared(name, clock=clock), clock.now
    assert 0 < judge.score(spec()).seconds <= clock.now - before


def test_the_same_seed_gives_the_same_estimate_whatever_was_scored_before(name: str) -> None:
    first, second = prepared(name), prepared(name)
    second.score(spec(48))
    assert first.score(spec())._replace(seconds=0) == second.score(spec())._replace(seconds=0)


def test_what_a_report_raises_stops_the_score(name: str) -> None:
    class Stop(Exception):
        pass

    def stop(*_: Any) -> None:
        raise Stop

    judge = prepared(name)
    for stopped in ({"on_epoch": stop}, {"on_progress": stop}):
        with pytest.raises(Stop):
            judge.score(spec(), **stopped)
    holds_together(judge.score(spec()), judge.epochs)  # and the next is scored as ever


def test_a_score_ends_with_its_first_partial_result_where_its_seconds_are_over(name: str) -> None:
    judge = prepared(name)
    found = judge.score(spec(), seconds=0)
    holds_together(found, 1)


def test_what_an_estimator_is_can_be_stored_and_is_the_same_for_every_seed(name: str) -> None:
    identity = estimator(name, settings()).identity()
    assert json.loads(json.dumps(identity)) == estimator(name, settings(seed=9)).identity() == identity


def test_an_unknown_name_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(InvalidArgument, match=r"one of .*nearest_mean, .*training, got 'crystal_ball'"):
        estimator("crystal_ball", settings())


def test_the_stand_in_of_the_tests_is_an_estimator() -> None:
    clock, reports = Ticks(), list[float]()
    judge = ScriptedEstimator({spec().fingerprint(): 0.8}, clock=clock, seconds_each=2.0, fail={3: MemoryError()})
    found = judge.score(spec(), on_epoch=lambda _, accuracy: reports.append(accuracy))
    holds_together(found, judge.epochs)
    assert (found.mean, found.seconds, clock.now) == (0.8, 2.0, 2.0)
    assert reports == list(found.history) == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert judge.score(spec(), seconds=0).history == found.history[:1]
    with pytest.raises(MemoryError):
        judge.score(spec())
    assert judge.scored == [spec().fingerprint()] * 3
