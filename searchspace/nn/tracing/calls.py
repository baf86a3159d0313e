"""The calls of a user's torch module, by torch.fx: which kinds there are, and what each gives."""

import copy
import inspect
import operator
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from searchspace.errors import UnsupportedModule
from searchspace.graph import Shape
from searchspace.nn import layers as ours
from searchspace.nn.activations import TORCH

BATCH = 2  # images of the run that tells the shapes: the batch is no axis of 1
SUPPORTED = (
    f"Conv2d, BatchNorm2d, Linear, {', '.join(known.module.__name__ for known in TORCH.values())}, "
    "MaxPool2d, AvgPool2d, global average pooling, Dropout, Flatten, sums, concatenations, slices of channels, "
    "squeeze-and-excite"
)


class Kind(NamedTuple):
    """What is treated alike: modules, functions and (as text) methods of tensors; the names of their arguments."""

    modules: tuple[type[nn.Module], ...] = ()
    functions: tuple[object, ...] = ()
    arguments: tuple[str, ...] = ("x", "y")


KINDS = {
    **{name: Kind((known.module,), (known.function, *known.calls)) for name, known in TORCH.items()},
    "conv": Kind(
        (nn.Conv2d,), (F.conv2d, torch.conv2d), ("x", "weight", "bias", "stride", "padding", "dilation", "groups")
    ),
    "linear": Kind((nn.Linear,), (F.linear,), ("x", "weight", "bias")),
    "norm": Kind((nn.BatchNorm2d, nn.BatchNorm1d)),
    "maxpool": Kind(
        (nn.MaxPool2d,),
        (F.max_pool2d, torch.max_pool2d),
        ("x", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices"),
    ),
    "avgpool": Kind((nn.AvgPool2d,), (F.avg_pool2d,), ("x", "kernel_size", "stride", "padding", "ceil_mode")),
    "adaptive": Kind((nn.AdaptiveAvgPool2d,), (F.adaptive_avg_pool2d,)),
    "mean": Kind((), (torch.mean, "mean"), ("x", "dim", "keepdim")),
    "same": Kind(
        (nn.Identity, nn.Dropout, nn.Dropout2d, nn.Flatten),
        (
            *(F.dropout, F.dropout2d, "contiguous", "clone", torch.flatten, "flatten", "view", "reshape"),
            *(torch.reshape, torch.squeeze, "squeeze", torch.unsqueeze, "unsqueeze"),
        ),
    ),
    "expand": Kind((), ("expand_as",)),
    "add": Kind((), (operator.add, operator.iadd, torch.add, "add", "add_")),
    "mul": Kind((), (operator.mul, operator.imul, torch.mul, "mul", "mul_")),
    "concat": Kind((), (torch.cat, torch.concat), ("tensors", "dim")),
    "shuffle": Kind((nn.ChannelShuffle, ours.ChannelShuffle), (), ("x", "groups")),
    "split": Kind((), (torch.chunk, "chunk", torch.split, "split"), ("x", "size", "dim")),
    "item": Kind((), (operator.getitem,), ("x", "index")),
    "narrow": Kind((ours.Slice,), (torch.narrow, "narrow"), ("x", "dim", "start", "length")),
}
_OF_MODULE = {module: name for name, kind in KINDS.items() for module in kind.modules}
_OF_FUNCTION = {function: name for name, kind in KINDS.items() for function in kind.functions}
_ALIASES = {"input": "x", "self": "x", "other": "y"} | dict.fromkeys(
    ("split_size_or_sections", "split_size", "chunks"), "size"
)
_IN_PLACE = (operator.iadd, operator.imul, torch.relu_)
_WEIGHTED = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.BatchNorm1d)
_OURS = (ours.DepthwiseConv2d, ours.PointwiseConv2d, ours.SameConv2d, ours.BatchNorm2d, ours.ChannelShuffle, ours.Slice)


@dataclass(frozen=True, eq=False)
class Call:
    """One call: its kind (a key of KINDS, "" for none), its arguments by name, what it gives.

    Numbers that the module computes, such as `x.shape[1]`, are numbers here; settings of a module are arguments too.
    """

    node: fx.Node
    kind: str
    module: Any  # None for a function
    arguments: Mapping[str, Any]
    result: Any

    @property
    def name(self) -> str:
        """The module's name, or the node's."""
        return self.node.name if self.module is None else str(self.node.target)

    @property
    def out_shape(self) -> Shape:
        """(channels, height, width) of what it gives; a flat result has one pixel."""
        channels, *pixels = self.result.shape[1:]
        height, width = pixels or (1, 1)
        return channels, height, width

    @property
    def works_in_place(self) -> bool:
        """Whether it overwrites what it reads."""
        inplace = self.kind in TORCH and bool(self.arguments.get("inplace") or getattr(self.module, "inplace", False))
        method = str(self.node.target) if self.node.op == "call_method" else ""
        return inplace or self.node.target in _IN_PLACE or method.endswith("_")

    def refuse(self, why: str) -> NoReturn:
        """Raise UnsupportedModule that names the call."""
        refuse(self.node, why)


class Calls:
    """All calls of a module for images of one shape, and what tells apart the modules that make them.

    Attributes:
        module: the user's module.
        nodes: {node: its place in the order of calls}.
        results: {node: what it gives}, tensors without data for BATCH images.
        shared: names of the modules with weights that are used more than once.
        owner: {id of a parameter: the first module that has it}.
    """

    def __init__(self, module: nn.Module, in_shape: Shape) -> None:
        """Trace `module`. Raises UnsupportedModule where what is called depends on values, or does not run."""
        traced = _traced(module)
        self.module = module
        self.nodes: dict[fx.Node, int] = {node: place for place, node in enumerate(traced.graph.nodes)}
        run, like = _Run(traced), next(traced.parameters(), torch.empty(0))
        run.run(torch.empty(BATCH, *in_shape, dtype=like.dtype, device="meta"))
        self.results = run.results
        self.owner: dict[int, str] = {}
        tied = set()
        for name, parameter in module.named_parameters(remove_duplicate=False):
            holder = name.rpartition(".")[0]
            if self.owner.setdefault(id(parameter), holder) != holder:
                tied |= {holder, self.owner[id(parameter)]}
        uses = Counter(self.weights_of(self.call(node)) for node in self.nodes)
        self.shared = frozenset(name for name, count in uses.items() if name and count > 1) | tied

    def call(self, node: fx.Node) -> Call:
        """The call that a node is."""
        module = self.module.get_submodule(str(node.target)) if node.op == "call_module" else None
        if module is not None:
            kind = next((_OF_MODULE[each] for each in type(module).__mro__ if each in _OF_MODULE), "")
        else:
            kind = _OF_FUNCTION.get(node.target, "") if node.op in ("call_function", "call_method") else ""
        kind = kind or ("same" if self._is_idle(node) else "")
        names = KINDS[kind].arguments if kind else ("x", "y")
        arguments = {name: getattr(module, name) for name in names if hasattr(module, name)}
        arguments |= {**dict(zip(names, node.args, strict=False)), **node.kwargs}
        arguments = {_ALIASES.get(name, name): value for name, value in arguments.items()}
        return Call(node, kind, module, fx.node.map_arg(arguments, self._number), self.results.get(node))

    def weights_of(self, call: Call) -> str:
        """The name of the module whose weights a call uses; "" for none."""
        if call.kind not in ("conv", "linear", "norm"):
            return ""
        if call.module is not None:
            return call.name
        weight = call.arguments.get("weight")
        named = isinstance(weight, fx.Node) and weight.op == "get_attr"
        name, _, leaf = str(weight.target if named else "").rpartition(".")  # type: ignore[union-attr]
        return name if leaf == "weight" else ""

    def _number(self, node: fx.Node) -> Any:
        found = self.results.get(node)
        is_number = found is None or isinstance(found, (bool, int, float, torch.Size))
        return found if is_number and node.op != "get_attr" else node

    def _is_idle(self, node: fx.Node) -> bool:
        """Whether a function that the user or a library wrote hands on its input: stochastic depth in eval mode."""
        theirs = inspect.isfunction(node.target) and not node.target.__module__.startswith("torch.")
        source = node.args[0] if theirs and node.args else None
        found = self.results.get(node)
        return isinstance(found, Tensor) and isinstance(source, fx.Node) and found is self.results.get(source)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if type(m) in _OURS:
            return True
        plain = any(isinstance(m, kind) and type(m).forward is kind.forward for kind in _WEIGHTED)
        return plain or super().is_leaf_module(m, module_qualified_name)


class _Run(fx.Interpreter):
    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.results: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        try:
            self.results[n] = super().run_node(n)
        except Exception as error:
            refuse(n, f"it does not run: {_first_line(error)}")
        return self.results[n]


def _traced(module: nn.Module) -> fx.GraphModule:
    """The calls of `module` in eval mode; arguments of its forward beside the first keep their defaults."""
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


def refuse(node: fx.Node, why: str) -> NoReturn:
    """Raise UnsupportedModule that names the node."""
    raise UnsupportedModule(
        f"{_describe(node)} stands in the way: {why}. What can be traced: {SUPPORTED}; change the module, or describe "
        "the network as a NetworkSpec"
    )


def _describe(node: fx.Node) -> str:
    """A node by its module's name, or by its own and the module that calls it."""
    if node.op == "call_module":
        module = node.graph.owning_module.get_submodule(str(node.target))  # type: ignore[union-attr]
        return f"{node.target} ({type(module).__name__})"
    stack = node.meta.get("nn_module_stack") or {}
    inside = [name for name, _ in stack.values() if name]
    target = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", node.target)
    return f"node {node.name} ({target}){f' in {inside[-1]}' if inside else ''}"


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
