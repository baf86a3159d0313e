"""A user's torch module as a Graph: torch.fx gives the calls, this file makes layers of them or refuses.

Batch norm and activation are taken into the layer before where nothing else reads it, pooling - 1x1 - activation -
1x1 - gate - product is one "se" layer, and what changes no value (dropout, flatten, view) is no layer.
"""

import inspect
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from searchspace.cost import costs
from searchspace.errors import UnsupportedModule
from searchspace.graph import NETWORK_INPUT, Graph, Layer, Shape
from searchspace.nn import layers as ours
from searchspace.nn.activations import TORCH
from searchspace.nn.tracing.calls import (
    ARGUMENTS,
    BATCH,
    CALLS,
    IN_PLACE,
    MODULES,
    refuse,
    results_of,
    traced_calls,
)
from searchspace.rounding import conv_out

_GATES = ("sigmoid", "hard_sigmoid")


class Parts(NamedTuple):
    """The user's modules that a layer is made of, by name: convolutions or linear layers (two in an "se": the one that
    reduces and the one that expands), and a batch norm or ""."""

    weighted: tuple[str, ...] = ()
    norm: str = ""


_NO_PARTS = Parts()


class Reading(NamedTuple):
    """A module's Graph; the modules of each layer; names of modules that are used more than once; {layer: the node
    that has its number of channels written into the code}."""

    graph: Graph
    parts: tuple[Parts, ...]
    shared: frozenset[str]
    hard_wired: Mapping[int, str]


class _Value(NamedTuple):
    """What a node of the trace holds: a layer's output. `open`: nothing else reads it, so that the layer can take in
    what follows."""

    layer: int
    open: bool


def read_module(module: nn.Module, *, in_channels: int, resolution: int) -> Reading:
    """The Graph of `module` in eval mode for one image of (in_channels, resolution, resolution).

    Raises UnsupportedModule, naming the node that stands in the way.
    """
    calls = traced_calls(module)
    in_shape = (in_channels, resolution, resolution)
    return _Reader(module, calls, results_of(calls, in_shape), in_shape).reading()


class _Reader:
    """Turns calls into layers, one after the other."""

    def __init__(
        self, module: nn.Module, calls: fx.GraphModule, results: Mapping[fx.Node, Any], in_shape: Shape
    ) -> None:
        self.module, self.calls, self.results, self.in_shape = module, calls, results, in_shape
        self.layers: list[Layer] = []
        self.parts: list[Parts] = []
        self.hard_wired: dict[int, str] = {}
        self.values: dict[fx.Node, _Value] = {}
        self.pieces: dict[fx.Node, list[tuple[int, int]]] = {}
        self.owner: dict[int, str] = {}  # of each parameter: the first module that has it
        tied = set()
        for name, parameter in module.named_parameters(remove_duplicate=False):
            holder = name.rpartition(".")[0]
            if self.owner.setdefault(id(parameter), holder) != holder:
                tied |= {holder, self.owner[id(parameter)]}
        uses = Counter(self._holder(node) for node in calls.graph.nodes)
        self.shared = frozenset(name for name, count in uses.items() if name and count > 1) | tied

    def reading(self) -> Reading:
        """All nodes that the output needs."""
        order = {node: place for place, node in enumerate(self.calls.graph.nodes)}
        needed: set[fx.Node] = set()
        for node in reversed(order):
            if node.op == "output" or needed.intersection(node.users):
                needed.add(node)
        for node in order:
            self._check_in_place(node, order)
            if node in needed:
                self._node(node)
        graph = Graph(type(self.module).__name__, self.in_shape, tuple(self.layers))
        self._check_params(graph)
        return Reading(graph, tuple(self.parts), self.shared, self.hard_wired)

    def _check_in_place(self, node: fx.Node, order: Mapping[fx.Node, int]) -> None:
        """A value that is overwritten must not be read again: a Graph has no word for it."""
        kind = self._kind(node)
        if self._works_in_place(node, kind):
            source = node.args[0] if node.args else None
            later = isinstance(source, fx.Node) and any(order[user] > order[node] for user in source.users)
            if not node.users or (later and kind in ("add", "mul")):
                refuse(node, "it works in place, and others read what it overwrites: use its result instead")

    def _works_in_place(self, node: fx.Node, kind: str) -> bool:
        if node.op == "call_module":
            return kind in TORCH and bool(getattr(self.module.get_submodule(str(node.target)), "inplace", False))
        method = str(node.target) if node.op == "call_method" else ""
        inplace = bool(node.kwargs.get("inplace"))
        return node.target in IN_PLACE or (kind in TORCH and inplace) or method.endswith("_")

    def _check_params(self, graph: Graph) -> None:
        count = sum(parameter.numel() for parameter in self.module.parameters())
        if self.layers and costs(graph).params == count:
            return
        used = {name for parts in self.parts for name in (*parts.weighted, parts.norm)}
        idle = [name for name in dict.fromkeys(self.owner.values()) if name not in used]
        why = f"{', '.join(idle[:3]) or 'the module itself'} has parameters that the layers of its Graph do not use"
        raise UnsupportedModule(f"not all of the {graph.name} could be traced: {why}; remove what is not used")

    # What a node is

    def _kind(self, node: fx.Node) -> str:
        if node.op == "call_module":
            module = self.module.get_submodule(str(node.target))
            return next((MODULES[kind] for kind in type(module).__mro__ if kind in MODULES), "")
        return CALLS.get(node.target, "") if node.op in ("call_function", "call_method") else ""

    def _holder(self, node: fx.Node) -> str:
        """The module whose weights a node uses; "" for none."""
        kind = self._kind(node)
        if node.op == "call_module":
            return str(node.target) if kind in ("conv", "linear", "norm") else ""
        if kind not in ("conv", "linear"):
            return ""
        weight: Any = self._given(node, kind).get("weight")
        named = isinstance(weight, fx.Node) and weight.op == "get_attr"
        name, _, leaf = str(weight.target if named else "").rpartition(".")
        return name if leaf == "weight" else ""

    def _given(self, node: fx.Node, kind: str) -> dict[str, Any]:
        """The arguments of a call by name; numbers that the module computes are given as numbers."""
        names = ARGUMENTS.get(kind, ("x", "y"))
        given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
        for alias in ("input", "self"):
            if alias in given:
                given["x"] = given.pop(alias)
        for alias in ("split_size_or_sections", "split_size", "chunks"):
            if alias in given:
                given["size"] = given.pop(alias)
        return fx.node.map_arg(given, lambda n: n if n.op == "get_attr" or not self._is_number(n) else self.results[n])

    def _is_number(self, node: fx.Node) -> bool:
        found = self.results.get(node)
        return found is None or isinstance(found, (bool, int, float, torch.Size))

    def _node(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            if not self.values:
                self.values[node] = _Value(NETWORK_INPUT, False)
            return
        if node.op == "output":
            self._check_output(node)
            return
        result, kind = self.results[node], self._kind(node)
        several = isinstance(result, (tuple, list)) and any(isinstance(each, Tensor) for each in result)
        if node.op == "get_attr" or not (isinstance(result, Tensor) or several):
            return  # refused where a layer would read it
        if kind in TORCH:
            self._activation(node, kind)
            return
        kind = kind or ("same" if self._is_idle(node) else "")
        make: Callable[[fx.Node], None] | None = getattr(self, f"_make_{kind}", None) if kind else None
        if make is None or (several and kind != "parts"):
            refuse(node, "a Graph has no layer for it")
        make(node)

    def _is_idle(self, node: fx.Node) -> bool:
        """Whether a function that the user or a library wrote hands on its input: stochastic depth in eval mode."""
        theirs = inspect.isfunction(node.target) and not node.target.__module__.startswith("torch.")
        source = node.args[0] if theirs and node.args else None
        return isinstance(source, fx.Node) and self.results[node] is self.results[source]

    def _check_output(self, node: fx.Node) -> None:
        result = node.args[0]
        if not isinstance(result, fx.Node) or result not in self.values:
            refuse(node, "the module must give one tensor")
        self._read(result, node)

    # Reading and appending

    def _read(self, source: object, node: fx.Node, *, spread: bool = False) -> _Value:
        """The layer that a node reads, whose channels it must find where the layer puts them."""
        if not isinstance(source, fx.Node) or source not in self.values:
            refuse(node, f"{source} is no output of a layer")
        value = self.values[source]
        shape, seen = self._shape(value), tuple(self.results[source].shape)
        flat = (BATCH, shape[0] * shape[1] * shape[2])
        if not spread and seen not in ((BATCH, *shape), flat, (*flat, 1)[: 2 + (shape[1:] == (1, 1))]):
            refuse(node, f"it reads {seen[1:]} where the layer before puts out {shape}")
        return value

    def _shape(self, value: _Value) -> Shape:
        return self.in_shape if value.layer == NETWORK_INPUT else self.layers[value.layer].out_shape

    def _map(self, value: _Value, node: fx.Node, source: fx.Node) -> Shape:
        """The shape of a map, or of values without pixels; refuses one that was flattened."""
        shape = self._shape(value)
        if self.results[source].ndim == 2 and shape[1:] != (1, 1):
            refuse(node, "only a linear layer can read a flattened map")
        return shape

    def _append(self, node: fx.Node, layer: Layer, parts: Parts = _NO_PARTS) -> None:
        if any(other.name == layer.name for other in self.layers):
            layer = layer._replace(name=f"{layer.name}@{node.name}")
        self.layers.append(layer)
        self.parts.append(parts)
        self._set(node, len(self.layers) - 1)

    def _set(self, node: fx.Node, layer: int, *, open_before: bool = True) -> None:
        self.values[node] = _Value(layer, open_before and len(node.users) == 1)

    def _out(self, node: fx.Node) -> Shape:
        channels, *pixels = self.results[node].shape[1:]
        height, width = pixels or (1, 1)
        return channels, height, width

    # Layers with weights

    def _weighted(self, node: fx.Node) -> tuple[str, Any]:
        """The module of a convolution or linear layer, and its name."""
        name = self._holder(node)
        module: Any = self.module.get_submodule(name) if name else None
        if not isinstance(module, (nn.Conv2d, nn.Linear)) or "weight" not in module._parameters:
            refuse(node, "its weight is not simply the parameter of a Conv2d or Linear")
        if node.op != "call_module":
            given = self._given(node, self._kind(node))
            bias = given.get("bias")
            plain = getattr(bias, "target", None) == f"{name}.bias" if module.bias is not None else bias is None
            for field in ("stride", "padding", "dilation", "groups"):
                plain = plain and (field not in given or given[field] == getattr(module, field))
            if not plain:
                refuse(node, f"it uses the weight of {name} in another way than {name} would")
        return name, module

    def _make_conv(self, node: fx.Node) -> None:
        source = node.args[0] if node.args else self._given(node, "conv")["x"]
        value = self._read(source, node)
        name, conv = self._weighted(node)
        same = isinstance(conv, ours.SameConv2d)
        settings = {
            "kernel": conv.kernel_size,
            "stride": conv.stride,
            "padding": conv.padding,
            "dilation": conv.dilation,
        }
        kernel, stride, padding = self._window(node, settings, value, same=same)
        if conv.padding_mode != "zeros" and padding != "valid" and kernel > 1:
            refuse(node, f"its padding must be zeros, got {conv.padding_mode}")
        vectors = None if conv.bias is not None else 0
        key = self.owner[id(self.module.get_submodule(name).weight)]
        layer = Layer(
            name,
            "conv",
            (value.layer,),
            self._shape(value),
            self._out(node),
            key,
            kernel,
            stride,
            conv.groups,
            padding=padding,
            norm=False,
            vectors=vectors,
        )
        self._append(node, layer, Parts((name,)))

    def _make_linear(self, node: fx.Node) -> None:
        source = node.args[0] if node.args else self._given(node, "linear")["x"]
        value = self._read(source, node)
        if self.results[source].ndim != 2:  # type: ignore[index]
            refuse(node, "a linear layer must read flat values, (batch, features): flatten them first")
        name, linear = self._weighted(node)
        key = self.owner[id(self.module.get_submodule(name).weight)]
        layer = Layer(name, "linear", (value.layer,), self._shape(value), self._out(node), key)
        self._append(node, layer._replace(vectors=None if linear.bias is not None else 0), Parts((name,)))

    def _make_norm(self, node: fx.Node) -> None:
        (source,) = node.args or node.kwargs.values()
        value = self._read(source, node)
        shape = self._map(value, node, source)  # type: ignore[arg-type]
        name = str(node.target)
        norm: Any = self.module.get_submodule(name)
        if not norm.track_running_stats or norm.running_mean is None:
            refuse(node, "a batch norm without running statistics cannot be folded")
        affine = 2 * bool(norm.affine)
        if value.open and name not in self.shared and self._takes_norm(value.layer):
            layer, parts = self.layers[value.layer], self.parts[value.layer]
            bias = 1 if layer.vectors is None else 0
            vectors = None if layer.op == "conv" and affine and not bias else affine + bias
            self.layers[value.layer] = layer._replace(norm=True, vectors=vectors)
            self.parts[value.layer] = parts._replace(norm=name)
            self._set(node, value.layer)
            return
        key = self.owner[id(self.module.get_submodule(name).weight)] if affine else name
        layer = Layer(name, "norm", (value.layer,), shape, shape, key, vectors=affine)
        self._append(node, layer, Parts(norm=name))

    def _takes_norm(self, index: int) -> bool:
        if index == NETWORK_INPUT:
            return False
        layer, parts = self.layers[index], self.parts[index]
        free = not parts.norm and layer.activation == "identity" and self.shared.isdisjoint(parts.weighted)
        return layer.op in ("conv", "linear") and free

    def _activation(self, node: fx.Node, name: str) -> None:
        source = node.args[0] if node.args else self._given(node, name)["x"]
        value = self._read(source, node)
        layer = None if value.layer == NETWORK_INPUT else self.layers[value.layer]
        if (
            layer
            and value.open
            and layer.activation == "identity"
            and layer.op in ("conv", "linear", "add", "concat", "norm")
        ):
            self.layers[value.layer] = layer._replace(activation=name)
            self._set(node, value.layer)
            return
        shape = self._shape(value)
        self._append(
            node, Layer(self._name(node), "norm", (value.layer,), shape, shape, activation=name, norm=False, vectors=0)
        )

    def _name(self, node: fx.Node) -> str:
        return str(node.target) if node.op == "call_module" else node.name

    # Pooling

    def _window(
        self, node: fx.Node, settings: Mapping[str, Any], value: _Value, *, same: bool = False, ceil: bool = False
    ) -> tuple[int, int, str]:
        """(kernel, stride, one of PADDINGS or "same") of a square window."""
        sides = {}
        for name, given in settings.items():
            pair = given if isinstance(given, (tuple, list)) else (given, given)
            if len(set(pair)) != 1:
                refuse(node, f"its {name} must be the same for height and width, got {tuple(pair)}")
            sides[name] = pair[0]
        kernel, stride, pixels = sides["kernel"], sides["stride"], sides["padding"]
        if sides.get("dilation", 1) != 1 and kernel > 1:
            refuse(node, f"its dilation must be 1, got {sides['dilation']}")
        half = kernel % 2 == 1 and pixels in ((kernel - 1) // 2, "same")
        padding = "half" if half else "ceil" if ceil else "valid"
        if same:
            padding = "same"
        elif not half and pixels not in (0, "valid"):
            refuse(node, f"a kernel of {kernel} must be padded by nothing or by half of it, got {pixels}")
        shape, found = self._shape(value), self._out(node)
        if tuple(conv_out(size, stride, kernel=kernel, padding=padding) for size in shape[1:]) != found[1:]:
            refuse(node, f"{shape} becomes {found}, for which no padding stands")
        return kernel, stride, padding

    def _make_maxpool(self, node: fx.Node) -> None:
        self._spatial(node, "maxpool")

    def _make_avgpool(self, node: fx.Node) -> None:
        self._spatial(node, "avgpool")

    def _spatial(self, node: fx.Node, op: str) -> None:
        if node.op == "call_module":
            given: dict[str, Any] = dict(vars(self.module.get_submodule(str(node.target))), x=node.args[0])
        else:
            given = self._given(node, op)
        source, kernel = given["x"], given["kernel_size"]
        value = self._read(source, node)
        shape, out = self._map(value, node, source), self._out(node)
        settings = {
            "kernel": kernel,
            "stride": given.get("stride") or kernel,
            "padding": given.get("padding", 0),
            "dilation": given.get("dilation", 1),
        }
        if (
            op == "avgpool"
            and out[1:] == (1, 1)
            and kernel in (shape[1], tuple(shape[1:]))
            and not given.get("padding")
        ):
            self._append(node, Layer(self._name(node), "pool", (value.layer,), shape, out))
            return
        size, stride, padding = self._window(node, settings, value, ceil=bool(given.get("ceil_mode")))
        layer = Layer(self._name(node), op, (value.layer,), shape, out, kernel=size, stride=stride, padding=padding)
        self._append(node, layer)

    def _make_adaptive(self, node: fx.Node) -> None:
        self._pool(node, self._given(node, "adaptive")["x"])

    def _make_mean(self, node: fx.Node) -> None:
        given = self._given(node, "mean")
        dims = given.get("dim")
        dims = dims if isinstance(dims, (tuple, list)) else (dims,)
        if self.results[given["x"]].ndim != 4 or {dim % 4 for dim in dims if isinstance(dim, int)} != {2, 3}:
            refuse(node, f"a mean must be over height and width, (2, 3), got {tuple(dims)}")
        self._pool(node, given["x"])

    def _pool(self, node: fx.Node, source: fx.Node) -> None:
        value = self._read(source, node)
        shape, out = self._map(value, node, source), self._out(node)
        if out == shape and shape[1:] != (1, 1):
            self._set(node, value.layer, open_before=value.open)
        elif out[1:] != (1, 1):
            refuse(node, f"adaptive pooling must give one pixel or all of them, {shape} becomes {out}")
        else:
            self._append(node, Layer(self._name(node), "pool", (value.layer,), shape, out))

    # What hands channels on

    def _make_same(self, node: fx.Node) -> None:
        source = node.args[0] if node.args else self._given(node, "same")["x"]
        value = self._read(source, node)
        self._set(node, value.layer, open_before=value.open)
        self._read(node, node)  # in the same order, as a map or flat
        sizes = node.args[1:] if node.target in ("view", "reshape", torch.reshape) else ()
        for size in (number for each in sizes for number in (each if isinstance(each, (tuple, list)) else (each,))):
            if isinstance(size, int) and size > 1:
                self.hard_wired[value.layer] = node.name

    def _make_spread(self, node: fx.Node) -> None:
        value = self._read(node.args[0], node)
        self._set(node, value.layer, open_before=value.open)

    def _make_add(self, node: fx.Node) -> None:
        given = self._given(node, "add")
        if "alpha" in given:
            refuse(node, "a sum takes both as they are, without alpha")
        x, y = given.get("x"), given.get("y", given.get("other"))
        one, two = self._read(x, node), self._read(y, node)
        if self._shape(one) != self._shape(two):
            refuse(node, f"a sum needs two of one shape, got {self._shape(one)} and {self._shape(two)}")
        shape = self._shape(one)
        self._append(node, Layer(self._name(node), "add", (one.layer, two.layer), shape, shape))

    def _make_concat(self, node: fx.Node) -> None:
        given = self._given(node, "concat")
        sources = given["tensors"]
        values = [self._read(source, node) for source in sources]
        shapes = [self._map(value, node, source) for value, source in zip(values, sources, strict=True)]
        if given.get("dim", 0) not in (1, 1 - self.results[node].ndim):
            refuse(node, f"only channels, dim 1, can be concatenated, got {given.get('dim', 0)}")
        layer = Layer(self._name(node), "concat", tuple(v.layer for v in values), shapes[0], self._out(node))
        self._append(node, layer)

    def _make_shuffle(self, node: fx.Node) -> None:
        value = self._read(node.args[0], node)
        groups: Any = self.module.get_submodule(str(node.target))
        shape = self._shape(value)
        self._append(node, Layer(self._name(node), "shuffle", (value.layer,), shape, shape, groups=groups.groups))

    def _make_parts(self, node: fx.Node) -> None:
        given = self._given(node, "parts")
        value = self._read(given["x"], node)
        self._map(value, node, given["x"])
        if given.get("dim", 0) not in (1, 1 - self.results[given["x"]].ndim):
            refuse(node, f"only channels, dim 1, can be split, got {given.get('dim', 0)}")
        sizes = [part.shape[1] for part in self.results[node]]
        self.values[node] = _Value(value.layer, False)
        self.pieces[node] = [(sum(sizes[:place]), size) for place, size in enumerate(sizes)]

    def _make_item(self, node: fx.Node) -> None:
        source, at = node.args
        if source in self.pieces and isinstance(at, int):
            self._slice(node, self.values[source], *self.pieces[source][at])  # type: ignore[index]
            return
        value = self._read(source, node)
        shape = self._map(value, node, source)  # type: ignore[arg-type]
        at = fx.node.map_arg(at, lambda n: self.results[n])
        keys = at if isinstance(at, tuple) else (at,)
        whole = all(key in (slice(None), Ellipsis) for place, key in enumerate(keys) if place != 1)
        if len(keys) < 2 or not whole or not isinstance(keys[1], slice) or Ellipsis in keys[:1]:
            refuse(node, "only channels can be taken out, as in x[:, :32]")
        start, stop, step = keys[1].indices(shape[0])
        if step != 1:
            refuse(node, f"channels must be taken one after the other, got every {step}.")
        self._slice(node, value, start, stop - start)

    def _make_narrow(self, node: fx.Node) -> None:
        if node.op == "call_module":
            part: Any = self.module.get_submodule(str(node.target))
            given = {"x": node.args[0], "dim": 1, "start": part.start, "length": part.channels}
        else:
            given = self._given(node, "narrow")
        value = self._read(given["x"], node)
        self._map(value, node, given["x"])
        if given["dim"] not in (1, 1 - self.results[node].ndim):
            refuse(node, f"only channels, dim 1, can be taken out, got {given['dim']}")
        self._slice(node, value, given["start"] % self._shape(value)[0], given["length"])

    def _slice(self, node: fx.Node, value: _Value, start: int, channels: int) -> None:
        shape = self._shape(value)
        layer = Layer(self._name(node), "slice", (value.layer,), shape, (channels, *shape[1:]), start=start)
        self._append(node, layer)

    def _make_mul(self, node: fx.Node) -> None:
        """The last step of a squeeze-and-excite block, whose other layers are the last three."""
        given = self._given(node, "mul")
        pair = [self._read(each, node, spread=True) for each in (given.get("x"), given.get("y", given.get("other")))]
        for value, gate in (pair, pair[::-1]):
            at = gate.layer - 2
            if gate.open and at >= 0 and gate.layer == len(self.layers) - 1 and self._is_gate(at, value):
                reduce, expand = self.layers[at + 1 :]
                (first,), (second,) = (parts.weighted for parts in self.parts[at + 1 :])
                self._check_alone(node, at)
                del self.layers[at:], self.parts[at:]
                for place in range(at, gate.layer + 1):
                    if place in self.hard_wired:
                        self.hard_wired[at] = self.hard_wired.pop(place)
                shape = self._shape(value)
                common = _common(first, second) or node.name
                layer = Layer(
                    common,
                    "se",
                    (value.layer,),
                    shape,
                    shape,
                    common,
                    activation=reduce.activation,
                    squeeze_channels=reduce.out_shape[0],
                    gate=expand.activation,
                    vectors=reduce.vectors,
                )
                self._append(node, layer, Parts((first, second)))
                return
        refuse(
            node,
            "a product must end a squeeze-and-excite block of what it scales: global pooling, 1x1, "
            "activation, 1x1, sigmoid or hard sigmoid, each read by the next alone",
        )

    def _check_alone(self, node: fx.Node, at: int) -> None:
        """Nothing but a squeeze-and-excite block itself may read its inner layers."""
        for inner in [inner for inner, value in self.values.items() if value.layer >= at]:
            for user in inner.users:
                if user is not node and user not in self.values and isinstance(self.results[user], Tensor):
                    refuse(user, f"it reads the inside of the squeeze-and-excite block that {node.name} ends")

    def _is_gate(self, at: int, value: _Value) -> bool:
        pool, reduce, expand = self.layers[at:]
        chain = (pool.inputs, reduce.inputs, expand.inputs) == ((value.layer,), (at,), (at + 1,))
        plain = all(
            layer.op in ("conv", "linear")
            and (layer.kernel, layer.groups, layer.stride) == (1, 1, 1)
            and not parts.norm
            and self.shared.isdisjoint(parts.weighted)
            for layer, parts in zip((reduce, expand), self.parts[at + 1 :], strict=True)
        )
        ends = pool.op == "pool" and expand.activation in _GATES and expand.out_shape[0] == self._shape(value)[0]
        return chain and plain and ends and reduce.vectors == expand.vectors


def _common(first: str, second: str) -> str:
    """The longest dotted prefix of two names."""
    same = []
    for one, two in zip(first.split("."), second.split("."), strict=False):
        if one != two:
            break
        same.append(one)
    return ".".join(same)
