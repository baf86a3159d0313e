"""The registry of modules by kind of block, and what is asked of every block's module."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from searchspace.blocks.protocol import Block
from searchspace.nn.layers import BatchNorm2d, ConvBNAct
from searchspace.spec import DEFAULT_CONVENTIONS, Conventions

MakeConv = Callable[..., ConvBNAct]
"""`ConvBNAct` under the network's conventions."""
Make = Callable[[int, Any, MakeConv], nn.Module]
MODULES: dict[type[Block], Make] = {}
"""How the module of each kind is made: from its input channels, its row and `MakeConv`."""
AnyMake = TypeVar("AnyMake", bound=Make)


def module_of(*kinds: type[Block]) -> Callable[[AnyMake], AnyMake]:
    """A decorator: the function or class makes the modules of these kinds.

    A module's submodules are named as the layers of `Block.lower`. It takes (batch, channels, height, width) and gives
    the same with height and width divided by its stride, rounded up, at any resolution and in channels-last memory.
    It may have `residual_end`, the ConvBNAct that ends the branch which is summed with the input (None where the input
    itself is not summed), and a head `logits_conv`, the ConvBNAct that gives the classes. Every head answers as a
    `HeadModule`.
    """

    def add(make: AnyMake) -> AnyMake:
        MODULES.update(dict.fromkeys(kinds, make))
        return make

    return add


def make_block(in_channels: int, row: Block, conventions: Conventions = DEFAULT_CONVENTIONS) -> nn.Module:
    """The module of one block row."""
    return MODULES[type(row)](in_channels, row, partial(ConvBNAct, conventions=conventions))


class HeadModule(Protocol):
    """What the module of a head answers about its classifier."""

    logits_shift: float
    """What a bias of logits that may be negative needs more, for the head's activation to let them pass."""

    @property
    def logits_layer(self) -> nn.Linear | nn.Conv2d:
        """The layer that gives the classes."""

    def features(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> what `logits_layer` reads (batch, features)."""


def residual_norms(module: nn.Module) -> Iterator[BatchNorm2d]:
    """The last batch norm of every residual branch in `module`: at zero, a block begins as the identity."""
    for part in module.modules():
        end = getattr(part, "residual_end", None)
        if end is not None:
            yield end.norm


def initialise(module: nn.Module, generator: torch.Generator | None) -> None:
    """Weights of a fresh network, in place.

    Convolutions: He normal by fan-out (arXiv:1502.01852; depthwise counts its own group), by fan-in where no batch norm
    follows to mend the scale. Batch norm: the identity. Linear layers, and the convolution that gives the classes:
    normal with 0.01.
    """
    parts = list(module.modules())
    plain = {part.conv for part in parts if isinstance(part, ConvBNAct) and not hasattr(part, "norm")}
    last = {end.conv for part in parts if isinstance(end := getattr(part, "logits_conv", None), ConvBNAct)}
    for part in parts:
        if isinstance(part, (nn.Conv2d, nn.Linear)):
            std = 0.01
            if isinstance(part, nn.Conv2d) and part not in last:
                fan = part.weight[0].numel() if part in plain else part.weight[:, 0].numel() // part.groups
                std = (2.0 / fan) ** 0.5
            nn.init.normal_(part.weight, 0.0, std, generator=generator)
            if part.bias is not None:
                # Softmax does not see a bias that all classes share; a ReLU over them begins alive with it.
                nn.init.constant_(part.bias, 1.0 if part in last else 0.0)
        elif isinstance(part, nn.BatchNorm2d):
            part.reset_parameters()
