"""The comparison of trainings with and without a teacher: its arms run, and what the teacher costs is counted."""

import time
from argparse import Namespace

import pytest
import torch

from searchspace import zoo
from searchspace.nn import build
from searchspace.nn.weights.sources import Parent
from tests.benchmarks.teacher import parser, trained
from tests.scripted import dataset_of, two_halves

DATA = dataset_of(two_halves(60, pixels=32), two_halves(20, pixels=32, seed=1))


def published(name: str) -> Parent:
    network = build(zoo.get(name), generator=torch.Generator().manual_seed(0)).eval()
    return Parent(name, network, "these tests", None, None, "0" * 64)


@pytest.mark.parametrize("taught", [False, True])
def test_a_training_ends_with_its_steps_or_its_minutes_and_its_teacher_is_tested_too(taught: bool) -> None:
    args = parser().parse_args(["--width", "0.35", "--pixels", "32", "--minutes", "0.0001"])
    student, teacher = published("mobilenet_v2"), published("mobilenet_v3_small") if taught else None
    found = trained(DATA, student, teacher, Namespace(**vars(args), steps=2), 0)
    assert found["steps"] == 2
    assert 0 <= found["accuracy"] <= 1
    assert ("teacher" in found) == taught
    began = time.process_time()
    assert trained(DATA, student, teacher, Namespace(**vars(args), steps=None), 0)["steps"] == 0
    assert time.process_time() - began > 60 * args.minutes
