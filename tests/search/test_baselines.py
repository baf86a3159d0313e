"""Baselines: published networks within the budget by width, trained as long as the search took, kept as they come."""

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from search.baselines import BASELINES, Baselines
from search.budget import LatencyBudget
from search.console import Progress
from search.data import Dataset, Split
from search.latency import Measurement
from search.long_training import Final, LongTraining
from search.results import TESTED
from search.run import main
from search.settings import Settings
from search.training.errors import OutOfMemory, TrainingDiverged
from search.training.evaluate import Accuracy
from search.training.recipe import Recipe
from search.versus import packed
from searchspace import macs, zoo
from searchspace.cost import params
from searchspace.errors import InvalidArgument, InvalidSpec, StorageError
from searchspace.files import read_json
from searchspace.nn import build
from searchspace.nn.weights.sources import Parent, Parents
from searchspace.spec import NetworkSpec
from tests.scripted import ScriptedTrainer

MS_PER_MAC = 1e-7


def by_macs(specs: Sequence[NetworkSpec], **_: object) -> list[Measurement]:
    """A machine that takes 0.1 us a thousand MACs, and whose intervals reach 1 % up."""
    times = [macs(spec) * MS_PER_MAC for spec in specs]
    return [
        Measurement(latency_ms=ms, low_ms=ms, high_ms=1.01 * ms, rounds=8, raw_median_ms=ms, noisy=False)
        for ms in times
    ]


TABLE: Any = SimpleNamespace(identity={"machine": "abacus"})
DEVICE: Any = SimpleNamespace(is_of=lambda table: True, measure=by_macs)


def budget(limit_ms: float) -> LatencyBudget:
    return LatencyBudget(limit_ms, TABLE, device=DEVICE)


def settings(budget_ms: float) -> Settings:
    return Settings(budget_ms=budget_ms, resolution=64, proxy_resolution=32)


def quiet() -> Progress:
    return Progress(lambda: None, quiet=True)


NAMES = ("mobilenet_v2", "shufflenet_v1", "squeezenet1_1", "efficientnet_b0", "efficientnet_b4")


def within(name: str, width: float, budget_ms: float) -> bool:
    try:
        spec = zoo.get(name, width=width, resolution=64, classes=10)
    except InvalidSpec:  # ShuffleNetV1 cannot be so narrow
        return False
    return 1.01 * MS_PER_MAC * macs(spec) <= budget_ms


@pytest.mark.parametrize("budget_ms", [0.5, 1.0, 2.0, 4.0, 100.0])
def test_each_network_is_as_wide_as_the_budget_allows(budget_ms: float) -> None:
    fitted = baselines(Path(), budget_ms, classes=10).fit(NAMES)
    for name in NAMES:
        widths = [1.0] if name == "efficientnet_b4" else [step / 20 for step in range(1, 21)]
        fitting = [width for width in widths if within(name, width, budget_ms)]
        found = fitted[name]
        assert (found and found[1]) == (max(fitting) if fitting else None)


def test_each_keeps_the_limits_on_sizes_too() -> None:
    limited = replace(baselines(Path(), 100.0, classes=10), settings=replace(settings(100.0), max_params=1_000_000))
    fitted = limited.fit(("mobilenet_v2", "efficientnet_b4"))
    narrowed = fitted["mobilenet_v2"]
    assert narrowed is not None
    assert 700_000 < params(narrowed[0]) <= 1_000_000
    assert fitted["efficientnet_b4"] is None  # it is not narrowed


def test_of_several_sizes_each_has_the_largest_at_which_it_fits_as_it_is_and_else_the_smallest() -> None:
    whole = {px: 1.011 * MS_PER_MAC * macs(zoo.get("mobilenet_v2", resolution=px, classes=10)) for px in (32, 64, 96)}
    for budget_ms, px, is_whole in ((0.9 * whole[32], 32, False), (whole[32], 32, True), (whole[64], 64, True)):
        searched = replace(baselines(Path(), budget_ms, classes=10), settings=sized(budget_ms))
        fitted = searched.fit(("mobilenet_v2",))["mobilenet_v2"]
        assert fitted is not None
        assert (fitted[0].resolution, fitted[1] == 1.0) == (px, is_whole)
    for budget_ms, sizes in ((whole[64], (64, None)), (whole[96], (96, 32))):
        searched = replace(baselines(Path(), budget_ms, classes=10), settings=sized(budget_ms))
        found = searched.fit(("mobilenet_v2", "efficientnet_b4")).values()  # the latter is B0 grown, so not narrowed
        assert tuple(one and one[0].resolution for one in found) == sizes


def sized(budget_ms: float) -> Settings:
    return Settings(budget_ms=budget_ms, resolution=(32, 64, 96), proxy_resolution=32)


def dataset() -> Dataset:
    rng = np.random.default_rng(0)
    splits = [Split(rng.integers(0, 255, (n, 32, 32, 3), dtype=np.uint8), rng.integers(0, 2, n)) for n in (40, 20, 20)]
    return Dataset("noise", ("a", "b"), 32, splits[0], splits[1], "noise", (), (), splits[2])


def winner() -> dict[str, Any]:
    return {
        "trial": 3,
        "params": 1,
        "macs": 1,
        "measured_latency_ms": 1.0,
        "validation_accuracy": 0.5,
        "test_accuracy": 0.5,
        "test_low": 0.4,
        "test_high": 0.6,
        "test_images": 20,
    }


def trainer(fail: dict[int, BaseException] | None = None) -> ScriptedTrainer:
    images = dataset()
    return ScriptedTrainer(
        train=images.train, validation=images.validation, recipe=Recipe(epochs=3), seed=0, fail=fail or {}
    )


class Scripted(LongTraining):
    """Tells the first of every ten test images wrong; nothing takes time."""

    def closing_s(self, spec: NetworkSpec, left_s: float) -> float:
        return 2.0

    def deploy_and_test(
        self, module: Any, trained: Any, what: str, *, left_s: float | None, images: int | None = None
    ) -> Final:
        right = tuple(place % 10 > 0 for place in range(images or 20))
        return Final(module.spec.resolution, 0.8, Accuracy(0.9, 0.7, 1.0, len(right)), right)


def training(
    *, by: ScriptedTrainer | None = None, classes: int = 2, parents: Parents | None = None, **more: Any
) -> Scripted:
    return Scripted(
        trainer=by or trainer(),
        parents=parents,
        images=replace(dataset(), classes=tuple("abcdefghij"[:classes])),
        largest=64,
        limit_s=7.5,
        progress=quiet(),
        **{"tuner": None, **more},
    )


def baselines(folder: Path, budget_ms: float, *, classes: int = 2, **more: Any) -> Baselines:
    found = training(classes=classes, **more)
    return Baselines(settings(budget_ms), found, budget(budget_ms), quiet(), folder, published)


def run(folder: Path, names: Sequence[str], *, budget_ms: float = 100.0, **more: Any) -> dict[str, Any]:
    return baselines(folder, budget_ms, **more).compare({"winner": winner(), "spent_s": 7.5}, names)


def test_every_result_is_kept_before_the_next_and_never_trained_again(tmp_path: Path) -> None:
    names, interrupted, whole = ("shufflenet_v2", "squeezenet1_1"), trainer({4: KeyboardInterrupt()}), trainer()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, names, by=interrupted)
    (stored,) = read_json(tmp_path / BASELINES)["runs"]
    assert list(stored["networks"]) == ["shufflenet_v2"]
    summary = run(tmp_path, names, by=whole)
    trained = [(module.spec.name, recipe.epochs) for module, recipe, _ in interrupted.fits + whole.fits]
    timed, long = 1, 5  # 7.5 s as the search had, less 2 s for the test, by epochs of 1 s
    first, second = "shufflenet_v2", "squeezenet1_1"
    assert trained == [(first, timed), (first, long), (second, timed), (second, long), (second, long)]
    assert {row["name"] for row in summary["baselines"]} == set(names)
    assert all(row["status"] == "trained" and row["test_images"] == 20 for row in summary["baselines"])
    assert read_json(tmp_path / "summary.json") == summary


def test_each_is_better_tied_or_worse_than_the_winner_on_the_same_test_images(tmp_path: Path) -> None:
    (alone,) = run(tmp_path, ("shufflenet_v2",))["baselines"]
    assert (alone["versus_winner"]["paired"], alone["versus_winner"]["verdict"]) == (False, "better")  # 18 and 10 of 20
    for told_right, verdict in ((range(0, 20, 2), "better"), (range(1, 20), "tied")):
        right = [place in told_right for place in range(20)]
        (tmp_path / TESTED).write_text(json.dumps({"winner": packed(right)}))
        (row,) = run(tmp_path, ("shufflenet_v2",))["baselines"]
        assert (row["versus_winner"]["paired"], row["versus_winner"]["verdict"]) == (True, verdict)
        assert "right" not in row


def test_where_classes_are_of_very_different_sizes_balanced_accuracy_stands_beside_accuracy(tmp_path: Path) -> None:
    compared, unbalanced = baselines(tmp_path, 100.0), dataset()
    unbalanced = replace(unbalanced, train=Split(unbalanced.train.pixels, (np.arange(40) % 10 == 0).astype(np.int64)))
    compared = replace(compared, training=replace(compared.training, images=unbalanced))
    (row,) = compared.compare({"winner": winner(), "spent_s": 7.5}, ("shufflenet_v2",))["baselines"]
    labels, right = unbalanced.open_test().labels, np.arange(20) % 10 > 0
    assert row["test_balanced_accuracy"] == pytest.approx(np.mean([right[labels == label].mean() for label in (0, 1)]))
    (even,) = run(tmp_path / "even", ("shufflenet_v2",))["baselines"]
    assert "test_balanced_accuracy" not in even


class Tuner:
    """A FineTuner that notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, int]] = []

    def fit(self, module: Any, *, seconds: int | None, pixels: int, **_: Any) -> Any:
        assert seconds is not None
        self.asked.append((module.spec.name, seconds, pixels))
        return SimpleNamespace(accuracy=0.8, epochs=2, seconds=float(seconds))


def parent(name: str, sha256: str) -> Parents:
    network = build(zoo.get(name, width=0.5, resolution=32), generator=torch.Generator().manual_seed(1)).eval()
    return Parents([Parent(name, network, "a test", None, None, sha256)])


def published(name: str, **_: Any) -> Parents:
    if name == "squeezenet1_1":
        raise InvalidArgument("no hub can be reached")
    return parent(name, name)


def test_with_published_weights_each_is_fine_tuned_from_its_own(tmp_path: Path) -> None:
    tuner = Tuner()
    given: dict[str, Any] = {"tuner": tuner, "parents": parent("mobilenet_v2", "0")}
    rows = run(tmp_path, ("shufflenet_v2", "squeezenet1_1"), **given)["baselines"]
    assert tuner.asked == [("shufflenet_v2", 5, 64)]  # seconds, at the deployed size
    assert [row["status"] for row in rows] == ["trained", "its weights are not to be had (no hub can be reached)"]
    assert rows[0]["accuracy_at_training_px"] == 0.8
    run(tmp_path, ("shufflenet_v2",), **given)
    assert len(tuner.asked) == 1


def test_the_best_of_all_are_told_by_features_of_weights_and_there_must_be_some(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="got --weights none: name the networks"):
        run(tmp_path, ("best",))


@pytest.mark.parametrize(
    ("error", "status"), [(TrainingDiverged("nan"), "diverged"), (OutOfMemory("no room"), "out of memory")]
)
def test_a_training_that_fails_and_a_network_over_the_budget_are_results(
    error: Exception, status: str, tmp_path: Path
) -> None:
    rows = run(tmp_path, ("shufflenet_v2", "efficientnet_b7"), budget_ms=2.0, by=trainer({2: error}))["baselines"]
    assert {row["name"]: row["status"] for row in rows} == {
        "shufflenet_v2": status,
        "efficientnet_b7": "no width meets 2 ms",
    }


@pytest.mark.parametrize("text", ["{", "{}", "[1]", '[{"effort": {}}]'])
def test_a_damaged_file_of_baselines_is_left_as_it_is(text: str, tmp_path: Path) -> None:
    (tmp_path / BASELINES).write_text(text)
    with pytest.raises(StorageError, match=r"baselines\.json must"):
        run(tmp_path, ("shufflenet_v2",))
    assert (tmp_path / BASELINES).read_text() == text


def test_an_unknown_baseline_is_named_before_anything_runs(capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    assert main(["--budget-ms", "20", "--baselines", "mobilenet_v9"]) == 2
    assert "did you mean mobilenet_v" in capsys.readouterr().err
    assert time.monotonic() - began < 5
