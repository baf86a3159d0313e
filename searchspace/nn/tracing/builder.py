"""Layers of a Graph as the calls of a module give them, one after the other."""

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx

from searchspace.channels.maps import Side
from searchspace.graph import NETWORK_INPUT, Layer, Shape
from searchspace.nn.tracing.arrangement import BATCH, as_seen, find_moves, is_flat, is_whole, numbers, with_channels_at
from searchspace.nn.tracing.calls import Call, Calls
from searchspace.nn.tracing.joint_norms import JointNorm


class Parts(NamedTuple):
    """The user's modules that a layer is made of, by name.

    Attributes:
        weighted: convolutions or linear layers; of an "se" layer the one that reduces and the one that expands.
        norm: a norm or a PReLU with values for each channel, or "".
        joint_norm: what `norm` computes, if it takes statistics over channels.
        vectors: (name, axis of the channels) of parameters and buffers with a value for each channel.
    """

    weighted: tuple[str, ...] = ()
    norm: str = ""
    joint_norm: JointNorm | None = None
    vectors: tuple[tuple[str, int], ...] = ()


NO_PARTS = Parts()
Arrangement = Tensor | tuple[Tensor, ...] | None


class Value(NamedTuple):
    """What a node holds: the output of a layer.

    Attributes:
        layer: its index.
        fusible: nothing else reads it, so the layer can take in a call.
        found: where the layer's values are in the tensor (several ones behind a split), None if they are as they were.
    """

    layer: int
    fusible: bool
    found: Arrangement = None


class Source(NamedTuple):
    """A parameter or buffer of the user's, and where its values are in a tensor that is made of it."""

    name: str
    values: Tensor
    found: Tensor


class Constant(NamedTuple):
    """What a node holds that no layer gives.

    Attributes:
        sources: the parameters and buffers that it is made of.
        is_written: values stand in the code too, one for each channel perhaps (`torch.tensor([...])`, `arange`).
    """

    sources: tuple[Source, ...] = ()
    is_written: bool = False


class LayerBuilder:
    """Collects layers, their modules, and the layer that each node of the trace is the output of.

    Attributes:
        layers: the layers so far.
        parts: the modules of each layer.
        held: {(layer, side): why the channels there cannot change in number}.
        values: {node: the layer that it is the output of}.
        constants: {node: what it holds if no layer gives it}.
        outputs: the layers that the module gives the outputs of.
        idle: the modules with parameters that no layer uses, and such parameters of the module itself.
    """

    def __init__(self, calls: Calls, in_shape: Shape) -> None:
        self.calls, self.in_shape = calls, in_shape
        self.layers: list[Layer] = []
        self.parts: list[Parts] = []
        self.held: dict[tuple[int, Side], str] = {}
        self.values: dict[fx.Node, Value] = {}
        self.constants: dict[fx.Node, Constant] = {}
        self.outputs: set[int] = set()
        self.idle: list[str] = []

    def shape(self, value: Value) -> Shape:
        """(channels, height, width) of a layer's output."""
        return self.in_shape if value.layer == NETWORK_INPUT else self.layers[value.layer].out_shape

    def numbers(self, value: Value) -> Tensor:
        """Where the layer's values are in a value's tensor, also if they are as they were."""
        return numbers(self.shape(value)) if value.found is None else value.found  # type: ignore[return-value]

    def read(self, call: Call, source: object) -> Value:
        """The layer that `source` is made of, however it is arranged. Raises UnsupportedModule."""
        if not isinstance(source, fx.Node) or source not in self.values:
            call.refuse(f"{source} is no output of a layer")
        return self.values[source]

    def read_whole(self, call: Call, source: Any) -> Value:
        """A layer all of whose values are in `source`, once each; what moves channels or pixels becomes a layer."""
        value = self.read(call, source)
        if isinstance(value.found, tuple) or not is_whole(value.found, self.shape(value)):
            value, _ = self.read_channels(call, source)
        return value

    def read_channels(self, call: Call, source: Any, axis: int = 1) -> tuple[Value, int]:
        """(a layer, the axis of its channels in `source`); what moves channels or pixels becomes a layer.

        Where no layer says how they are moved, what is on `axis` are new channels of a "reduce" layer.
        """
        value = self.read(call, source)
        if value.found is None:
            return value, 1
        found = None if isinstance(value.found, tuple) else find_moves(value.found, self.shape(value))
        if found is None:
            result = self.calls.results[source]
            if not isinstance(result, Tensor) or result.ndim < 2 or len(result) != BATCH:
                seen = tuple(result.shape[1:]) if isinstance(result, Tensor) else type(result).__name__
                call.refuse(f"it reads {seen} made of {self.shape(value)} in an order that a Graph has no layer for")
            axis %= result.ndim
            why = f"node {source.name} puts them in another order"
            value = self.values[source] = self.mix(source, [value], result.shape, axis, why)
            return value, axis
        axis, moves = found
        layer = value.layer
        for move in moves:
            layer = self._add_layer(source.name, move.op, (layer,), NO_PARTS, move._asdict())
        if moves:
            at = with_channels_at(self.layers[layer].out_shape, axis, self.calls.results[source].shape)
            value = self.values[source] = Value(layer, len(source.users) == 1, at)
        return value, axis

    def mix(
        self, node: fx.Node, values: Sequence[Value], seen: torch.Size, axis: int, why: str, *, taps: int = 0
    ) -> Value:
        """A "reduce" layer that gives `seen`: new channels made of all of those that it reads, which are held.

        taps: multiply-adds of each of its values.
        """
        shape = (seen[axis], prod(size for place, size in enumerate(seen) if place not in (0, axis)), 1)
        for value in values:
            if value.layer != NETWORK_INPUT:
                self.hold(value.layer, "out", why)
        inputs = tuple(value.layer for value in values)
        fields = {"in_shape": self.shape(values[0]), "out_shape": shape, "taps": taps}
        layer = self._add_layer(node.name, "reduce", inputs, NO_PARTS, fields, node=node)
        self.hold(layer, "out", why)
        return Value(layer, len(node.users) == 1, with_channels_at(shape, axis, seen))

    def read_map(self, call: Call, source: Any) -> tuple[Value, Shape]:
        """As `read_channels`, with the shape; channels must be the axis behind the batch."""
        value = self.read(call, source)
        shape = self.shape(value)
        if isinstance(value.found, Tensor) and is_flat(value.found, shape) and shape[1:] != (1, 1):
            call.refuse("only a linear layer can read a flattened map")
        value, axis = self.read_channels(call, source)
        if axis != 1:
            call.refuse(f"it reads axis 1, and the channels are on axis {axis}")
        return value, self.shape(value)

    def append(self, call: Call, op: str, *values: Value, parts: Parts = NO_PARTS, axis: int = 1, **fields: Any) -> int:
        """Add a layer that reads `values`; its output is what the call gives, with the channels on `axis`.

        It has the call's name and the shape of what it reads, where `fields` of the Layer say nothing else.
        """
        inputs = tuple(value.layer for value in values)
        layer = self._add_layer(call.name, op, inputs, parts, fields, node=call.node)
        found = with_channels_at(self.layers[layer].out_shape, axis, call.result.shape)
        self._set(call, layer, found=found)
        return layer

    def append_alike(self, call: Call, op: str, *values: Value, parts: Parts = NO_PARTS, **fields: Any) -> int:
        """As `append`, where the call's result is arranged as the first of `values` is."""
        inputs = tuple(value.layer for value in values)
        layer = self._add_layer(call.name, op, inputs, parts, fields, node=call.node)
        self._set(call, layer, found=values[0].found)
        return layer

    def append_new(self, call: Call, op: str, *values: Value, shape: Shape) -> int:
        """As `append`, for channels that no channel before is: the second image, or a number of all channels."""
        inputs = tuple(value.layer for value in values)
        name = call.name if values else f"input {call.name}"
        fields = {"name": name, "in_shape": self.shape(values[0]) if values else shape, "out_shape": shape}
        layer = self._add_layer(call.name, op, inputs, NO_PARTS, fields, node=call.node)
        self._set(call, layer, found=as_seen(shape, call.result))
        return layer

    def append_made(self, node: fx.Node, shape: Shape) -> Value:
        """An "input" layer: channels of a tensor that the code makes, which cannot change in number."""
        fields = {"name": f"input {node.name}", "in_shape": shape, "out_shape": shape}
        return Value(self._add_layer(node.name, "input", (), NO_PARTS, fields, node=node), False)

    def single(self, key: str, count: int) -> dict[str, Any]:
        """The fields of a layer with `count` learnable values of no channel; the first layer counts them."""
        known = any(layer.weights == key for layer in self.layers)
        return {"weights": "", "scalars": 0} if known or not count else {"weights": key, "scalars": count}

    def fuse(self, call: Call, value: Value, **changes: Any) -> None:
        """Change the layer of `value`, whose output the call is from now on."""
        self.layers[value.layer] = self.layers[value.layer]._replace(**changes)
        self._set(call, value.layer, found=value.found)

    def hand_on(self, call: Call, value: Value) -> None:
        """The call's result is the same value."""
        self._set(call, value.layer, fusible=value.fusible, found=value.found)

    def hold(self, layer: int, side: Side, why: str) -> None:
        """Say why the channels of a layer cannot change in number."""
        self.held.setdefault((layer, side), why)

    def _add_layer(
        self,
        name: str,
        op: str,
        inputs: Sequence[int],
        parts: Parts,
        fields: dict[str, Any],
        *,
        node: fx.Node | None = None,
    ) -> int:
        shape = self.in_shape if not inputs or inputs[0] == NETWORK_INPUT else self.layers[inputs[0]].out_shape
        layer = Layer(name, op, tuple(inputs), shape, shape)._replace(**fields)
        if any(other.name == layer.name for other in self.layers):
            layer = layer._replace(name=f"{layer.name}@{layer.name if node is None else node.name}")
        if any(other.name == layer.name for other in self.layers):
            layer = layer._replace(name=f"{layer.name}@{len(self.layers)}")
        self.layers.append(layer)
        self.parts.append(parts)
        return len(self.layers) - 1

    def _set(self, call: Call, layer: int, *, fusible: bool = True, found: Arrangement = None) -> None:
        self.values[call.node] = Value(layer, fusible and len(call.node.users) == 1, found)


def constant_of(builder: LayerBuilder, node: fx.Node) -> Constant | None:
    """What an attribute is: a parameter or buffer of the user's, or a tensor in the code; None for anything else."""
    result = builder.calls.results[node]
    if node.op != "get_attr" or not isinstance(result, Tensor):
        return None
    owner, _, leaf = str(node.target).rpartition(".")
    values = getattr(builder.calls.module.get_submodule(owner), leaf, None)
    if not isinstance(values, Tensor):
        return Constant(is_written=result.numel() > 1)
    return Constant((Source(str(node.target), values, torch.arange(values.numel()).view(values.shape)),))
