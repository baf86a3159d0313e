"""Fine-tuning by seconds: it learns, keeps its limit, and gives the same for the same clock and seed."""

import pytest
import torch
from torch import nn

from search.training.evaluate import evaluate
from search.training.finetune import FineTuner
from search.training.recipe import Recipe
from tests.scripted import Ticks, two_halves

TRAIN, VALIDATION = two_halves(80), two_halves(50, seed=1)

pytestmark = pytest.mark.usefixtures("one_thread")


def make() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(128, 2),
    )


def tuner() -> FineTuner:
    return FineTuner(train=TRAIN, validation=VALIDATION, recipe=Recipe(), seed=1, device="cpu", clock=Ticks(each=0.1))


def test_a_network_is_fine_tuned_and_its_accuracy_is_that_of_the_weights_it_ends_with() -> None:
    module = make()
    tuned = tuner().fit(module, seconds=10, pixels=16)
    assert tuned.accuracy > 0.9
    assert tuned.accuracy == evaluate(module, VALIDATION, device="cpu")
    assert not module.training
