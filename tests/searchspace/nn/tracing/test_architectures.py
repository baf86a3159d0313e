"""Public architectures pruned to half of their MACs: what is left computes what it did with the other channels at 0."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from searchspace import costs
from searchspace.channels.groups import ChannelGroup
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
from tests.searchspace.nn.tracing.zeroed import filled, zero_channels

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
