"""Fine-tuning: it learns, keeps its limit, gives the same for the same images and seed, and goes on after a cut."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from search.data import Split
from search.training.errors import TrainingDiverged
from search.training.evaluate import evaluate
from search.training.finetune import FineTuner
from search.training.recipe import FineTuning
from searchspace.errors import InvalidArgument
from searchspace.nn import Network, build
from searchspace.zoo import get
from tests.scripted import Ticks, two_halves

TRAIN, VALIDATION = two_halves(80), two_halves(50, seed=1)
RECIPE = FineTuning(
    batch_size=8, epochs=4, learning_rate=0.02, stops_early=False, keeps_statistics=False, warmup_steps=1
)

pytestmark = pytest.mark.usefixtures("one_thread")


class Stop(Exception):
    pass


def make() -> nn.Module:
    torch.manual_seed(3)
    layers = [nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(4)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128, 2))


def network() -> Network:
    spec = get("mobilenet_v3_small", width=0.25, resolution=48, classes=2)
    return build(spec, generator=torch.Generator().manual_seed(0))


def tuner(recipe: FineTuning = RECIPE, *, each: float = 0.1) -> FineTuner:
    return FineTuner(train=TRAIN, validation=VALIDATION, recipe=recipe, seed=1, device="cpu", clock=Ticks(each=each))


def same(first: nn.Module, second: nn.Module) -> bool:
    others = second.state_dict()
    return all(torch.equal(value, others[name]) for name, value in first.state_dict().items())


def test_a_network_learns_and_its_accuracy_is_that_of_the_weights_it_ends_with() -> None:
    module = make()
    tuned = tuner().fit(module, images=400, pixels=16)
    assert tuned.accuracy > 0.9
    assert tuned.accuracy == evaluate(module, VALIDATION, device="cpu")
    assert not module.training


def test_the_same_images_and_seed_give_the_same_weights() -> None:
    first, second = make(), make()
    tuner().fit(first, images=160, pixels=16)
    tuner(each=3.0).fit(second, images=160, pixels=16)
    assert same(first, second)


def test_a_training_that_was_cut_goes_on_to_the_same_end(tmp_path: Path) -> None:
    whole, cut, path = make(), make(), tmp_path / "state.ckpt"
    expected = tuner().fit(whole, images=320, pixels=16)
    lines: list[str] = []

    def stop_later(text: str) -> None:
        lines.append(text)
        if len(lines) == 3:
            raise Stop

    with pytest.raises(Stop):
        tuner().fit(cut, images=320, pixels=16, state_file=path, on_line=stop_later)
    resumed = make()
    found = tuner().fit(resumed, images=320, pixels=16, state_file=path)
    assert same(whole, resumed)
    assert found.history == expected.history
    again = make()
    assert tuner().fit(again, images=320, pixels=16, state_file=path).history == expected.history
    assert same(again, whole)


def test_a_training_that_paused_is_not_finished_and_goes_on_to_the_end_of_an_undisturbed_one(tmp_path: Path) -> None:
    whole, parts, path = make(), make(), tmp_path / "state.ckpt"
    tuner().fit(whole, images=320, pixels=16)
    paused = tuner().fit(parts, images=320, pixels=16, state_file=path, until=0.25)
    assert paused.images == 80
    assert paused.history
    again = make()
    assert tuner().fit(again, images=320, pixels=16, state_file=path).images == 320
    assert same(again, whole)


def test_a_pause_by_the_clock_is_a_share_of_the_seconds(tmp_path: Path) -> None:
    path = tmp_path / "state.ckpt"
    paused = tuner(each=2.0).fit(make(), seconds=1000, pixels=16, state_file=path, until=0.2)
    assert 200 <= paused.seconds < 300
    assert tuner(each=2.0).fit(make(), seconds=1000, pixels=16, state_file=path).seconds == pytest.approx(
        1000, rel=0.05
    )


def test_a_pause_that_was_reached_before_is_not_trained_past(tmp_path: Path) -> None:
    path = tmp_path / "state.ckpt"
    lengths: list[dict[str, Any]] = [{"images": 320}, {"seconds": 1000}]
    for how in lengths:
        first = tuner(each=1.0).fit(make(), pixels=16, state_file=path, until=0.2, **how)
        again = tuner(each=1.0).fit(make(), pixels=16, state_file=path, until=0.2, **how)
        assert (again.images, again.history) == (first.images, first.history)
        path.unlink()


def test_a_pause_that_fitting_the_new_classifier_has_used_up_still_comes_after_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Ticks()
    monkeypatch.setattr("search.training.finetune.fit_head", lambda *_, **__: clock.pass_s(80.0))
    found = replace(tuner(), clock=clock).fit(
        make(), seconds=1000, pixels=16, state_file=tmp_path / "state.ckpt", until=0.05
    )
    assert found.images == RECIPE.batch_size
    assert len(found.history) == 1


def test_the_clock_is_the_schedule_and_the_limit_is_kept() -> None:
    clock = Ticks(each=0.05)
    trained = replace(tuner(), clock=clock).fit(make(), seconds=20, pixels=16)
    assert 18 < clock.now <= 20.6
    assert trained.images > 100


def test_a_machine_that_becomes_slower_sees_fewer_images_and_keeps_the_limit() -> None:
    clock = Ticks(each=0.05)

    def slower(share: float, what: str) -> None:
        clock.pass_s(0.5 if share > 0.5 else 0.0)

    slow = replace(tuner(), clock=clock).fit(make(), seconds=20, pixels=16, on_progress=slower)
    assert clock.now <= 20.6
    assert slow.images < replace(tuner(), clock=Ticks(each=0.05)).fit(make(), seconds=20, pixels=16).images


def test_training_ends_early_where_validation_could_not_show_what_is_left_to_gain() -> None:
    easy = tuner(replace(RECIPE, stops_early=True)).fit(make(), images=4000, pixels=16)
    assert easy.stopped_early
    assert 2000 <= easy.images < 3200
    assert easy.accuracy == 1.0


def test_a_network_that_is_no_better_than_naming_the_largest_class_goes_on() -> None:
    pixels = two_halves(4, seed=1).pixels
    unlearnable = Split(np.repeat(pixels, 2, 0), np.arange(8) % 2)  # each image under both labels
    lost = replace(tuner(replace(RECIPE, stops_early=True)), validation=unlearnable)
    tuned = lost.fit(make(), images=400, pixels=16)
    assert set(tuned.history) == {0.5}
    assert (tuned.stopped_early, tuned.images) == (False, 400)


def test_a_network_begins_at_a_smaller_size_with_a_classifier_in_closed_form_and_ends_at_the_deployed_size() -> None:
    lines: list[str] = []
    recipe = replace(RECIPE, small_least=32)
    tuned = tuner(recipe).fit(network(), images=64, pixels=48, on_line=lines.append)
    assert "closed form" in lines[0]
    assert {"training at 32 px", "training at 48 px", "the new classifier", "validation"} == set(tuned.spent)


def test_frozen_blocks_keep_their_weights_and_statistics() -> None:
    module = make()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    tuner(replace(RECIPE, frozen=0.34)).fit(module, images=80, pixels=16)
    after = module.state_dict()
    assert torch.equal(before["0.weight"], after["0.weight"])
    assert torch.equal(before["1.weight"], after["1.weight"])
    assert not torch.equal(before["5.weight"], after["5.weight"])


def test_batch_norms_keep_their_statistics_where_the_recipe_says_so() -> None:
    module = make()
    tuner(replace(RECIPE, keeps_statistics=True)).fit(module, images=80, pixels=16)
    fresh = make().state_dict()
    assert torch.equal(module.state_dict()["1.running_mean"], fresh["1.running_mean"])
    assert not torch.equal(module.state_dict()["1.weight"], fresh["1.weight"])


def test_rates_rise_towards_the_classifier() -> None:
    assert FineTuning(input_rate=0.25).rates(2) == (0.5, 1.0)


def test_a_loss_that_is_not_finite_and_a_limit_that_is_none_are_told() -> None:
    with pytest.raises(TrainingDiverged, match="must stay finite"):
        tuner(replace(RECIPE, learning_rate=1e20)).fit(make(), images=160, pixels=16)
    for wrong in ({}, {"seconds": 0}, {"images": 5, "seconds": 5}):
        with pytest.raises(InvalidArgument, match="seconds or images"):
            tuner().fit(make(), pixels=16, **wrong)  # type: ignore[arg-type]
