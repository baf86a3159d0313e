"""The calls of a user's torch module, by torch.fx: which kinds there are, and what each gives."""

import inspect
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor, fx, nn

from searchspace.errors import UnsupportedModule
from searchspace.graph import Shape
from searchspace.nn.cuttable import check_kind
from searchspace.nn.tracing.joint_norms import JointNorm, find_joint_norm
from searchspace.nn.tracing.kinds import (
    IN_PLACE,
    KINDS,
    OF_FUNCTION,
    OF_MODULE,
    POINTWISE,
    SUPPORTED,
)
from searchspace.nn.tracing.tied import find_tied
from searchspace.nn.tracing.tracer import describe, traced

_ALIASES = {"input": "x", "self": "x", "other": "y"}
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


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
        height, width = (*pixels, 1, 1)[:2]
        return channels, height, width

    @property
    def works_in_place(self) -> bool:
        """Whether it overwrites what it reads."""
        inplace = self.kind in POINTWISE and bool(
            self.arguments.get("inplace") or getattr(self.module, "inplace", False)
        )
        method = str(self.node.target) if self.node.op == "call_method" else ""
        return inplace or self.node.target in IN_PLACE or method.endswith("_")

    def refuse(self, why: str) -> NoReturn:
        """Raise UnsupportedModule that names the call."""
        refuse(self.node, why)


class Calls:
    """All calls of a module for inputs of given shapes, and what tells apart the modules that make them.

    Attributes:
        module: the user's module.
        nodes: {node: its place in the order of calls}.
        results: {node: what it gives}, tensors without data for BATCH images.
        shared: names of the modules with weights that are used more than once.
        tied: names of the modules that have a parameter of another module.
        unlike: those of them that cannot be cut together, as they use it in different ways.
        owner: {id of a parameter: the first module that has it}.
        joint_norms: {name: what it computes} of modules of the user's own classes that are norms over channels.
    """

    def __init__(self, module: nn.Module, in_shapes: Sequence[tuple[int, ...]], *, training: bool = False) -> None:
        """Trace `module`. Raises UnsupportedModule where what is called depends on values, or does not run."""
        norms = {name: find_joint_norm(part) for name, part in module.named_modules()}
        self.joint_norms: dict[str, JointNorm] = {name: norm for name, norm in norms.items() if norm is not None}
        found, self.results = traced(module, in_shapes, self.joint_norms, training=training)
        self.module = module
        self.nodes: dict[fx.Node, int] = {node: place for place, node in enumerate(found.graph.nodes)}
        self.owner: dict[int, str] = {}
        places: dict[int, list[str]] = {}
        for name, parameter in module.named_parameters(remove_duplicate=False):
            self.owner.setdefault(id(parameter), name.rpartition(".")[0])
            places.setdefault(id(parameter), []).append(name)
        tied, self.unlike = find_tied(module, places.values(), self.joint_norms)
        uses = Counter(self.weights_of(self.call(node)) for node in self.nodes)
        self.tied = tied
        self.shared = frozenset(name for name, count in uses.items() if name and count > 1) | tied

    def call(self, node: fx.Node) -> Call:
        """The call that a node is."""
        module = self.module.get_submodule(str(node.target)) if node.op == "call_module" else None
        if str(node.target) in self.joint_norms and module is not None:
            kind = "joint_norm"
        elif module is not None:
            kind = next((OF_MODULE[each] for each in type(module).__mro__ if each in OF_MODULE), "")
        else:
            kind = OF_FUNCTION.get(node.target, "") if node.op in ("call_function", "call_method") else ""
        kind = kind or ("same" if self._is_idle(node) else "")
        names = KINDS[kind].arguments if kind else ("x", "y")
        arguments = {name: getattr(module, name) for name in names if hasattr(module, name)}
        arguments |= {**dict(zip(names, node.args, strict=False)), **node.kwargs}
        arguments = {_ALIASES.get(name, name): value for name, value in arguments.items()}
        return Call(node, kind, module, fx.node.map_arg(arguments, self._number), self.results.get(node))

    def weights_of(self, call: Call) -> str:
        """The name of the module whose weights a call uses; "" for none."""
        if call.kind not in ("conv", "conv_transpose", "linear", "norm", "own_norm", "joint_norm", "prelu"):
            return ""
        if call.module is not None:
            return call.name
        weight = call.arguments.get("weight")
        named = isinstance(weight, fx.Node) and weight.op == "get_attr"
        name, _, leaf = str(weight.target if named else "").rpartition(".")  # type: ignore[union-attr]
        return name if leaf == "weight" else ""

    def key(self, name: str, parameter: Any) -> str:
        """What the layers with a parameter of the module `name` have in common: the first module that has it."""
        return name if parameter is None or name in self.unlike else self.owner[id(parameter)]

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


def count_inputs(module: nn.Module) -> int:
    """How many images its forward needs: arguments without a default."""
    check_kind(module)
    _, *arguments = inspect.signature(type(module).forward).parameters.values()
    needed = [each for each in arguments if each.default is each.empty and each.kind in _POSITIONAL]
    return max(1, len(needed))


def refuse(node: fx.Node, why: str) -> NoReturn:
    """Raise UnsupportedModule that names the node."""
    owner: Any = node.graph.owning_module
    raise UnsupportedModule(
        f"{describe(node, dict(owner.named_modules()))} stands in the way: {why}. What can be traced: {SUPPORTED}; "
        "change the module, or describe the network as a NetworkSpec"
    )
