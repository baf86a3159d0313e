"""The time limit is kept: trainings, tests and whole searches on a machine of several speeds, by a scripted clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from search.accuracy import register
from search.console import Progress
from search.latency import Measurement
from search.long_training import LongTraining
from search.machinery import Machinery
from search.pipeline import run_search
from search.session import StudyClock
from search.settings import Settings
from search.training.evaluate import told_right
from search.training.finetune import FineTuner
from search.training.recipe import FineTuning, Recipe
from search.training.trainer import Trainer
from searchspace.errors import InvalidArgument
from searchspace.nn import Network, build
from searchspace.spaces.mnasnet import mnasnet_space
from tests.scripted import ScriptedEstimator, SlowingMachine, dataset_of, networks_take, two_halves
from tests.small_search import PHONE, TableDevice, TableTimer, space_in, table_of

pytestmark = pytest.mark.usefixtures("one_thread")
DEPLOYED_AT = 64  # pixels: not those of the trainings, so that weights are adapted to it
AT_MOST = 1.03  # times the limit
SPEEDS = {"as planned": (1.0, 0.0), "slower from the start": (3.0, 0.0), "slower half-way": (3.0, 60.0)}
SPACE = mnasnet_space(classes=2, resolution=32).with_choices({"*.width_mult": (0.1,)})
SPEC = SPACE.spec(SPACE.corner("smallest"))
IMAGES = two_halves(64, pixels=32)
RECIPE = Recipe(epochs=20, batch_size=16, epoch_images=64, epoch_validation=40)

speeds = pytest.mark.parametrize(("slower", "from_s"), SPEEDS.values(), ids=SPEEDS.keys())


def network() -> Network:
    return build(SPEC, generator=torch.Generator().manual_seed(0))


def trainer(machine: SlowingMachine, recipe: Recipe = RECIPE) -> Trainer:
    return Trainer(
        train=IMAGES,
        validation=two_halves(80, pixels=32, seed=1),
        recipe=recipe,
        seed=0,
        device="cpu",
        clock=machine,
    )


@speeds
def test_a_training_by_epochs_ends_in_its_seconds_and_is_the_same_where_they_suffice(
    slower: float, from_s: float
) -> None:
    machine, rates = SlowingMachine(slower, from_s=from_s), list[float]()
    module = network()
    with networks_take(0.05, machine):
        found = trainer(machine).fit(module, seconds=150.0, on_epoch=lambda *_: rates.append(machine.now))
    assert machine.now <= AT_MOST * 150
    if slower == 1:
        assert found.epochs == RECIPE.epochs
        assert found.history == trainer(SlowingMachine()).fit(network()).history
    else:
        assert 1 <= found.epochs < RECIPE.epochs
        assert machine.now > 0.85 * 150


def test_a_training_that_the_clock_ended_is_over_also_when_it_is_called_again(tmp_path: Path) -> None:
    machine, fits = SlowingMachine(3.0), []
    with networks_take(0.05, machine):
        for seconds in (60.0, 1000.0):
            fits.append(trainer(machine).fit(network(), seconds=seconds, state_file=tmp_path / "state"))
    assert fits[0] == fits[1]
    assert fits[0].epochs < RECIPE.epochs


def test_a_training_without_any_time_takes_one_step_and_is_validated_with_few_images() -> None:
    machine = SlowingMachine()
    with networks_take(0.05, machine):
        assert trainer(machine).fit(network(), seconds=0.0).epochs == 1
    assert machine.now < 20


def test_a_training_leaves_more_time_for_what_follows_once_the_machine_is_slower() -> None:
    ends = []
    for then_s in (0.0, 20.0):
        machine = SlowingMachine(3.0, from_s=60.0)
        with networks_take(0.05, machine):
            trainer(machine).fit(network(), seconds=150.0, then_s=then_s)
        ends.append(machine.now)
    assert 20 < ends[0] - ends[1] < 45  # about two thirds of the 60 s that 20 s of work take then


def test_telling_images_stops_at_a_beginning_of_them_once_it_is_enough() -> None:
    images = two_halves(130, pixels=32)
    whole = told_right(network(), images, batch_size=50)
    assert torch.equal(told_right(network(), images, batch_size=50, enough=lambda told: told > 60), whole[:100])
    assert torch.equal(told_right(network(), images, batch_size=50, enough=lambda told: False), whole)


def long_training(machine: SlowingMachine, *, tuned: bool) -> LongTraining:
    validation = two_halves(80, pixels=32, seed=1)
    images = dataset_of(IMAGES, validation, test=two_halves(1400, pixels=32, seed=2))
    recipe = FineTuning(epochs=4, batch_size=16, head_images=0, stops_early=False)
    tuner = FineTuner(train=IMAGES, validation=validation, recipe=recipe, seed=0, device="cpu", clock=machine)
    return LongTraining(
        trainer=trainer(machine),
        tuner=tuner if tuned else None,
        parents=None,
        images=images,
        largest=32,
        limit_s=400.0,
        progress=Progress(lambda: None, quiet=True),
        clock=machine,
    )


@speeds
@pytest.mark.parametrize("tuned", [True, False], ids=["fine-tuned", "from scratch"])
def test_a_network_that_is_kept_is_trained_and_tested_in_time(tuned: bool, slower: float, from_s: float) -> None:
    machine, limit_s = SlowingMachine(slower, from_s=2 * from_s), 200.0
    with networks_take(0.05, machine):
        training, module = long_training(machine, tuned=tuned), network()
        length = 180 if tuned else RECIPE.epochs
        trained = training.train(module, length, state_file=None, what="it", left_s=limit_s)
        final = training.deploy_and_test(module, trained, "it", left_s=limit_s - machine.now)
    assert machine.now <= AT_MOST * limit_s
    assert 1000 <= final.test.images <= 1400
    assert final.right == tuple(map(bool, told_right(module, training.images.open_test(), images=len(final.right))))


def test_an_epoch_is_timed_by_its_first_steps() -> None:
    machine = SlowingMachine()
    with networks_take(0.05, machine):
        found = long_training(machine, tuned=True).epoch_s(SPEC)
    assert machine.now == pytest.approx(3 * 16 * 0.05)
    assert found == pytest.approx(64 * 0.05 + (80 + 64) * 0.35 * 0.05)


def test_what_is_kept_of_a_fine_tuning_is_told_at_each_look() -> None:
    machine, told = SlowingMachine(), list[float]()
    with networks_take(0.05, machine):
        long_training(machine, tuned=True).train(
            network(), 20, state_file=None, what="it", kept=lambda: told.append(machine.now)
        )
    assert len(told) > 2
    assert told[0] < 10


def test_a_test_that_is_to_have_the_images_of_another_has_them_however_long_it_takes() -> None:
    machine = SlowingMachine()
    with networks_take(0.05, machine):
        training, module = long_training(machine, tuned=False), network()
        trained = training.train(module, 1, state_file=None, what="it")
        final = training.deploy_and_test(module, trained, "it", left_s=0.0, images=1200)
    assert len(final.right) == 1200


class SlowDevice(TableDevice):
    """Measuring takes 3 s by the clock, and 1 s of work."""

    def __init__(self, machine: SlowingMachine) -> None:
        super().__init__()
        self.machine = machine

    def measure(self, specs: Sequence[Any], **how: Any) -> list[Measurement]:
        self.machine.now += 3.0
        self.machine.pass_s(1.0)
        return super().measure(specs, **how)


@pytest.fixture
def whole_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Runs the smallest search on a machine: networks take 0.02 s for an image of 32 px, a candidate 3 s."""
    monkeypatch.setenv("PHINAS_STUDIES", str(tmp_path / "studies"))
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path / "cache"))
    space = space_in(tmp_path, resolution=DEPLOYED_AT)
    (tmp_path / "table.json").write_text(table_of(space, {**PHONE, "resolution": DEPLOYED_AT}).to_json())

    def run(machine: SlowingMachine, *, rough: float = 5.0, **more: Any) -> dict[str, Any]:
        register("machine")(lambda settings: ScriptedEstimator(epochs=2, seconds_each=3.0, clock=machine))
        machinery = Machinery(
            device=SlowDevice(machine),
            timer=TableTimer,
            trainer=partial(Trainer, clock=machine),
            now=machine,
            rough_ms=lambda pixels, **_: rough,
        )
        settings: dict[str, Any] = {
            "budget_ms": 1e3,
            "data": "digits:60",
            "proxy_resolution": 32,
            "resolution": DEPLOYED_AT,
            "epochs": 2,
            "minutes": 3.0,
            "accuracy": "machine",
            "weights": "none",
            "space_file": str(tmp_path / "space.toml"),
            "latency": str(tmp_path / "table.json"),
            "study": "s",
        }
        with networks_take(0.02, machine):
            return run_search(Settings(**settings | more), quiet=True, machinery=machinery)

    return run


@pytest.mark.parametrize(
    ("slower", "from_s"), [pytest.param(1.0, 0.0, marks=pytest.mark.slow), (3.0, 0.0), (3.0, 40.0)]
)
def test_a_search_ends_in_time_also_where_the_machine_becomes_three_times_slower(
    whole_search: Callable[..., dict[str, Any]], slower: float, from_s: float
) -> None:
    machine = SlowingMachine(slower, from_s=from_s)
    found = whole_search(machine)
    assert found["winner"]["test_images"] == 36
    assert machine.now <= AT_MOST * 180
    assert found["spent_s"] == pytest.approx(machine.now, abs=1)


@pytest.mark.parametrize("minutes", [0.01, 0.4])
def test_a_limit_too_short_for_anything_is_told_with_the_least_one_before_work_begins(
    whole_search: Callable[..., dict[str, Any]], tmp_path: Path, minutes: float
) -> None:
    machine = SlowingMachine()
    told = rf"--minutes must be at least about 0\.\d on this machine, got {minutes:g}.*give more --minutes, or --trials"
    with pytest.raises(InvalidArgument, match=told):
        whole_search(machine, minutes=minutes, rough=100.0)
    assert machine.now == 0
    assert not (tmp_path / "studies" / "s").exists()


def test_the_clock_of_a_study_counts_earlier_runs_and_the_start_of_the_command_and_never_goes_back() -> None:
    now = SlowingMachine()
    now.now = 1000.0
    clock = StudyClock(60.0, spent_before_s=20.0, now=now, began=995.0)
    assert clock.elapsed_s() == 25
    now.now = 400.0  # another clock, after a pause of the machine
    assert clock.elapsed_s() == 25
    now.pass_s(10)
    assert clock.elapsed_s() == 35
    assert clock.left_s() == 25
    now.pass_s(1e6)
    assert clock.left_s() == 0


@pytest.mark.parametrize(("stored", "left_s"), [(-5.0, 60.0), (float("nan"), 60.0), (float("inf"), 60.0), (90.0, 0.0)])
def test_a_stored_time_that_is_none_counts_nothing_and_one_over_the_limit_leaves_nothing(
    stored: float, left_s: float
) -> None:
    assert StudyClock(60.0, spent_before_s=stored, now=SlowingMachine()).left_s() == left_s


def test_a_clock_that_jumps_ahead_ends_a_training_where_it_is() -> None:
    machine = SlowingMachine()

    def jump(step: int, steps: int) -> None:
        if step == 6:
            machine.now += 1e5

    with networks_take(0.05, machine):
        found = trainer(machine).fit(network(), seconds=150.0, on_step=jump)
    assert found.epochs == 2  # of four steps each
