"""Pruning steps: without weights, with weights, and evaluated many at once, they are one and the same."""

import random
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from searchspace import zoo
from searchspace.blocks import Conv, ConvBN
from searchspace.channels.coupling import coupling, narrow
from searchspace.channels.groups import ChannelGroup
from searchspace.channels.steps import (
    CRITERIA,
    Step,
    narrowed_layers,
    prune_group,
    remove_block,
    replace_blocks,
    smaller_kernels,
    without_se,
)
from searchspace.errors import InvalidArgument
from searchspace.graph import lower
from searchspace.nn import Network, build
from searchspace.nn.execute import branch, folded_weights, forward, logits
from searchspace.nn.layers import SqueezeExcite
from searchspace.nn.weights.importance import mean_gates, scores
from searchspace.nn.weights.prune import prune_network
from searchspace.spec import NetworkSpec

pytestmark = pytest.mark.usefixtures("one_thread")

FAMILIES = (
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mnasnet_a1",
    "shufflenet_v1",
    "shufflenet_v2",
    "squeezenet1_1",
    "efficientnet_b0",
    "fbnet_c",
    "single_path_nas",
)


def small(name: str) -> NetworkSpec:
    return zoo.get(name, classes=5, width=0.5, depth=0.5).with_resolution(32)


def lively(spec: NetworkSpec, seed: int = 0) -> Network:
    """A network in eval mode whose batch norms and biases are at work."""
    generator = torch.Generator().manual_seed(seed)
    network = build(spec, generator=generator).eval()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None
            assert part.running_var is not None
            for tensor in (part.weight.data, part.running_var):
                tensor.uniform_(0.5, 1.5, generator=generator)
            for tensor in (part.bias.data, part.running_mean):
                tensor.normal_(0, 0.2, generator=generator)
    return network


def images(spec: NetworkSpec) -> Tensor:
    shape = (2, spec.in_channels, spec.resolution, spec.resolution)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def free(spec: NetworkSpec) -> list[ChannelGroup]:
    return [group for group in coupling(spec) if group.counts]


def some_cuts(spec: NetworkSpec, count: int, seed: int = 0) -> list[tuple[ChannelGroup, Step]]:
    """Random groups at random counts, random units kept."""
    rng = random.Random(seed)
    found = []
    for group in rng.sample(free(spec), min(count, len(free(spec)))):
        for channels in rng.sample(group.counts, min(4, len(group.counts))):
            try:
                found.append((group, prune_group(spec, group, channels, [rng.random() for _ in group.cells])))
                break
            except InvalidArgument:
                continue  # channels are taken by position in a way that this count does not allow
    return found


def close(found: Tensor, expected: Tensor, share: float) -> None:
    assert float((found - expected).abs().max()) <= share * float(expected.abs().max())


@pytest.mark.parametrize("name", FAMILIES)
def test_a_cut_is_priced_as_the_network_after_it(name: str) -> None:
    spec, rng = small(name), random.Random(0)
    graph = lower(spec)
    for group in free(spec):
        channels = rng.choice(group.counts)
        try:
            after = lower(narrow(spec, group, channels)).layers
        except InvalidArgument:
            continue
        changed = narrowed_layers(graph, group, channels)
        found = [changed.get(index, layer)._replace(start=0) for index, layer in enumerate(graph.layers)]
        assert found == [layer._replace(start=0) for layer in after]


def silence_what_goes(network: Network, step: Step) -> None:
    """Set to 0 the outgoing weights of the channels that a step takes away."""
    layers = lower(network.spec).layers
    with torch.no_grad():
        for (index, side), kept in step.maps.items():
            layer, module = layers[index], network.get_submodule(layers[index].name)
            if isinstance(module, SqueezeExcite):
                gone = set(range(layer.squeeze_channels if side == "inside" else layer.out_shape[0])) - set(kept)
                (module.expand if side == "inside" else module.reduce).weight[:, list(gone)] = 0
            elif side == "in":
                weight = (module if layer.op == "linear" else module.get_submodule("conv")).get_parameter("weight")
                rows, share = len(weight) // layer.groups, weight.shape[1]
                for channel in set(range(layer.in_shape[0])) - set(kept):
                    group = channel // share
                    weight[group * rows : (group + 1) * rows, channel % share] = 0


@pytest.mark.parametrize("name", FAMILIES)
def test_taking_away_channels_whose_outgoing_weights_are_zero_changes_no_output(name: str) -> None:
    spec = small(name)
    tried = 0
    for number, (_, step) in enumerate(some_cuts(spec, 3)):
        network = lively(spec, number)
        silence_what_goes(network, step)
        with torch.inference_mode():
            close(prune_network(network, step)(images(spec)), network(images(spec)), 1e-5)
        tried += 1
    assert tried


@pytest.mark.parametrize("name", FAMILIES)
def test_all_steps_evaluated_together_give_the_logits_of_each_alone(name: str) -> None:
    spec, rng = small(name), random.Random(0)
    network, batch = lively(spec), images(spec)
    steps = [step for _, step in some_cuts(spec, 3)]
    for blocks in (without_se(spec), smaller_kernels(spec)):
        some = rng.sample(list(blocks), min(3, len(blocks)))
        steps += [replace_blocks(spec, {where: blocks[where] for where in each}) for each in (some[:1], some) if each]
    removals = list(remove_block(spec))
    steps += [make() for _, make in rng.sample(removals, min(1, len(removals)))]
    graph = lower(spec)
    with torch.inference_mode():
        gates, weights = mean_gates(network, batch), folded_weights(network)
        base = forward(graph, weights, batch)
        close(base[-1], network(batch), 1e-5)
        for step in steps:
            alone = prune_network(network, step, gates=gates)(batch)
            close(logits(branch(graph, weights, step, gates=gates), base, batch), alone, 1e-5)


def test_what_a_step_leaves_as_it_is_runs_once() -> None:
    spec = small("mobilenet_v1")
    network = lively(spec)
    group = next(group for group in free(spec) if group.name.endswith("project"))
    step = prune_group(spec, group, group.channels // 2, [1.0] * group.channels)
    ready = branch(lower(spec), folded_weights(network), step)
    first = next(index for index, source in enumerate(ready.sources) if source is None)
    assert first == group.consumers[0].layer  # producers and pass_through only lose channels


def test_a_kernel_shrinks_to_its_middle_and_a_block_leaves_its_input() -> None:
    spec = small("mnasnet_a1")
    network = lively(spec)
    blocks = smaller_kernels(spec)
    assert len(blocks) > 1
    smaller = prune_network(network, replace_blocks(spec, blocks))
    for where in blocks:
        old = network.get_submodule(f"{where}.depthwise.conv").get_parameter("weight")
        new = smaller.get_submodule(f"{where}.depthwise.conv").get_parameter("weight")
        assert torch.equal(new, old[:, :, 1:-1, 1:-1])
    where, make = next(iter(remove_block(spec)))
    with torch.no_grad():
        norm = network.get_submodule(f"{where}.project.norm")
        norm.get_parameter("weight").zero_()
        norm.get_parameter("bias").zero_()
    with torch.inference_mode():
        close(prune_network(network, make())(images(spec)), network(images(spec)), 1e-5)


@pytest.mark.parametrize("name", ["mnasnet_a1", "efficientnet_b0", "fbnet_c", "squeezenet1_1"])
def test_taking_off_a_kernels_edge_of_zeros_changes_no_output(name: str) -> None:
    """Of every depthwise kernel above 3, and of a dense 7 x 7 stem."""
    stem, *others = small(name).stages
    first, *rest = stem.blocks
    assert isinstance(first, (ConvBN, Conv))
    wide = replace(first, kernel=7) if isinstance(first, ConvBN) else replace(first, kernel=7, padding="half")
    spec = replace(small(name), stages=(replace(stem, blocks=(wide, *rest)), *others))
    network, blocks = lively(spec), smaller_kernels(spec)
    assert f"{stem.name}.0" in blocks
    with torch.no_grad():
        for layer in lower(spec).layers:
            if layer.op == "conv" and layer.kernel > 3:
                weight = network.get_submodule(f"{layer.name}.conv").get_parameter("weight")
                edge = torch.ones_like(weight)
                edge[:, :, 1:-1, 1:-1] = 0
                weight[edge.bool()] = 0
    with torch.inference_mode():
        close(prune_network(network, replace_blocks(spec, blocks))(images(spec)), network(images(spec)), 1e-5)


@pytest.mark.parametrize(("name", "removable"), [("mobilenet_v1", 8), ("squeezenet1_1", 4), ("shufflenet_v2", 0)])
def test_a_block_without_a_sum_goes_where_its_output_has_the_shape_of_its_input(name: str, removable: int) -> None:
    spec = zoo.get(name, classes=5).with_resolution(32)
    removals = list(remove_block(spec))
    assert len(removals) == removable
    for where, make in removals:
        network = lively(spec)
        shorter = prune_network(network, make())
        stage, _, number = where.rpartition(".")
        network.get_submodule(stage)[int(number)] = torch.nn.Identity()  # type: ignore[operator]
        with torch.inference_mode():
            close(shorter(images(spec)), network(images(spec)), 1e-5)


@pytest.mark.parametrize("number", [1, 3])
def test_dropped_se_blocks_leave_their_mean_gates_behind(number: int) -> None:
    spec = small("mobilenet_v3_small")
    network = lively(spec)
    blocks = dict(list(without_se(spec).items())[:number])
    for where in blocks:
        squeeze = network.get_submodule(f"{where}.squeeze")
        assert isinstance(squeeze, SqueezeExcite)
        with torch.no_grad():
            squeeze.reduce.weight.zero_()  # the gate is the same for every image now
    with torch.inference_mode():
        gates = mean_gates(network, images(spec))
        close(
            prune_network(network, replace_blocks(spec, blocks), gates=gates)(images(spec)), network(images(spec)), 1e-4
        )


@pytest.mark.parametrize("criterion", CRITERIA)
def test_channels_of_nothing_are_worth_least(criterion: str) -> None:
    spec = small("mobilenet_v2")
    network = lively(spec)
    group = next(group for group in free(spec) if group.name.endswith("expand"))
    weak = [3, 7, 11]
    layer = network.get_submodule(group.name)
    with torch.no_grad():
        layer.get_submodule("conv").get_parameter("weight")[weak] *= 1e-3
        layer.get_submodule("norm").get_parameter("weight")[weak] *= 1e-3
        layer.get_submodule("norm").get_parameter("bias")[weak] *= 1e-3
    network(images(spec)).square().sum().backward()
    found = scores(network, group, criterion)
    others = sorted(value for unit, value in enumerate(found) if unit not in weak)
    assert max(found[unit] for unit in weak) < others[len(others) // 2]
