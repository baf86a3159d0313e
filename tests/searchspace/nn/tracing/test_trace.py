"""A user's own module: its Graph costs what the module costs, its groups can be cut, and what cannot be is named."""

import random
import re
from collections.abc import Callable

import pytest
import torch
from hypothesis import assume, given, settings
from torch import Tensor, nn
from torch.nn import functional as F

from searchspace import costs, lower, zoo
from searchspace.blocks import AffineClassifier, BasicBlock, Bottleneck, GhostBottleneck, HGBlock, HGStem, RepConv
from searchspace.channels.coupling import coupling
from searchspace.channels.groups import ChannelGroup
from searchspace.errors import InvalidArgument, UnsupportedModule
from searchspace.nn import TracedNetwork, build, module_macs, trace
from searchspace.spec import NetworkSpec
from tests.searchspace.nn.tracing.networks import Dense, Mobile, ResNet, Vgg

pytestmark = pytest.mark.usefixtures("one_thread")
PIXELS = 32


NETWORKS: tuple[type[nn.Module], ...] = (ResNet, Vgg, Mobile, Dense)


def filled(kind: type[nn.Module]) -> nn.Module:
    """A network in double precision whose batch norms and biases are away from 0 and 1."""
    torch.manual_seed(0)
    network = kind().double().eval()
    for part in network.modules():
        if isinstance(part, (nn.BatchNorm2d, nn.BatchNorm1d)):
            for tensor in (part.weight, part.bias, part.running_mean, part.running_var):
                tensor.data.uniform_(0.5, 1.5)
    return network


def images() -> Tensor:
    return torch.randn(2, 3, PIXELS, PIXELS, generator=torch.Generator().manual_seed(0), dtype=torch.double)


# What a module is


@pytest.mark.parametrize("kind", NETWORKS)
def test_parameters_and_macs_are_those_of_the_module(kind: type[nn.Module]) -> None:
    module = kind()
    found = costs(trace(module, resolution=PIXELS).graph)
    assert found.params == sum(parameter.numel() for parameter in module.parameters())
    assert found.macs == module_macs(module, resolution=PIXELS).macs


def test_a_module_is_the_kernels_that_a_runtime_runs() -> None:
    layers = trace(Mobile(), resolution=PIXELS).graph.layers
    assert [(layer.name, layer.op, layer.activation) for layer in layers[:7]] == [
        ("features.0", "conv", "relu6"),
        ("features.3.expand.0", "conv", "h_swish"),
        ("features.3.depthwise.0", "conv", "swish"),
        ("features.3", "se", "relu"),
        ("features.3.project.0", "conv", "identity"),
        ("add", "add", "identity"),
        ("features.4.expand.0", "conv", "h_swish"),
    ]
    assert (layers[3].squeeze_channels, layers[3].gate) == (4, "sigmoid")
    assert [layer.op for layer in layers[-2:]] == ["pool", "linear"]


# Their modules compute in another order than their rows are lowered in, or branches that are deployed as one layer.
ANOTHER_ORDER = (BasicBlock, Bottleneck, GhostBottleneck, HGStem, HGBlock, AffineClassifier, RepConv)


@given(...)
@settings(max_examples=6)
def test_a_built_network_is_traced_to_its_lowered_graph_and_its_groups(spec: NetworkSpec) -> None:
    assume(not any(isinstance(block, ANOTHER_ORDER) for block in spec.blocks))
    expected, traced = lower(spec), trace(build(spec), in_channels=spec.in_channels, resolution=spec.resolution)
    own, of_rows = (
        [(layer if layer.kernel > 1 else layer._replace(padding="half")).signature for layer in graph.layers]
        for graph in (traced.graph, expected)
    )
    assert own == of_rows
    assert [layer.inputs for layer in traced.graph.layers] == [layer.inputs for layer in expected.layers]
    assert costs(traced.graph).params == costs(expected).params
    groups = coupling(spec)
    carried = {place.layer for group in groups for place in group.pass_through}
    # A row says whether its convolution is depthwise; a module's is where it could be.
    assume(
        not any(
            layer.op == "conv" and layer.groups == layer.in_shape[0] == layer.out_shape[0] and index not in carried
            for index, layer in enumerate(expected.layers)
        )
    )
    for found, group in zip(traced.groups(), groups, strict=True):
        assert found[5:] == group[5:]
        assert set(found.counts) <= set(group.counts)


@pytest.mark.parametrize("name", ["efficientnet_b0", "mobilenet_v3_large", "squeezenet1_0", "shufflenet_v2"])
def test_a_zoo_network_costs_the_same_traced(name: str) -> None:
    spec = zoo.get(name, width=0.5, depth=0.5, resolution=64)
    found, expected = costs(trace(build(spec), resolution=64).graph), costs(lower(spec))
    assert found[:4] == expected[:4]


# Cutting


def zero_readers(network: TracedNetwork, group: ChannelGroup, gone: set[int]) -> None:
    """Nothing reads the units that go: weights that meet them are 0."""
    for place in (*group.consumers, *group.pass_through):
        layer = network.graph.layers[place.layer]
        at = [position for unit, position in zip(place.units, place.positions, strict=True) if unit in gone]
        names = network.modules_of(place.layer)
        if layer.op == "se":  # carried channels are read by the first of the two, squeezed ones by the second
            part = network.module.get_submodule(names[1] if place in group.consumers else names[0])
        elif place in group.consumers:
            part = network.module.get_submodule(names[0])
        else:
            continue
        weight = part.get_parameter("weight").data
        pixels = layer.in_shape[1] * layer.in_shape[2] if layer.op == "linear" else 1
        share = weight.shape[1]
        rows = len(weight) // layer.groups
        for column in (position * pixels + pixel for position in at for pixel in range(pixels)):
            weight[column // share * rows :][:rows, column % share] = 0.0


def some_units(group: ChannelGroup, rng: random.Random) -> list[int]:
    """Units for a smaller count, equally many of each cell."""
    count = rng.choice(group.counts)
    cells: dict[object, list[int]] = {}
    for unit, cell in enumerate(group.cells):
        cells.setdefault(cell, []).append(unit)
    kept = [unit for units in cells.values() for unit in rng.sample(units, len(units) * count // group.channels)]
    return rng.sample(kept, len(kept))


@pytest.mark.parametrize("kind", NETWORKS)
@torch.no_grad()
def test_channels_that_nothing_reads_can_be_cut_out_of_every_group(kind: type[nn.Module]) -> None:
    rng, network = random.Random(1), trace(filled(kind), resolution=PIXELS)
    free = [group.name for group in network.groups() if not group.fixed]
    assert [group.fixed for group in network.groups() if group.fixed] == [
        "it holds the network's input",
        "it holds the network's classes",
    ]
    for name in free:
        (group,) = (group for group in network.groups() if group.name == name)
        keep = some_units(group, rng)
        zero_readers(network, group, set(range(len(group.cells))) - set(keep))
        cut = network.cut(name, keep)
        torch.testing.assert_close(cut.module(images()), network.module(images()), rtol=1e-5, atol=1e-5)
        assert cut.graph != network.graph
        network = cut
    assert costs(network.graph).params == sum(parameter.numel() for parameter in network.module.parameters())
    assert costs(network.graph).macs == module_macs(network.module, resolution=PIXELS).macs


def test_a_cut_leaves_the_users_module_as_it_is_and_its_copy_trains() -> None:
    network = trace(filled(ResNet), resolution=PIXELS)
    before = {name: value.clone() for name, value in network.module.state_dict().items()}
    cut = network.cut("blocks.2.conv1", range(5))
    after = network.module.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert network.narrowed_graph("blocks.2.conv1", 5) == cut.graph
    cut.module.train()(images()).sum().backward()
    assert all(parameter.grad is not None for parameter in cut.module.parameters())


def test_a_residual_stage_is_one_group_and_a_grouped_convolution_goes_in_steps() -> None:
    groups = {group.name: group for group in trace(ResNet(), resolution=PIXELS).groups()}
    stage = groups["stem.0"]
    layers = trace(ResNet(), resolution=PIXELS).graph.layers
    assert [layers[place.layer].name for place in stage.producers] == ["stem.0", "blocks.0.conv2", "blocks.1.conv2"]
    groups = {group.name: group for group in trace(Dense(), resolution=PIXELS).groups()}
    assert groups["one"].counts == range(6, 12, 6)
    assert groups["grouped.0"].counts == range(3, 12, 3)


# Feature maps that meet themselves


class Twice(nn.Module):
    """A map concatenated with itself, behind an activation (CReLU), and summed with what reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.one = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(16, 16, 3, padding=1, groups=2)
        self.two, self.fc = nn.Conv2d(16, 6, 3, padding=1, bias=False), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.cat([x, F.relu(x)], 1)
        y = self.two(x + self.one(x))
        return self.fc(torch.cat([y, y], 1).mean((2, 3)))


@torch.no_grad()
def test_a_map_concatenated_with_itself_is_pruned_once() -> None:
    network = trace(filled(Twice), resolution=PIXELS)
    assert {group.name: (group.channels, group.counts) for group in network.groups() if not group.fixed} == {
        "stem": (16, range(2, 16, 2)),  # as many as the widest map has
        "two": (12, range(2, 12, 2)),
    }
    for group, keep in (("stem", [0, 3, 7]), ("two", [1, 2, 5])):
        (found,) = (each for each in network.groups() if each.name == group)
        zero_readers(network, found, set(range(len(found.cells))) - set(keep))
        cut = network.cut(group, keep)
        torch.testing.assert_close(cut.module(images()), network.module(images()))
        network = cut
    assert costs(network.graph).macs == module_macs(network.module, resolution=PIXELS).macs


# What stands in the way


class Odd(nn.Module):
    """A module whose forward is any function of it and an image."""

    def __init__(self, forward: Callable[["Odd", Tensor], Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.conv, self.more = nn.Conv2d(3, 6, 3, padding="same"), nn.Conv2d(6, 6, 3, padding=1)
        self.last = nn.Conv2d(6, 4, 1)
        self.run = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


@pytest.mark.parametrize(
    ("forward", "group", "reason"),
    [
        (
            lambda m, x: m.last(torch.cat([(y := m.more(m.conv(x)))[:, 2:], y[:, :2]], 1)),
            "more",
            "getitem takes its channels by position",
        ),
        (
            lambda m, x: m.last(torch.cat([(y := m.more(m.conv(x)).split([2, 4], 1))[1], y[0]], 1)),
            "more",
            "split takes its channels by position",
        ),
        (
            lambda m, x: m.last((y := m.more(m.conv(x))) * y.mean(1, keepdim=True)),
            "more",
            "node mean takes all of them together",
        ),
        (
            lambda m, x: m.last(F.group_norm(m.more(m.conv(x)), 2)),
            "more",
            "node group_norm takes statistics over all of them: use a norm's module there",
        ),
        (
            lambda m, x: m.last(m.more(m.conv(x)).mean((2, 3)).view(-1, 6, 1, 1)),
            "more",
            "their number is written into the code at node view",
        ),
        (
            lambda m, x: m.last(m.more(m.conv(x)) * torch.tensor([1.0, 2, 3, 4, 5, 6])[:, None, None]),
            "more",
            "node mul has a value for each in the code: make them a buffer (register_buffer)",
        ),
        (
            lambda m, x: m.last(m.more(m.conv(x))[:, [0, 2, 1, 3, 5, 4]]),
            "more",
            "node getitem puts them in another order",
        ),
        (lambda m, x: m.last((y := m.more(m.conv(x))) @ y), "more", "node matmul takes all of them together"),
    ],
)
def test_a_group_that_the_code_holds_is_fixed_with_the_reason(
    forward: Callable[[Odd, Tensor], Tensor], group: str, reason: str
) -> None:
    network = trace(Odd(forward), resolution=8)
    assert {each.name: each.fixed for each in network.groups()}[group] == reason
    with pytest.raises(InvalidArgument, match=re.escape(f"{group} cannot be narrowed, {reason}")):
        network.cut(group, [0, 1])


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda m, x: m.last(m.more(m.conv(x).sort().values)), r"node sort \(sort\) stands in the way: a Graph has no"),
        (lambda m, x: m.last(m.more(m.conv(x))) if x.sum() > 0 else x, "torch.fx cannot trace the Odd"),
        (
            lambda m, x: m.more(m.conv(x)).mean((2, 3)) @ m.last.weight[:, :, 0, 0].T,
            r"node matmul \(matmul\).*reads a parameter",
        ),
        (lambda m, x: m.last(F.max_pool2d(m.more(m.conv(x)).mT.transpose(1, 3), 1).transpose(1, 3)), "are on axis 3"),
        (
            lambda m, x: m.last(m.more(m.conv(x)).permute(0, 2, 3, 1).reshape(-1, 6, 1, 1)),
            r"last \(Conv2d\).*in an order",
        ),
        (lambda m, x: (m.last(m.more(m.conv(x))), m.conv.weight), r"output \(output\).*conv_weight is no output"),
        (lambda m, x: [m.last(m.more(m.conv(x))).shape[1]], "must give a tensor, or several of them"),
        (lambda m, x: m.last(m.more((y := m.conv(x)).add_(y) + y)), "works in place"),
        (lambda m, x: (y := m.more(m.conv(x)), y.clamp_(0), m.last(y))[2], r"node clamp_ \(clamp_\).*works in place"),
        (lambda m, x: m.last(F.conv2d(m.conv(x), m.more.weight, None, padding=0)), "in another way than more"),
    ],
)
def test_what_no_graph_can_say_is_refused_by_the_name_of_its_node(
    forward: Callable[[Odd, Tensor], Tensor], message: str
) -> None:
    with pytest.raises(UnsupportedModule, match=message):
        trace(Odd(forward), resolution=8)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (nn.LazyConv2d(6, 3), "layers without a shape: run it on an image"),
        (nn.utils.parametrizations.weight_norm(nn.Conv2d(6, 6, 3, padding=1)), "not simply the parameter of a Conv2d"),
    ],
)
def test_convolutions_that_a_layer_does_not_hold_are_refused(part: nn.Module, message: str) -> None:
    with pytest.raises(UnsupportedModule, match=message):
        trace(Odd(lambda m, x: m.last(m.more(m.conv(x))), more=part), resolution=8)


def test_units_that_a_grouped_convolution_cannot_keep_are_refused() -> None:
    network = trace(Dense(), resolution=PIXELS)
    with pytest.raises(InvalidArgument, match=r"grouped.0 takes channels of grouped.0 in equal parts"):
        network.cut("grouped.0", range(6))
    with pytest.raises(InvalidArgument, match="one has units 0 to 11, got 99"):
        network.cut("one", [99])
    with pytest.raises(InvalidArgument, match="resolution must be an integer of at least 1, got 0"):
        trace(Dense(), resolution=0)
