"""Short trainings of proposals."""

from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any

import pytest
import torch

from search.netadapt.short_training import Serial, Trained, Workers, short_recipe
from search.training.errors import TrainingDiverged
from search.training.recipe import Recipe
from searchspace.errors import InvalidArgument, PhinasError
from tests.scripted import ScriptedTrainer, dataset_of, two_halves
from tests.search.netadapt.scripted import own_module, start


@pytest.mark.parametrize(("steps", "images_there"), [(2, 1000), (40, 600), (1000, 5000), (7, 8)])
def test_a_short_training_takes_its_steps_however_few_images_there_are(steps: int, images_there: int) -> None:
    recipe = short_recipe(Recipe(batch_size=32), steps, images_there)
    assert steps <= recipe.epochs * recipe.steps_per_epoch(images_there) < steps + recipe.epochs


def test_a_training_that_diverges_is_worth_nothing_and_the_others_go_on() -> None:
    split = two_halves(8)
    trainer = ScriptedTrainer(
        train=split, validation=split, recipe=Recipe(), seed=0, accuracy=0.7, fail={2: TrainingDiverged("nan")}
    )
    modules = [start().module for _ in range(3)]
    found = [*Serial(trainer)(modules, seed=5)]
    assert found == [Trained(0, 0.7, 1.0), Trained(1, 0.0, 0.0, diverged=True), Trained(2, 0.7, 1.0)]
    assert not any(module.training for module in modules)
    assert [module for module, _, _ in trainer.fits] == modules


@pytest.mark.parametrize("tuned", [True, False])
def test_a_network_that_was_fine_tuned_keeps_the_statistics_of_its_batch_norms(tuned: bool) -> None:
    split = two_halves(64)
    recipe = short_recipe(Recipe(batch_size=8), 4, len(split))
    train = Serial.on(dataset_of(split, split), recipe=recipe, validation_images=32, tuned=tuned)
    module = start().module
    before = {name: value.clone() for name, value in module.state_dict().items()}
    ((_, accuracy, _, diverged),) = train([module], seed=1)
    after = module.state_dict()
    assert 0 <= accuracy <= 1
    assert not diverged
    means = [name for name in before if name.endswith("running_mean")]
    assert all(torch.equal(before[name], after[name]) for name in means) == tuned
    weights = [name for name in before if name.endswith("conv.weight")]
    assert not any(torch.equal(before[name], after[name]) for name in weights)


class Broken(Executor):
    """A pool whose processes are gone."""

    def submit(self, *_: Any, **__: Any) -> Any:
        raise BrokenProcessPool


def workers_of(pool: Executor) -> Workers:
    return Workers(1, partial(Serial.load, None, 16, 0), pool=pool)


def test_workers_that_are_gone_already_are_told_like_those_that_end() -> None:
    with workers_of(Broken()) as workers, pytest.raises(PhinasError, match="fewer --workers"):
        next(workers([start().module], seed=0))


def test_workers_take_networks_of_specs_alone() -> None:
    with (
        workers_of(Broken()) as workers,
        pytest.raises(InvalidArgument, match="a module of your own is trained by one"),
    ):
        next(workers([own_module()], seed=0))
