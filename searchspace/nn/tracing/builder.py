"""Layers of a Graph as the calls of a module give them, one after the other."""

from typing import Any, NamedTuple

from torch import fx

from searchspace.graph import NETWORK_INPUT, Layer, Shape
from searchspace.nn.tracing.calls import BATCH, Call, Calls


class Parts(NamedTuple):
    """The user's modules that a layer is made of, by name.

    Attributes:
        weighted: convolutions or linear layers; of an "se" layer the one that reduces and the one that expands.
        norm: a batch norm, or "".
    """

    weighted: tuple[str, ...] = ()
    norm: str = ""


NO_PARTS = Parts()


class Value(NamedTuple):
    """What a node holds: the output of a layer. `fusible`: nothing else reads it, so the layer can take in a call."""

    layer: int
    fusible: bool


class LayerBuilder:
    """Collects layers, their modules, and the layer that each node of the trace is the output of.

    Attributes:
        layers: the layers so far.
        parts: the modules of each layer.
        hard_wired: {layer: the node that has its number of channels written into the code}.
        values: {node: the layer that it is the output of}.
        pieces: {node that splits channels: (first channel, channels) of each piece}.
    """

    def __init__(self, calls: Calls, in_shape: Shape) -> None:
        self.calls, self.in_shape = calls, in_shape
        self.layers: list[Layer] = []
        self.parts: list[Parts] = []
        self.hard_wired: dict[int, str] = {}
        self.values: dict[fx.Node, Value] = {}
        self.pieces: dict[fx.Node, list[tuple[int, int]]] = {}

    def shape(self, value: Value) -> Shape:
        """(channels, height, width) of a layer's output."""
        return self.in_shape if value.layer == NETWORK_INPUT else self.layers[value.layer].out_shape

    def read(self, call: Call, source: object, *, expanded: bool = False) -> Value:
        """The layer that `source` is the output of; its channels must be where the layer puts them.

        `expanded`: one value a channel may stand for its pixels. Raises UnsupportedModule.
        """
        if not isinstance(source, fx.Node) or source not in self.values:
            call.refuse(f"{source} is no output of a layer")
        value = self.values[source]
        shape, seen = self.shape(value), tuple(self.calls.results[source].shape)
        flat = (BATCH, shape[0] * shape[1] * shape[2])
        if not expanded and seen not in ((BATCH, *shape), flat, (*flat, 1)[: 2 + (shape[1:] == (1, 1))]):
            call.refuse(f"it reads {seen[1:]} where the layer before puts out {shape}")
        return value

    def read_map(self, call: Call, source: Any) -> tuple[Value, Shape]:
        """As `read`, with the shape; a map that was flattened is refused."""
        value = self.read(call, source)
        shape = self.shape(value)
        if self.calls.results[source].ndim == 2 and shape[1:] != (1, 1):
            call.refuse("only a linear layer can read a flattened map")
        return value, shape

    def append(self, call: Call, op: str, *values: Value, parts: Parts = NO_PARTS, **fields: Any) -> None:
        """Add a layer that reads `values`; its output is what the call gives.

        It has the call's name and the shape of what it reads, where `fields` of the Layer say nothing else.
        """
        shape = self.shape(values[0])
        layer = Layer(call.name, op, tuple(value.layer for value in values), shape, shape)._replace(**fields)
        if any(other.name == layer.name for other in self.layers):
            layer = layer._replace(name=f"{layer.name}@{call.node.name}")
        self.layers.append(layer)
        self.parts.append(parts)
        self._set(call, len(self.layers) - 1)

    def fuse(self, call: Call, value: Value, **changes: Any) -> None:
        """Change the layer of `value`, whose output the call is from now on."""
        self.layers[value.layer] = self.layers[value.layer]._replace(**changes)
        self._set(call, value.layer)

    def hand_on(self, call: Call, value: Value) -> None:
        """The call's result is the same value."""
        self._set(call, value.layer, fusible=value.fusible)

    def _set(self, call: Call, layer: int, *, fusible: bool = True) -> None:
        self.values[call.node] = Value(layer, fusible and len(call.node.users) == 1)
