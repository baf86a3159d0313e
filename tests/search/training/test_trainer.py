"""Training: the same result from the same seed, also across a cut; clear errors; honest accuracies."""

import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from search.data import Split
from search.training.trainer import Outcome, Recipe, TrainingDiverged, evaluate, learning_rate, train, wilson_interval
from searchspace.nn import build
from searchspace.spaces.mnasnet import mnasnet_space
from searchspace.zoo import get

RECIPE = Recipe(epochs=3, batch_size=8, epoch_images=64, epoch_validation=30)


def _split(count: int, seed: int = 0) -> Split:
    """Two classes: the left or the right half is bright."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    pixels = rng.integers(0, 120, (count, 16, 16, 3))
    for image, label in zip(pixels, labels, strict=True):
        image[:, 8 * label : 8 * label + 8] += 100
    return Split(pixels.astype(np.uint8), labels.astype(np.int64))


TRAIN, VALIDATION = _split(80), _split(50, seed=1)


def _module() -> nn.Module:
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


def _train(module: nn.Module, **changes: object) -> Outcome:
    arguments: dict[str, object] = {"train": TRAIN, "validation": VALIDATION, "recipe": RECIPE, "seed": 7}
    return train(module, device="cpu", **(arguments | changes))  # type: ignore[arg-type]


def _same(first: nn.Module, second: nn.Module) -> bool:
    others = second.state_dict()
    return all(torch.equal(value, others[name]) for name, value in first.state_dict().items())


class Stop(Exception):
    pass


pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_network_learns_and_its_accuracy_is_that_of_the_weights_it_ends_with() -> None:
    module = _module()
    outcome = _train(module)
    assert outcome.accuracy > 0.9
    assert outcome.accuracy == evaluate(module, VALIDATION, device="cpu", batch_size=7)
    assert outcome.history[-1] == outcome.accuracy
    assert len(outcome.history) == outcome.epochs == 3
    assert not module.training


def test_the_same_seed_gives_the_same_network_bit_for_bit_and_another_seed_another() -> None:
    first, second, third = _module(), _module(), _module()
    assert _train(first).history == _train(second).history
    _train(third, seed=8)
    assert _same(first, second)
    assert not _same(first, third)


def test_networks_of_the_space_train_bit_for_bit_the_same() -> None:
    space = mnasnet_space(classes=2, resolution=32)
    images = Split(np.repeat(np.repeat(TRAIN.pixels, 2, 1), 2, 2)[:16], TRAIN.labels[:16])
    networks = [
        build(space.spec(space.corner("smallest")), generator=torch.Generator().manual_seed(0)) for _ in range(2)
    ]
    for network in networks:
        _train(network, train=images, validation=images, recipe=Recipe(epochs=1, batch_size=8))
    assert _same(*networks)


def test_a_training_that_was_cut_off_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    def stop(epoch: int, accuracy: float) -> None:
        if epoch == 1:
            raise Stop

    path, undisturbed, cut = tmp_path / "a.ckpt", _module(), _module()
    expected = _train(undisturbed)
    with pytest.raises(Stop):
        _train(cut, checkpoint=path, on_epoch=stop)
    again, epochs = _module(), []
    outcome = _train(again, checkpoint=path, on_epoch=lambda epoch, accuracy: epochs.append(epoch))
    assert epochs == [2, 3]
    assert outcome.history == expected.history
    assert _same(again, undisturbed)
    assert list(tmp_path.iterdir()) == [path]


def test_a_finished_training_is_read_back_and_not_repeated(tmp_path: Path) -> None:
    first, second, steps = _module(), _module(), []
    expected = _train(first, checkpoint=tmp_path / "a.ckpt")
    outcome = _train(second, checkpoint=tmp_path / "a.ckpt", on_step=lambda step, total: steps.append((step, total)))
    assert steps == [(24, 24)]
    assert outcome.history == expected.history
    assert _same(first, second)


@pytest.mark.parametrize("damage", ["cut", "noise", "empty", "pickle"])
def test_a_damaged_checkpoint_is_left_out_with_a_warning(tmp_path: Path, damage: str) -> None:
    path, expected, module = tmp_path / "a.ckpt", _module(), _module()
    _train(expected, checkpoint=path)
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
        _train(module, checkpoint=path)
    assert _same(module, expected)


def test_a_checkpoint_of_another_training_is_left_out_with_a_warning(tmp_path: Path) -> None:
    path, expected, module = tmp_path / "a.ckpt", _module(), _module()
    _train(_module(), checkpoint=path, seed=1)
    _train(expected)
    with pytest.warns(UserWarning, match="another training"):
        _train(module, checkpoint=path)
    assert _same(module, expected)


@pytest.mark.parametrize("passed_through", [KeyboardInterrupt, MemoryError, Stop])
def test_what_a_callback_raises_passes_through(passed_through: type[BaseException]) -> None:
    def stop(*_: object) -> None:
        raise passed_through

    with pytest.raises(passed_through):
        _train(_module(), on_step=stop)
    with pytest.raises(passed_through):
        _train(_module(), on_epoch=stop)


def test_a_loss_that_is_not_finite_names_epoch_rate_and_next_step() -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.linear(x.mean((2, 3))) * math.nan
            return out

    with pytest.raises(TrainingDiverged, match=r"epoch 1 of 3 at learning rate .*: lower"):
        _train(Broken())


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
    _train(witness, train=images, recipe=recipe, on_step=lambda step, total: steps.append((step, total)))
    assert steps == [(step, 15) for step in range(1, 16)]
    assert len(set(witness.seen[:40])) == len(set(witness.seen[40:80])) == 40
    assert witness.seen[:40] != witness.seen[40:80]


def test_a_deadline_ends_the_training_after_an_epoch_with_the_whole_validation_split() -> None:
    module = _module()
    outcome = _train(module, deadline=lambda: True)
    assert outcome.epochs == 1
    assert outcome.accuracy == evaluate(module, VALIDATION, device="cpu")


def test_a_network_that_was_evaluated_on_another_device_can_be_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    module = _module()
    monkeypatch.setattr(nn.Module, "to", lambda self, *_: self._apply(torch.clone))  # as a move to a GPU does
    evaluate(module, _split(8))
    assert not any(parameter.is_inference() for parameter in module.parameters())


def test_training_leaves_torchs_global_randomness_as_it_was() -> None:
    module = _module()
    before = torch.get_rng_state()
    _train(module)
    assert torch.equal(before, torch.get_rng_state())


def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero() -> None:
    rates = [learning_rate(step, 100, Recipe(learning_rate=1.0, warmup_fraction=0.2)) for step in range(101)]
    assert rates[:20] == sorted(rates[:20])
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert max(rates) == rates[20] == 1.0
    assert rates[0] > 0
    assert rates[100] == pytest.approx(0)


def test_wilson_interval_of_five_in_ten_is_the_textbooks() -> None:
    assert wilson_interval(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)


@given(count=st.integers(1, 10**6), share=st.floats(0, 1), confidence=st.floats(0.5, 0.999))
def test_wilson_interval_holds_the_fraction_and_stays_a_fraction(count: int, share: float, confidence: float) -> None:
    fraction = round(share * count) / count
    low, high = wilson_interval(fraction, count, confidence)
    assert 0 <= low <= fraction + 1e-12
    assert fraction - 1e-12 <= high <= 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_steps_in_one_graph_are_the_steps_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = Split(np.repeat(np.repeat(TRAIN.pixels, 4, 1), 4, 2), TRAIN.labels)
    spec = get("mobilenet_v2", classes=2, resolution=64, width=0.5)
    recipe = Recipe(epochs=4, batch_size=16, epoch_images=80, learning_rate=0.01)
    ends = []
    for fewest, cut in ((10**9, False), (1, False), (1, True)):  # one by one, in one graph, and cut off between
        monkeypatch.setattr("search.training.cuda_graph.FEWEST_STEPS", fewest)
        network = build(spec, generator=torch.Generator().manual_seed(0))
        path = tmp_path / f"{fewest}{cut}.ckpt"
        fit = partial(train, train=images, validation=images, recipe=recipe, seed=7, checkpoint=path)
        if cut:
            fit(build(spec, generator=torch.Generator().manual_seed(0)), deadline=lambda: True)
        fit(network)
        ends.append(torch.cat([value.flatten() for value in network.parameters()]))
    start = torch.cat([p.flatten() for p in build(spec, generator=torch.Generator().manual_seed(0)).parameters()])
    moved = (ends[0] - start).norm()
    assert moved > 0.5
    for other in ends[1:]:
        assert (other - ends[0]).norm() < 0.1 * moved  # bf16, and sums in any order
