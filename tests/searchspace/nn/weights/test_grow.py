"""A grown network starts as the small one: over the zoo's residual families, and where it cannot, it says so."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from searchspace import zoo
from searchspace.channels.maps import unit_maps
from searchspace.errors import InvalidArgument
from searchspace.nn import build
from searchspace.nn.build import Network
from searchspace.nn.weights.grow import inherit
from searchspace.nn.weights.transfer import Transferred
from searchspace.spec import NetworkSpec
from searchspace.template import Template
from searchspace.to_template import to_template

pytestmark = pytest.mark.usefixtures("one_thread")

RESIDUAL = (
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "mnasnet_a1",
    "mnasnet_b1",
    "efficientnet_b0",
    "fbnet_c",
    "single_path_nas",
)
IDENTICAL_IN_EVAL = ("mobilenet_v1",)  # no skip, but its ReLUs let an identity through
# Families whose new blocks have no skip.
INEXACT = ("squeezenet1_1", "shufflenet_v2")


def trained(spec: NetworkSpec, seed: int) -> Network:
    """A network whose batch norms and biases are no fresh ones."""
    generator = torch.Generator().manual_seed(seed)
    network = build(spec, generator=generator).eval()

    def uniform(low: float, high: float, count: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.weight.data = uniform(0.5, 1.5, part.num_features)
            part.bias.data = uniform(-0.3, 0.5, part.num_features)
            part.running_mean = uniform(-0.1, 0.1, part.num_features)
            part.running_var = uniform(0.5, 1.5, part.num_features)
        elif isinstance(part, (nn.Conv2d, nn.Linear)) and part.bias is not None:
            part.bias.data = uniform(-0.5, 0.5, len(part.bias))
    return network


def grown(template: Template, depth: float, width: float, seed: int = 0) -> Transferred:
    small, deep, wide = ({}, {"depth": depth}, {"depth": depth, "width": width})
    specs = [template.expand(resolution=32, **multipliers) for multipliers in (small, deep, wide)]
    return inherit(trained(specs[0], seed), *specs[1:], generator=torch.Generator().manual_seed(1))


def table(name: str) -> Template:
    """A family's table at a quarter of its width and few pixels."""
    return to_template(zoo.get(name, width=0.25, resolution=32, classes=5))


@settings(max_examples=6)
@given(name=st.sampled_from(RESIDUAL), depth=st.floats(1, 2.5), width=st.floats(1, 2.2), seed=st.integers(0, 1000))
def test_a_grown_residual_network_computes_what_the_small_one_does(
    name: str, depth: float, width: float, seed: int
) -> None:
    found = grown(table(name), depth, width, seed)
    if found.reasons:  # rounding made a skip appear or a block without one repeat
        assert all("without a skip" in reason or "keep their groups" in reason for reason in found.reasons)
        return
    assert found.exact


@pytest.mark.parametrize(
    ("name", "depth", "width"),
    [*((name, 1.2, 1.1) for name in RESIDUAL), ("mobilenet_v3_small", 2.0, 1.5)],
)
def test_the_residual_families_inherit_exactly_from_their_papers_tables(name: str, depth: float, width: float) -> None:
    template = zoo.template(name).with_classes(5)
    small = template.expand(resolution=32)
    found = inherit(
        trained(small, 3),
        template.expand(depth=depth, resolution=32),
        template.expand(depth=depth, width=width, resolution=64),
        generator=torch.Generator().manual_seed(0),
    )
    bare = [name for name in ("stage1",) if depth > 1 and not template.stages[1].rows[0].skip]  # MnasNet's first block
    assert [reason.split(":")[0] for reason in found.reasons] == [f"stage {name}" for name in bare]
    assert found.exact or bare
    assert found.network.spec.resolution == 64


@pytest.mark.parametrize("name", IDENTICAL_IN_EVAL)
def test_blocks_of_relus_without_a_skip_are_told_and_equal_in_eval_mode(name: str) -> None:
    found = grown(table(name), 1.5, 1.3)
    assert found.exact
    assert "without a skip" in found.reasons[0]


@pytest.mark.parametrize("name", INEXACT)
def test_what_cannot_be_equal_is_told(name: str) -> None:
    found = grown(zoo.template(name).with_classes(5), 1.5, 1.0)
    assert not found.exact
    assert "without a skip" in found.reasons[0]


@pytest.mark.parametrize("name", ["squeezenet1_1", "shufflenet_v2", "shufflenet_v1"])
def test_channels_behind_concatenations_groups_and_shuffles_keep_their_places(name: str) -> None:
    template = zoo.template(name).with_classes(5)
    for width in (1.25, 2.0):
        found = grown(template, 1.0, width)
        assert found.exact or any("keep their groups" in reason for reason in found.reasons), width
    assert found.exact  # at twice the width


def test_new_channels_and_blocks_learn() -> None:
    network = grown(table("mobilenet_v2"), 2, 1.5).network.train()
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), torch.arange(8) % 5).backward()
        optimizer.step()
    still = [name for name, one in network.named_parameters() if one.grad is None or not one.grad.any()]
    assert not still


def test_a_network_that_shrinks_cannot_inherit() -> None:
    template = zoo.template("efficientnet_b0")
    with pytest.raises(InvalidArgument, match="only a network that grows can inherit"):
        inherit(
            build(template.expand()),
            template.expand(depth=0.5),
            template.expand(depth=0.5),
            generator=torch.Generator(),
        )


def test_networks_of_other_layers_have_no_maps() -> None:
    assert unit_maps(zoo.get("mobilenet_v1"), zoo.get("mobilenet_v2")) is None
