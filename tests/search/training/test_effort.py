"""What a training step costs, and what that does to errors after equal time."""

from dataclasses import replace

import pytest

from search.training.effort import ACTIVATION_MACS, Effort, step_cost
from searchspace.cost import costs
from searchspace.graph import lower
from searchspace.spaces.mnasnet import mnasnet_space

SPACE = mnasnet_space(classes=10, resolution=64)
SMALLEST, LARGEST = (SPACE.spec(SPACE.corner(which)) for which in ("smallest", "largest"))


def test_a_step_costs_its_macs_and_a_hundred_for_each_value_of_an_activation() -> None:
    graph = lower(SMALLEST)
    values = sum(channels * height * width for channels, height, width in (layer.out_shape for layer in graph.layers))
    assert step_cost(SMALLEST) == costs(graph).macs + ACTIVATION_MACS * values


def test_a_network_of_dearer_steps_has_more_errors_after_equal_time() -> None:
    effort = Effort(SPACE)
    assert effort.relative(SMALLEST) < 1 < effort.relative(LARGEST)
    assert effort.errors(SMALLEST) < 1 < effort.errors(LARGEST)
    assert effort.relative(LARGEST) / effort.relative(SMALLEST) == pytest.approx(
        step_cost(LARGEST) / step_cost(SMALLEST)
    )


def test_a_larger_input_size_makes_steps_dearer() -> None:
    effort = Effort(SPACE)
    assert effort.relative(replace(SMALLEST, resolution=128)) > 3 * effort.relative(SMALLEST)
