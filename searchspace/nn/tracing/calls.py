"""The calls of a user's torch module, by torch.fx: which kinds there are, and what each gives."""

import inspect
import operator
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor, fx, nn

from searchspace.errors import UnsupportedModule
from searchspace.graph import Shape
from searchspace.nn.copies import copied, first_line, in_eval_mode
from searchspace.nn.cuttable import check_kind
from searchspace.nn.tracing.arrangement import BATCH
from searchspace.nn.tracing.joint_norms import JointNorm, find_joint_norm
from searchspace.nn.tracing.kinds import (
    IN_PLACE,
    KINDS,
    LEAVES,
    OF_FUNCTION,
    OF_MODULE,
    POINTWISE,
    SUPPORTED,
    WEIGHTED,
)
from searchspace.nn.tracing.tied import find_tied

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

    def __init__(self, module: nn.Module, in_shapes: Sequence[tuple[int, ...]]) -> None:
        """Trace `module`. Raises UnsupportedModule where what is called depends on values, or does not run."""
        norms = {name: find_joint_norm(part) for name, part in module.named_modules()}
        self.joint_norms: dict[str, JointNorm] = {name: norm for name, norm in norms.items() if norm is not None}
        traced = _traced(module, len(in_shapes), self.joint_norms)
        self.module = module
        self.nodes: dict[fx.Node, int] = {node: place for place, node in enumerate(traced.graph.nodes)}
        run, like = _Run(traced), next(traced.parameters(), torch.empty(0))
        run.run(*(torch.empty(BATCH, *shape, dtype=like.dtype, device="meta") for shape in in_shapes))
        self.results = run.results
        self.owner: dict[int, str] = {}
        places: dict[int, list[str]] = {}
        for name, parameter in module.named_parameters(remove_duplicate=False):
            self.owner.setdefault(id(parameter), name.rpartition(".")[0])
            places.setdefault(id(parameter), []).append(name)
        tied, self.unlike = find_tied(module, places.values())
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
    def __init__(self, leaves: Container[str]) -> None:
        super().__init__()
        self._leaves = leaves

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if type(m) in LEAVES or module_qualified_name in self._leaves:
            return True
        plain = any(isinstance(m, kind) and type(m).forward is kind.forward for kind in WEIGHTED)
        return plain or super().is_leaf_module(m, module_qualified_name)

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        """The pieces of a chunk or split, also where they are put into a list."""
        count = _pieces(obj.node)
        if count is None:
            return super().iter(obj)
        return iter([self.create_proxy("call_function", operator.getitem, (obj, place), {}) for place in range(count)])

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """A value that knows how many pieces it has."""
        return _Pieces(node, self)


class _Pieces(fx.Proxy):
    def __len__(self) -> int:
        count = _pieces(self.node)
        return super().__len__() if count is None else count


def _pieces(node: fx.Node) -> int | None:
    """How many pieces a chunk or split makes, if its arguments say so."""
    given = node.args[1] if len(node.args) > 1 else None
    if node.target in (torch.chunk, "chunk") and isinstance(given, int):
        return given
    return len(given) if node.target in (torch.split, "split") and isinstance(given, (tuple, list)) else None


class _Run(fx.Interpreter):
    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.extra_traceback = False  # it would be added to the text of what is raised
        self.results: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        try:
            self.results[n] = super().run_node(n)
        except Exception as error:
            raise UnsupportedModule(
                f"{_describe(n)} stands in the way: it does not run on {self.shapes(n)}: {first_line(error)}; give "
                "the pixels, the channels and the inputs that the module takes, or mend what it raises"
            ) from error
        return self.results[n]

    def fetch_attr(self, target: str) -> Any:
        """Tensors that are no buffers have values here too: they are moved as buffers are."""
        found = super().fetch_attr(target)
        return found.to("meta") if isinstance(found, Tensor) else found

    def shapes(self, node: fx.Node) -> str:
        """Of the tensors that a node reads."""
        read = [self.results.get(each) for each in node.all_input_nodes]
        return " and ".join(str(tuple(each.shape)) for each in read if isinstance(each, Tensor)) or "what it is given"

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Batch norm gives what it reads; torch takes 10 ms for the shape of that."""
        norm = self.fetch_attr(target)
        if isinstance(norm, nn.modules.batchnorm._BatchNorm) and args and args[0].shape[1] == norm.num_features:
            return torch.empty_like(args[0])
        return super().call_module(target, args, kwargs)


def count_inputs(module: nn.Module) -> int:
    """How many images its forward needs: arguments without a default."""
    check_kind(module)
    _, *arguments = inspect.signature(type(module).forward).parameters.values()
    needed = [each for each in arguments if each.default is each.empty and each.kind in _POSITIONAL]
    return max(1, len(needed))


def _traced(module: nn.Module, inputs: int, leaves: Container[str]) -> fx.GraphModule:
    """The calls of `module` in eval mode; arguments of its forward beside the first `inputs` keep their defaults."""
    kind, tracer = type(module), _Tracer(leaves)
    if any(isinstance(parameter, nn.UninitializedParameter) for parameter in module.parameters()):
        raise UnsupportedModule(
            f"the {kind.__name__} has layers without a shape: run it on an image before it is traced"
        )
    _, *others = inspect.signature(kind.forward).parameters.values()
    defaults = {each.name: each.default for each in others[inputs:] if each.default is not each.empty}
    probe = in_eval_mode(copied(module))
    try:
        probe = probe.to("meta")
        return fx.GraphModule(probe, tracer.trace(probe, concrete_args=defaults or None))
    except Exception as error:
        inside = next(reversed(tracer.module_stack.values()), None) if tracer.module_stack else None
        where = f"{inside[0] or 'forward'} ({getattr(inside[1], '__name__', inside[1])})" if inside else "its forward"
        scripted = "Expected a value of type" in str(error)  # a function that torch.jit.script made is strict
        mend = "call the plain function, not one of torch.jit" if scripted else ""
        raise UnsupportedModule(
            f"torch.fx cannot trace the {kind.__name__}, {where} stands in the way: {first_line(error)}; "
            f"{mend or 'make what it does independent of the values of tensors'}"
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
