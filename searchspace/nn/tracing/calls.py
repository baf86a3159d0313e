"""The calls of a user's torch module, by torch.fx: which there are, which of them a Graph has words for, and what each
gives. Those that a Graph has no word for are refused by name."""

import copy
import inspect
import operator
from typing import Any, NoReturn

import torch
from torch import fx, nn
from torch.nn import functional as F

from searchspace.errors import UnsupportedModule
from searchspace.nn import layers as ours
from searchspace.nn.activations import TORCH

SUPPORTED = (
    f"Conv2d, BatchNorm2d, Linear, {', '.join(known.module.__name__ for known in TORCH.values())}, "
    "MaxPool2d, AvgPool2d, global average pooling, Dropout, Flatten, sums, concatenations, slices of channels, "
    "squeeze-and-excite"
)
BATCH = 2  # tells the batch from an axis of one
_WEIGHTED = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.BatchNorm1d)
_OURS = (ours.DepthwiseConv2d, ours.PointwiseConv2d, ours.SameConv2d, ours.BatchNorm2d, ours.ChannelShuffle, ours.Slice)
MODULES: dict[type[nn.Module], str] = {
    **{known.module: name for name, known in TORCH.items()},
    nn.Identity: "same",
    nn.Dropout: "same",
    nn.Dropout2d: "same",
    nn.Flatten: "same",
    nn.MaxPool2d: "maxpool",
    nn.AvgPool2d: "avgpool",
    nn.AdaptiveAvgPool2d: "adaptive",
    nn.Conv2d: "conv",
    nn.Linear: "linear",
    nn.BatchNorm2d: "norm",
    nn.BatchNorm1d: "norm",
    nn.ChannelShuffle: "shuffle",
    ours.ChannelShuffle: "shuffle",
    ours.Slice: "narrow",
}
CALLS: dict[object, str] = {
    **{call: name for name, known in TORCH.items() for call in known.calls},
    F.dropout: "same",
    F.dropout2d: "same",
    torch.flatten: "same",
    "flatten": "same",
    "contiguous": "same",
    "clone": "same",
    "squeeze": "same",
    "unsqueeze": "same",
    torch.squeeze: "same",
    torch.unsqueeze: "same",
    "view": "same",
    "reshape": "same",
    torch.reshape: "same",
    "expand_as": "spread",
    operator.add: "add",
    operator.iadd: "add",
    torch.add: "add",
    "add": "add",
    "add_": "add",
    operator.mul: "mul",
    operator.imul: "mul",
    torch.mul: "mul",
    "mul": "mul",
    "mul_": "mul",
    torch.cat: "concat",
    torch.concat: "concat",
    torch.chunk: "parts",
    "chunk": "parts",
    torch.split: "parts",
    "split": "parts",
    operator.getitem: "item",
    "narrow": "narrow",
    torch.narrow: "narrow",
    torch.mean: "mean",
    "mean": "mean",
    F.max_pool2d: "maxpool",
    torch.max_pool2d: "maxpool",
    F.avg_pool2d: "avgpool",
    F.adaptive_avg_pool2d: "adaptive",
    F.conv2d: "conv",
    torch.conv2d: "conv",
    F.linear: "linear",
}
IN_PLACE = (operator.iadd, operator.imul, "add_", "mul_", "relu_", "sigmoid_", torch.relu_)
ARGUMENTS = {
    "maxpool": ("x", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices"),
    "avgpool": ("x", "kernel_size", "stride", "padding", "ceil_mode"),
    "conv": ("x", "weight", "bias", "stride", "padding", "dilation", "groups"),
    "linear": ("x", "weight", "bias"),
    "mean": ("x", "dim", "keepdim"),
    "concat": ("tensors", "dim"),
    "parts": ("x", "size", "dim"),
    "narrow": ("x", "dim", "start", "length"),
}


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if type(m) in _OURS:
            return True
        plain = any(isinstance(m, kind) and type(m).forward is kind.forward for kind in _WEIGHTED)
        return plain or super().is_leaf_module(m, module_qualified_name)


class _Run(fx.Interpreter):
    """Shapes of all nodes, by a run without data; numbers such as `x.shape[1]` as they are."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.results: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        try:
            self.results[n] = super().run_node(n)
        except Exception as error:
            refuse(n, f"it does not run: {_first_line(error)}")
        return self.results[n]


def traced_calls(module: nn.Module) -> fx.GraphModule:
    """The calls of `module` in eval mode; arguments of its forward beside the first keep their defaults.

    Raises UnsupportedModule where what is called depends on values.
    """
    kind, tracer = type(module), _Tracer()
    if any(isinstance(parameter, nn.UninitializedParameter) for parameter in module.parameters()):
        raise UnsupportedModule(
            f"the {kind.__name__} has layers without a shape: run it on an image before it is traced"
        )
    _, *others = inspect.signature(kind.forward).parameters.values()
    defaults = {each.name: each.default for each in others[1:] if each.default is not each.empty}
    try:
        probe = copy.deepcopy(module).eval().to("meta")
        return fx.GraphModule(probe, tracer.trace(probe, concrete_args=defaults or None))
    except Exception as error:
        inside = next(reversed(tracer.module_stack.values()), None) if tracer.module_stack else None
        where = f"{inside[0] or 'forward'} ({getattr(inside[1], '__name__', inside[1])})" if inside else "its forward"
        raise UnsupportedModule(
            f"torch.fx cannot trace the {kind.__name__}, {where} stands in the way: {_first_line(error)}; "
            "make what it does independent of the values of tensors"
        ) from error


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"


def _describe(node: fx.Node) -> str:
    """A node by its module's name, or by its own and the module that calls it."""
    if node.op == "call_module":
        module = node.graph.owning_module.get_submodule(str(node.target))  # type: ignore[union-attr]
        return f"{node.target} ({type(module).__name__})"
    stack = node.meta.get("nn_module_stack") or {}
    inside = [name for name, _ in stack.values() if name]
    target = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", node.target)
    return f"node {node.name} ({target}){f' in {inside[-1]}' if inside else ''}"


def refuse(node: fx.Node, why: str) -> NoReturn:
    """Raises UnsupportedModule that names the node."""
    raise UnsupportedModule(
        f"{_describe(node)} stands in the way: {why}. What can be traced: {SUPPORTED}; change the module, or describe "
        "the network as a NetworkSpec"
    )


def results_of(calls: fx.GraphModule, in_shape: tuple[int, int, int]) -> dict[fx.Node, Any]:
    """What each node gives: tensors without data for BATCH images, numbers such as `x.shape[1]` as they are."""
    run = _Run(calls)
    like = next(calls.parameters(), torch.empty(0))
    run.run(torch.empty(BATCH, *in_shape, dtype=like.dtype, device="meta"))
    return run.results
