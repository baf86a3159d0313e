"""Public architectures pruned to half of their MACs: what is left computes what it did with the other channels at 0."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from searchspace import costs
from searchspace.channels.groups import ChannelGroup, Place
from searchspace.nn import TracedNetwork, trace
from tests.searchspace.nn.tracing.architectures.branching import (
    CspDarknet,
    DenseNet121,
    GoogLeNet,
    ShuffleNetV2,
    Vgg16,
)
from tests.searchspace.nn.tracing.architectures.dense_outputs import DcGan, HrNet, Siamese, SrResNet, UNet
from tests.searchspace.nn.tracing.architectures.residual import ConvNeXtTiny, RegNetY400, ResNet18, ResNet50

pytestmark = pytest.mark.usefixtures("one_thread")


class Architecture(NamedTuple):
    """A network, the channels and pixels of its input, and its published parameters where they are the paper's."""

    make: type[nn.Module]
    in_channels: int = 3
    pixels: int = 32
    params: int | None = None


ARCHITECTURES = {
    "ResNet-18": Architecture(ResNet18, params=11_689_512),
    "ResNet-50": Architecture(ResNet50, params=25_557_032),
    "VGG-16": Architecture(Vgg16),
    "DenseNet-121": Architecture(DenseNet121, params=7_978_856),
    "GoogLeNet": Architecture(GoogLeNet),
    "ShuffleNetV2": Architecture(ShuffleNetV2, params=2_278_604),
    "CSP-Darknet": Architecture(CspDarknet),
    "RegNetY-400MF": Architecture(RegNetY400, params=4_344_144),
    "ConvNeXt-Tiny": Architecture(ConvNeXtTiny, params=28_589_128),
    "U-Net": Architecture(UNet, in_channels=1),
    "SRResNet": Architecture(SrResNet, pixels=12),
    "DCGAN": Architecture(DcGan, in_channels=100, pixels=1),
    "HRNet": Architecture(HrNet),
    "siamese": Architecture(Siamese, in_channels=1, pixels=48),
}


def filled(make: type[nn.Module]) -> nn.Module:
    """A network whose norms are away from 0 and 1."""
    torch.manual_seed(0)
    network = make().eval()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor in (part.running_mean, part.running_var):
                tensor.uniform_(0.5, 1.5)
        if isinstance(part, (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)):
            part.weight.data.uniform_(0.5, 1.5)
            part.bias.data.uniform_(-0.5, 0.5)
    return network


def some_channels(network: TracedNetwork, group: ChannelGroup, share: float, rng: random.Random) -> list[int] | None:
    """Units of a group that stay, about that share of them; None where none can go."""
    counts = [count for count in group.counts if count <= share * group.channels] or group.counts[:1]
    return network.choose(group.name, counts[-1], [rng.random() for _ in group.cells]) if counts else None


def halved(network: TracedNetwork) -> tuple[TracedNetwork, dict[str, list[int]]]:
    """The network with at most half of its MACs, and the units of each group that stayed."""
    whole = costs(network.graph).macs
    for share in (0.7, 0.5, 0.3):
        chosen = {g.name: some_channels(network, g, share, random.Random(0)) for g in network.groups() if not g.fixed}
        kept = {name: units for name, units in chosen.items() if units is not None}
        cut = network.cut_all(kept)
        if costs(cut.graph).macs <= whole / 2:
            return cut, kept
    raise AssertionError(f"{costs(cut.graph).macs} of {whole} MACs are left")


@torch.no_grad()
def zero_channels(network: TracedNetwork, group: ChannelGroup, kept: list[int]) -> None:
    """Channels of a group that do not stay are 0 where they are made and normalised, and nobody reads them."""
    for place in (*group.producers, *group.pass_through, *group.consumers):
        layer, names = network.graph.layers[place.layer], network.modules_of(place.layer)
        gone = _positions(place, set(range(len(group.cells))) - set(kept))
        for name in names if layer.op != "se" else ():
            part = network.module.get_submodule(name)
            if place in group.consumers:
                if name == names[0]:
                    _zero_columns(
                        part, gone, pixels=layer.in_shape[1] * layer.in_shape[2] if layer.op == "linear" else 1
                    )
            else:
                _zero_rows(part, gone)
        if layer.op == "se" and place in group.consumers:
            _zero_columns(network.module.get_submodule(names[1]), gone)
        elif layer.op == "se":
            _zero_columns(network.module.get_submodule(names[0]), gone)


def _positions(place: Place, units: set[int]) -> list[int]:
    return [position for unit, position in zip(place.units, place.positions, strict=True) if unit in units]


def _zero_rows(part: nn.Module, rows: list[int]) -> None:
    for parameter in part.parameters(recurse=False):
        if isinstance(part, nn.ConvTranspose2d) and parameter.ndim > 1:
            inner = len(parameter) // part.groups
            for group, row in (divmod(row, parameter.shape[1]) for row in rows):
                parameter[group * inner : (group + 1) * inner, row] = 0.0
        elif len(parameter) > 1:
            parameter[rows] = 0.0
        elif parameter.numel() > 1:
            parameter[:, rows] = 0.0


def _zero_columns(part: nn.Module, columns: list[int], *, pixels: int = 1) -> None:
    weight = part.get_parameter("weight")
    if isinstance(part, nn.ConvTranspose2d):
        weight[columns] = 0.0
        return
    rows = len(weight) // getattr(part, "groups", 1)
    for column in (column * pixels + pixel for column in columns for pixel in range(pixels)):
        group, within = divmod(column, weight.shape[1])
        weight[group * rows : (group + 1) * rows, within] = 0.0


@contextmanager
def counted_macs(module: nn.Module) -> Iterator[list[int]]:
    """Multiply-adds of what runs inside: convolutions and linear layers, by their hooks."""
    found: list[int] = []

    def count(part: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        weight = part.get_parameter("weight")
        if isinstance(part, nn.ConvTranspose2d):
            found.append(weight[0].numel() * inputs[0].numel())
        else:
            found.append(weight[0].numel() * output.numel())

    kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    hooks = [part.register_forward_hook(count) for part in module.modules() if isinstance(part, kinds)]
    yield found
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.no_grad()
def test_half_of_the_macs_compute_what_the_network_did_with_the_other_channels_at_0(name: str) -> None:
    make, in_channels, pixels, params = ARCHITECTURES[name]
    module = filled(make)
    network = trace(module, in_channels=in_channels, resolution=pixels)
    images = [torch.randn(1, in_channels, pixels, pixels) for _ in range(2 if make is Siamese else 1)]
    with counted_macs(module) as macs:
        module(*images)
    assert costs(network.graph).macs == sum(macs)
    assert params in (None, costs(network.graph).params)
    cut, kept = halved(network)
    with counted_macs(cut.module) as macs:
        found = cut.module(*images)
    assert sum(macs) <= costs(network.graph).macs / 2
    for group in network.groups():
        if group.name in kept:
            zero_channels(network, group, kept[group.name])
    expected = module(*images)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
