"""The torch and ONNX side of activations and gates: one entry for each name of `searchspace.blocks.activations`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class OnnxNode(NamedTuple):
    """One ONNX operator behind the node before: with its attributes, scalar inputs, and (`twice`) the first input."""

    op: str
    attributes: Mapping[str, Any] = {}
    scalars: tuple[float, ...] = ()
    twice: bool = False


@dataclass(frozen=True, kw_only=True)
class Activation:
    """What torch and ONNX call one activation.

    Attributes:
        module: Its module class, made with `in_place` where that is true.
        function: The same for a tensor, which it may overwrite.
        calls: What a user's traced module may call: functions, and names of methods of a tensor.
        onnx: Its operators of opset 17, one behind the other.
    """

    module: type[nn.Module]
    function: Callable[[Tensor], Tensor]
    calls: tuple[object, ...]
    onnx: tuple[OnnxNode, ...]
    in_place: bool = True


TORCH: dict[str, Activation] = {
    "relu": Activation(
        module=nn.ReLU,
        function=F.relu_,
        calls=(torch.relu, torch.relu_, F.relu, "relu", "relu_"),
        onnx=(OnnxNode("Relu"),),
    ),
    "relu6": Activation(
        module=nn.ReLU6,
        function=partial(F.relu6, inplace=True),
        calls=(F.relu6,),
        onnx=(OnnxNode("Clip", scalars=(0.0, 6.0)),),
    ),
    "h_swish": Activation(
        module=nn.Hardswish,
        function=partial(F.hardswish, inplace=True),
        calls=(F.hardswish,),
        onnx=(OnnxNode("HardSwish"),),
    ),
    "swish": Activation(
        module=nn.SiLU,
        function=partial(F.silu, inplace=True),
        calls=(F.silu,),
        onnx=(OnnxNode("Sigmoid"), OnnxNode("Mul", twice=True)),
    ),
    "sigmoid": Activation(
        module=nn.Sigmoid,
        function=torch.sigmoid,
        calls=(torch.sigmoid, F.sigmoid, "sigmoid", "sigmoid_"),
        onnx=(OnnxNode("Sigmoid"),),
        in_place=False,
    ),
    "hard_sigmoid": Activation(
        module=nn.Hardsigmoid,
        function=F.hardsigmoid,
        calls=(F.hardsigmoid,),
        onnx=(OnnxNode("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),),
        in_place=False,
    ),
}
"""Every activation and gate by name but "identity", which does nothing."""


def activation(name: str) -> nn.Module:
    """The module of a row's `activation` or `gate`."""
    if name == "identity":
        return nn.Identity()
    known = TORCH[name]
    return known.module(inplace=True) if known.in_place else known.module()


def activated(x: Tensor, name: str) -> Tensor:
    """A tensor behind the activation; `x` may be overwritten."""
    return x if name == "identity" else TORCH[name].function(x)
