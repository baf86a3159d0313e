"""The torch and ONNX side of activations and gates: one entry for each name of `searchspace.blocks.activations`."""

from collections.abc import Callable, Mapping
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


class Activation(NamedTuple):
    """What torch and ONNX call one activation.

    Attributes:
        module: Its module class.
        function: The same for a tensor.
        onnx: Its operators of opset 17, one behind the other.
        calls: What else than `function` a user's traced module may call: functions, and names of a tensor's methods.
        in_place: Whether module and function may overwrite their input, by `inplace`.
    """

    module: type[nn.Module]
    function: Callable[..., Tensor]
    onnx: tuple[OnnxNode, ...]
    calls: tuple[object, ...] = ()
    in_place: bool = True


TORCH: dict[str, Activation] = {
    "relu": Activation(nn.ReLU, F.relu, (OnnxNode("Relu"),), (torch.relu, torch.relu_, "relu", "relu_")),
    "relu6": Activation(nn.ReLU6, F.relu6, (OnnxNode("Clip", scalars=(0.0, 6.0)),)),
    "h_swish": Activation(nn.Hardswish, F.hardswish, (OnnxNode("HardSwish"),)),
    "swish": Activation(nn.SiLU, F.silu, (OnnxNode("Sigmoid"), OnnxNode("Mul", twice=True))),
    "sigmoid": Activation(
        nn.Sigmoid, torch.sigmoid, (OnnxNode("Sigmoid"),), (F.sigmoid, "sigmoid", "sigmoid_"), in_place=False
    ),
    "hard_sigmoid": Activation(
        nn.Hardsigmoid, F.hardsigmoid, (OnnxNode("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),), in_place=False
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
    if name == "identity":
        return x
    known = TORCH[name]
    return known.function(x, inplace=True) if known.in_place else known.function(x)
