"""Training: the same result from the same seed, also across a cut; clear errors; honest accuracies."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from search.data import Split
from search.training.errors import OutOfMemory, TrainingDiverged
from search.training.evaluate import evaluate
from search.training.recipe import Recipe
from search.training.trainer import Trainer
from searchspace.nn import build
from searchspace.spaces.mnasnet import mnasnet_space
from searchspace.zoo import get
from tests.scripted import Ticks, two_halves

RECIPE = Recipe(epochs=3, batch_size=8, epoch_images=64, epoch_validation=30)


TRAIN, VALIDATION = two_halves(80), two_halves(50, seed=1)


def make() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 8, bias=False),
        nn.BatchNorm2d(8),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(8, 2),
    )


TRAINER = Trainer(train=TRAIN, validation=VALIDATION, recipe=RECIPE, seed=7, device="cpu")
fit = TRAINER.fit


def same(first: nn.Module, second: nn.Module) -> bool:
    others = second.state_dict()
    return all(torch.equal(value, others[name]) for name, value in first.state_dict().items())


class Stop(Exception):
    pass


pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_network_learns_and_its_accuracy_is_that_of_the_weights_it_ends_with() -> None:
    module = make()
    outcome = fit(module)
    assert outcome.accuracy > 0.9
    assert outcome.accuracy == evaluate(module, VALIDATION, device="cpu", batch_size=7)
    assert outcome.history[-1] == outcome.accuracy
    assert len(outcome.history) == outcome.epochs == 3
    assert not module.training


def test_the_same_seed_gives_the_same_network_bit_for_bit_and_another_seed_another() -> None:
    first, second, third = make(), make(), make()
    assert fit(first).history == fit(second).history
    replace(TRAINER, seed=8).fit(third)
    assert same(first, second)
    assert not same(first, third)


def test_networks_of_the_space_train_bit_for_bit_thesame() -> None:
    space = mnasnet_space(classes=2, resolution=32)
    images = two_halves(16, pixels=32)
    networks = [
        build(space.spec(space.corner("smallest")), generator=torch.Generator().manual_seed(0)) for _ in range(2)
    ]
    for network in networks:
        replace(TRAINER, train=images, validation=images, recipe=Recipe(epochs=1, batch_size=8)).fit(network)
    assert same(*networks)


def test_a_training_that_was_cut_off_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    def stop(epoch: int, accuracy: float) -> None:
        if epoch == 1:
            raise Stop

    path, undisturbed, cut = tmp_path / "a.ckpt", make(), make()
    expected = fit(undisturbed)
    with pytest.raises(Stop):
        fit(cut, state_file=path, on_epoch=stop)
    again, epochs = make(), []
    outcome = fit(again, state_file=path, on_epoch=lambda epoch, accuracy: epochs.append(epoch))
    assert epochs == [2, 3]
    assert outcome.history == expected.history
    assert same(again, undisturbed)
    assert list(tmp_path.iterdir()) == [path]


def test_a_finished_training_is_read_back_and_not_repeated(tmp_path: Path) -> None:
    first, second, steps = make(), make(), []
    expected = fit(first, state_file=tmp_path / "a.ckpt")
    outcome = fit(second, state_file=tmp_path / "a.ckpt", on_step=lambda step, total: steps.append((step, total)))
    assert steps == [(24, 24)]
    assert outcome.history == expected.history
    assert same(first, second)


@pytest.mark.parametrize("damage", ["cut", "noise", "empty", "pickle"])
def test_a_damaged_checkpoint_is_left_out_with_a_warning(tmp_path: Path, damage: str) -> None:
    path, expected, module = tmp_path / "a.ckpt", make(), make()
    fit(expected, state_file=path)
    whole = path.read_bytes()
    flipped = bytes(b ^ 85 for b in whole[200:2000])
    content = {
        "cut": whole[: len(whole) // 2],
        "noise": whole[:200] + flipped + whole[2000:],
        "empty": b"",
        "pickle": b"cos\nsystem\n(S'false'\ntR.",
    }
    path.write_bytes(content[damage])
    with pytest.warns(UserWarning, match="begins anew"):
        fit(module, state_file=path)
    assert same(module, expected)


def test_a_checkpoint_of_another_training_is_left_out_with_a_warning(tmp_path: Path) -> None:
    path, expected, module = tmp_path / "a.ckpt", make(), make()
    replace(TRAINER, seed=1).fit(make(), state_file=path)
    fit(expected)
    with pytest.warns(UserWarning, match="another training"):
        fit(module, state_file=path)
    assert same(module, expected)


@pytest.mark.parametrize("passed_through", [KeyboardInterrupt, RuntimeError, Stop])
def test_what_a_callback_raises_passes_through(passed_through: type[BaseException]) -> None:
    def stop(*_: object) -> None:
        raise passed_through

    with pytest.raises(passed_through):
        fit(make(), on_step=stop)
    with pytest.raises(passed_through):
        fit(make(), on_epoch=stop)


@pytest.mark.parametrize(
    "error",
    [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory: 9 bytes\nmore")],
)
def test_memory_that_runs_out_is_told_in_one_line_with_the_next_step(error: BaseException) -> None:
    class Huge(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            raise error

    with pytest.raises(OutOfMemory, match=r"^a training must fit .* \(.*\): take fewer pixels .*programs$"):
        fit(Huge(3, 2))


def test_a_loss_that_is_not_finite_names_epoch_rate_and_next_step() -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.linear(x.mean((2, 3))) * math.nan
            return out

    with pytest.raises(TrainingDiverged, match=r"epoch 1 of 3 at learning rate .*: lower"):
        fit(Broken())


def test_every_image_is_seen_once_before_any_is_seen_again_and_epochs_are_capped() -> None:
    class Witness(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.seen = nn.Linear(3, 2), list[float]()

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                self.seen += x[:, 0, 0, 0].tolist()
            out: Tensor = self.linear(x.mean((2, 3)))
            return out

    pixels = np.zeros((40, 4, 4, 3), np.uint8) + np.arange(40, dtype=np.uint8)[:, None, None, None]
    images, witness, steps = Split(pixels, np.arange(40) % 2), Witness(), []
    recipe = Recipe(epochs=5, batch_size=8, epoch_images=24, shift=0)
    trainer = replace(TRAINER, train=images, recipe=recipe)
    trainer.fit(witness, on_step=lambda step, total: steps.append((step, total)))
    assert steps == [(step, 15) for step in range(1, 16)]
    assert len(set(witness.seen[:40])) == len(set(witness.seen[40:80])) == 40
    assert witness.seen[:40] != witness.seen[40:80]


def test_a_deadline_ends_the_training_after_an_epoch_with_the_whole_validation_split() -> None:
    module = make()
    outcome = fit(module, deadline=lambda: True)
    assert outcome.epochs == 1
    assert outcome.accuracy == evaluate(module, VALIDATION, device="cpu")


def test_seconds_are_the_clocks_and_those_of_all_runs(tmp_path: Path) -> None:
    clock = Ticks()
    trainer = replace(TRAINER, clock=clock)

    def take_10_s(epoch: int, accuracy: float) -> None:
        clock.pass_s(10)

    first = trainer.fit(make(), state_file=tmp_path / "a", on_epoch=take_10_s, deadline=lambda: clock.now > 0)
    assert (first.epochs, first.seconds) == (2, 10)
    clock.pass_s(1000)
    assert trainer.fit(make(), state_file=tmp_path / "a", on_step=lambda *_: clock.pass_s(1)).seconds == 10 + 1 + 8


def of_version_before(content: dict[str, Any]) -> None:
    content["key"] = content["key"].replace("zero_init_residual", "calm_residuals")


def of_a_cuda_graph(content: dict[str, Any]) -> None:
    for group in content["optimizer"]["param_groups"]:
        group["lr"] = torch.tensor(0.01)


@pytest.mark.parametrize("change", [of_version_before, of_a_cuda_graph])
def test_a_state_file_is_gone_on_with(change: Callable[[dict[str, Any]], None], tmp_path: Path) -> None:
    path, expected, module = tmp_path / "a.ckpt", make(), make()
    fit(expected)
    fit(make(), state_file=path, deadline=lambda: True)
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)
    epochs: list[int] = []
    fit(module, state_file=path, on_epoch=lambda epoch, _: epochs.append(epoch))
    assert epochs == [2, 3]
    assert same(module, expected)


def test_training_leaves_torchs_global_randomness_as_it_was() -> None:
    module = make()
    before = torch.get_rng_state()
    fit(module)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_steps_in_one_graph_are_the_steps_one_by_one(tmp_path: Path) -> None:
    images = two_halves(80, pixels=64)
    spec = get("mobilenet_v2", classes=2, resolution=64, width=0.5)
    recipe = Recipe(epochs=4, batch_size=16, epoch_images=80, learning_rate=0.01)
    trainer = Trainer(train=images, validation=images, recipe=recipe, seed=7)

    def start() -> nn.Module:
        return build(spec, generator=torch.Generator().manual_seed(0))

    def weights(network: nn.Module) -> Tensor:
        return torch.cat([value.flatten() for value in network.parameters()])

    ends = []
    for graph_steps, cut in ((10**9, False), (1, False), (1, True)):  # one by one, in one graph, and cut off between
        network, path, own = start(), tmp_path / f"{graph_steps}{cut}.ckpt", replace(trainer, graph_steps=graph_steps)
        if cut:
            own.fit(start(), state_file=path, deadline=lambda: True)
        own.fit(network, state_file=path)
        ends.append(weights(network))
    moved = (ends[0] - weights(start())).norm()
    assert moved > 0.5
    for other in ends[1:]:
        assert (other - ends[0]).norm() < 0.1 * moved  # bf16, and sums in any order


def test_a_training_ends_early_once_validation_images_can_show_no_more(tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=100, shift=0.0)
    trainer = replace(TRAINER, recipe=recipe, stops_early=True)
    network = make()
    outcome = trainer.fit(network, state_file=tmp_path / "whole")
    assert outcome.stopped_early
    assert 20 <= outcome.epochs < 60  # not before the rate was at its peak
    assert outcome.accuracy > 0.9
    assert trainer.fit(make(), state_file=tmp_path / "whole").history == outcome.history  # it is finished

    def stop(epoch: int, _: float) -> None:
        if epoch == outcome.epochs - 1:
            raise Stop

    again = make()
    with pytest.raises(Stop):
        trainer.fit(again, state_file=tmp_path / "cut", on_epoch=stop)
    again = make()
    assert trainer.fit(again, state_file=tmp_path / "cut").history == outcome.history
    assert same(network, again)


def test_a_training_of_so_many_epochs_as_asked_has_them_all() -> None:
    outcome = replace(TRAINER, recipe=replace(RECIPE, epochs=30, shift=0.0)).fit(make())
    assert (outcome.epochs, outcome.stopped_early) == (30, False)
