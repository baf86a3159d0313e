"""`build`: a NetworkSpec as a torch module."""

from collections import OrderedDict
from typing import TypeVar

import torch
from torch import nn

from searchspace.errors import InvalidSpec
from searchspace.nn.blocks import initialise, make_block
from searchspace.nn.layers import Affine
from searchspace.spec import NetworkSpec

Module = TypeVar("Module", bound=nn.Module)


class Network(nn.Sequential):
    """A built network: its stages in order, by name.

    Input (batch, in_channels, height, width) float, any height and width from the total stride on; output logits
    (batch, classes). State-dict names read stage.block.layer: `stage3.1.depthwise.conv.weight`.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        blocks: dict[str, list[nn.Module]] = {stage.name: [] for stage in spec.stages}
        for where, in_channels, row in spec.walk():
            blocks[where.rpartition(".")[0]].append(make_block(in_channels, row, spec.conventions))
        for name in blocks:
            if name == "spec" or hasattr(nn.Sequential(), name):
                raise InvalidSpec(f"the stage name {name!r} is taken by torch modules: give the stage another name")
        super().__init__(OrderedDict((name, nn.Sequential(*rows)) for name, rows in blocks.items()))
        self.spec = spec


def build(spec: NetworkSpec, *, generator: torch.Generator | None = None) -> Network:
    """The spec as a freshly initialised module in channels-last memory, in training mode, on the CPU.

    `generator` makes the weights reproducible; None draws from torch's global state. Raises InvalidSpec for a stage
    whose name a torch module needs for itself ("forward").
    """
    with torch.device("cpu"):
        network = Network(spec)
    initialise(network, generator)
    return channels_last(network)


def channels_last(module: Module) -> Module:
    """The module itself, its kernels in channels-last memory."""
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def block_modules(network: Network) -> list[nn.Module]:
    """The network's blocks from its input to its output, whatever stage they are of; the last is the head."""
    return [block for stage in network.children() for block in stage.children()]


def untrained(spec: NetworkSpec) -> Network:
    """A network of random weights in eval mode, the same ones each time: to be timed, not used."""
    return busy(build(spec, generator=torch.Generator().manual_seed(0)).eval())


def busy(module: Module) -> Module:
    """The module itself, to be timed: no fresh scale and shift is the identity, which a runtime would leave out."""
    for part in module.modules():
        if isinstance(part, Affine):
            nn.init.constant_(part.scale, 1.25)
            nn.init.constant_(part.bias, 0.25)
    return module
