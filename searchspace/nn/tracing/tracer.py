"""torch.fx with the shapes of what runs: code that depends on sizes, and on nothing else of a tensor, is traced."""

import inspect
import operator
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from searchspace.errors import UnsupportedModule
from searchspace.nn.copies import copied, first_line
from searchspace.nn.tracing.arrangement import BATCH
from searchspace.nn.tracing.kinds import LEAVES, WEIGHTED

_NUMBERS = (bool, int, float)
_SEVERAL = (tuple, list)


def traced(
    module: nn.Module, in_shapes: Sequence[tuple[int, ...]], leaves: Container[str], *, training: bool = False
) -> tuple[fx.GraphModule, dict[fx.Node, Any]]:
    """The calls of `module`, and what each gives: tensors without data for BATCH images.

    In eval mode where `training` does not say otherwise. Arguments of its forward beside the inputs keep their
    defaults. Raises UnsupportedModule where what is called depends on values, or does not run.
    """
    kind, tracer = type(module), Tracer(leaves, in_shapes)
    if any(isinstance(parameter, nn.UninitializedParameter) for parameter in module.parameters()):
        raise UnsupportedModule(
            f"the {kind.__name__} has layers without a shape: run it on an image before it is traced"
        )
    _, *arguments = inspect.signature(kind.forward).parameters.values()
    if any(each.kind is each.VAR_POSITIONAL for each in arguments[: len(in_shapes)]):
        raise UnsupportedModule(
            f"the inputs of the {kind.__name__}'s forward must be tensors: take images by a name, not by *args; of a "
            "module that wraps another, give the inner one"
        )
    defaults = {each.name: each.default for each in arguments[len(in_shapes) :] if each.default is not each.empty}
    probe = copied(module)
    probe.train(training)
    try:
        probe = probe.to("meta")
        found = fx.GraphModule(probe, tracer.trace(probe, concrete_args=defaults or None))
        for node in found.graph.nodes:
            tracer.result(node)
    except UnsupportedModule:
        raise
    except Exception as error:
        inside = next(reversed(tracer.module_stack.values()), None) if tracer.module_stack else None
        where = f"{inside[0] or 'forward'} ({getattr(inside[1], '__name__', inside[1])})" if inside else "its forward"
        raise UnsupportedModule(
            f"torch.fx cannot trace the {kind.__name__}, {where} stands in the way: {first_line(error)}; "
            f"{_mend(str(error))}"
        ) from error
    return found, tracer.results


def _mend(text: str) -> str:
    if "Expected a value of type" in text:  # a function that torch.jit.script made is strict
        return "call the plain function, not one of torch.jit"
    if "item assignment" in text:
        return "make a new tensor in place of writing into one, such as by torch.cat or torch.where"
    return "make what it does independent of the values of tensors"


class Tracer(fx.Tracer):
    """Knows what each node gives, for as long as Python asks for a number, a length or pieces of it."""

    proxy_buffer_attributes = True

    def __init__(self, leaves: Container[str], in_shapes: Sequence[tuple[int, ...]]) -> None:
        super().__init__()
        self._leaves, self._in_shapes = leaves, in_shapes
        self._run: _Run | None = None
        self._made: list[fx.Node] = []
        self._is_running = False

    @property
    def results(self) -> dict[fx.Node, Any]:
        """What each node gives that was asked for."""
        return {} if self._run is None else self._run.results

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        """As torch.fx does it; nodes are known in their order."""
        node = super().create_node(*args, **kwargs)
        self._made.append(node)
        return node

    def result(self, node: fx.Node) -> Any:
        """What a node gives. Raises UnsupportedModule where it does not run."""
        self._run = self._run or _Run(self.root, self.graph, self._in_shapes)
        self._is_running = True
        try:
            for each in self._made[len(self._run.results) :] if node not in self._run.results else ():
                self._run.run_node(each)
        finally:
            self._is_running = False
        return self._run.results[node]

    def call_module(self, m: nn.Module, forward: Callable[..., Any], *given: Any) -> Any:
        """As torch.fx does it, which sees all calls of modules, also those of nodes that run."""
        args, kwargs = given
        return forward(*args, **kwargs) if self._is_running else super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """As torch.fx does it: a parameter or a buffer is a node, save for nodes that run."""
        return attr_val if self._is_running else super().getattr(attr, attr_val, parameter_proxy_cache)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module is one call."""
        if type(m) in LEAVES or module_qualified_name in self._leaves:
            return True
        plain = any(isinstance(m, kind) and type(m).forward is kind.forward for kind in WEIGHTED)
        return plain or super().is_leaf_module(m, module_qualified_name)

    def path_of_module(self, mod: nn.Module) -> str:
        """Its name; for a container that the code makes, such as `self.layers[2:]`, one of its own."""
        try:
            return super().path_of_module(mod)
        except NameError:
            if isinstance(mod, (nn.Sequential, nn.ModuleList)):
                return f"{type(mod).__name__} made in forward"
            raise

    def to_bool(self, obj: fx.Proxy) -> bool:
        """Of a number or of sizes; a tensor is asked for its values."""
        found = self.result(obj.node)
        return bool(found) if isinstance(found, (*_NUMBERS, *_SEVERAL)) or found is None else super().to_bool(obj)

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        """The pieces of a chunk or split, sizes, or the parts of a tensor's first axis."""
        count = self.count(obj.node)
        if count is None:
            return super().iter(obj)
        return iter([self.create_proxy("call_function", operator.getitem, (obj, place), {}) for place in range(count)])

    def count(self, node: fx.Node) -> int | None:
        """How many pieces a node has."""
        found = self.result(node)
        return len(found) if isinstance(found, _SEVERAL) or (isinstance(found, Tensor) and found.ndim) else None

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """A value that knows its numbers."""
        return _Known(node, self)


class _Numbers(fx.Proxy):
    tracer: Tracer

    def __getattr__(self, k: str) -> Any:
        return _Attribute(self, k)

    def __len__(self) -> int:
        count = self.tracer.count(self.node)
        return super().__len__() if count is None else count

    def __index__(self) -> int:
        return operator.index(self._number())

    def __int__(self) -> int:
        return int(self._number())

    def __float__(self) -> float:
        return float(self._number())

    def _number(self) -> Any:
        found = self.tracer.result(self.node)
        if not isinstance(found, _NUMBERS):
            raise TypeError(f"{self.node.name} is a {type(found).__name__} whose value is not known")
        return found


class _Known(_Numbers):
    """A value that knows its numbers."""


class _Attribute(_Numbers, fx.proxy.Attribute):
    """The same for what may be a method too."""


class _Run(fx.Interpreter):
    """Runs nodes one after the other."""

    def __init__(self, root: Any, graph: fx.Graph, in_shapes: Sequence[tuple[int, ...]]) -> None:
        super().__init__(root, garbage_collect_values=False, graph=graph)
        like = next(root.parameters(), torch.empty(0))
        self.args_iter = iter([torch.empty(BATCH, *shape, dtype=like.dtype, device="meta") for shape in in_shapes])
        self.extra_traceback = False  # it would be added to the text of what is raised
        self.results = self.env

    def run_node(self, n: fx.Node) -> Any:
        try:
            found = super().run_node(n)
            self.env[n] = found.to("meta") if isinstance(found, Tensor) else found  # of one that the code makes
        except Exception as error:
            raise UnsupportedModule(
                f"{describe(n, self.submodules)} stands in the way: it does not run on {self.shapes(n)}: "
                f"{first_line(error)}; give the pixels, the channels and the inputs that the module takes, or mend "
                "what it raises"
            ) from error
        return self.env[n]

    def fetch_attr(self, target: str) -> Any:
        """Tensors that are no buffers have values here too: they are moved as buffers are."""
        found = super().fetch_attr(target)
        return found.to("meta") if isinstance(found, Tensor) else found

    def shapes(self, node: fx.Node) -> str:
        """Of the tensors that a node reads."""
        read = [self.env.get(each) for each in node.all_input_nodes]
        return " and ".join(str(tuple(each.shape)) for each in read if isinstance(each, Tensor)) or "what it is given"

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Batch norm gives what it reads; torch takes 10 ms for the shape of that."""
        norm = self.submodules[target]
        if isinstance(norm, nn.modules.batchnorm._BatchNorm) and args and args[0].shape[1] == norm.num_features:
            return torch.empty_like(args[0])
        return super().call_module(target, args, kwargs)


def describe(node: fx.Node, modules: dict[str, nn.Module]) -> str:
    """A node by its module's name, or by its own and the module that calls it."""
    if node.op == "call_module":
        return f"{node.target} ({type(modules[str(node.target)]).__name__})"
    stack = node.meta.get("nn_module_stack") or {}
    inside = [name for name, _ in stack.values() if name]
    target = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", node.target)
    return f"node {node.name} ({target}){f' in {inside[-1]}' if inside else ''}"
