"""Graph: a network as flat layers with inputs, shapes and weight keys. Every cost is a fold over it.

A layer is a kernel as an inference runtime runs it: convolution with its batch norm and activation, a whole SE
block, a residual sum, global pooling, a linear layer.
"""

from collections.abc import Callable
from operator import itemgetter
from typing import NamedTuple, assert_never

from searchspace.blocks import (
    Block,
    Classifier,
    Conv,
    ConvBN,
    ConvClassifier,
    Fire,
    MaxPool,
    MBConv,
    SeparableConv,
    ShuffleUnit,
    ShuffleUnitV2,
)
from searchspace.rounding import conv_out
from searchspace.spec import NetworkSpec

Shape = tuple[int, int, int]
Signature = tuple[object, ...]
OPS = ("conv", "se", "add", "concat", "slice", "shuffle", "maxpool", "avgpool", "pool", "linear", "norm")
NETWORK_INPUT = -1


# op, in_shape, out_shape and all from kernel to padding. In one call: pricing a network is little else.
_signature: Callable[[tuple[object, ...]], Signature] = itemgetter(1, 3, 4, *range(6, 13))


class Layer(NamedTuple):
    """One kernel. Shapes are (channels, height, width) without the batch.

    `inputs` are indices of earlier layers, NETWORK_INPUT for the image; `in_shape` is the shape of the first.
    `weights` names the parameters: layers with equal keys share them (counted once in parameters, each time in MACs).
    `norm`: a "conv" has a batch norm and no bias, or a bias and no batch norm; "linear" has a bias. `vectors`, where
    given, says it of other layers: so many learnable values for each output channel (of "se", also each squeezed one)
    beside the weights. A "linear" layer behind a map has a column for each of its pixels. "norm" is a batch norm, an
    activation or both, that no layer before can take in. The last three are of traced modules. `groups` are a
    convolution's or a shuffle's, `start` is the first channel of a "slice". `padding` is one of
    `searchspace.blocks.PADDINGS`, or "same" (where it can differ from "half": with a stride). `squeeze_channels`
    belongs to "se", whose `activation` is the inner one.
    """

    name: str
    op: str
    inputs: tuple[int, ...]
    in_shape: Shape
    out_shape: Shape
    weights: str = ""
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    activation: str = "identity"
    squeeze_channels: int = 0
    gate: str = ""
    padding: str = "half"
    norm: bool = True
    start: int = 0
    vectors: int | None = None

    @property
    def signature(self) -> Signature:
        """What decides the time of the kernel: everything but its place in the network.

        A folded batch norm is a bias, and a slice takes no longer elsewhere: `norm` and `start` do not count.
        """
        return _signature(self)


class Graph(NamedTuple):
    """The layers of one network in execution order; the last one gives the output."""

    name: str
    in_shape: Shape
    layers: tuple[Layer, ...]


class _Builder:
    """Appends layers and keeps the current output."""

    __slots__ = ("index", "layers", "padding", "shape")

    def __init__(self, shape: Shape, padding: str) -> None:
        self.layers: list[Layer] = []
        self.shape = shape
        self.index = NETWORK_INPUT
        self.padding = padding

    def conv(self, name: str, channels: int, kernel: int, stride: int, groups: int, activation: str) -> None:
        shape = self.shape
        _, height, width = shape
        padding = "half"
        if stride > 1:
            height, width = conv_out(height, stride), conv_out(width, stride)
            if kernel > 1:
                padding = self.padding
        out = (channels, height, width)
        self._append(
            Layer(name, "conv", (self.index,), shape, out, name, kernel, stride, groups, activation, 0, "", padding)
        )

    def plain_conv(
        self, name: str, channels: int, activation: str, kernel: int = 1, stride: int = 1, padding: str = "half"
    ) -> None:
        out = (channels, *self._windows(kernel, stride, padding))
        if padding == "half" and stride > 1 and kernel > 1:
            padding = self.padding
        layer = Layer(name, "conv", (self.index,), self.shape, out, name, kernel, stride, 1, activation)
        self._append(layer._replace(padding=padding, norm=False))

    def spatial_pool(self, name: str, op: str, kernel: int, stride: int, padding: str) -> None:
        out = (self.shape[0], *self._windows(kernel, stride, padding))
        self._append(Layer(name, op, (self.index,), self.shape, out, kernel=kernel, stride=stride, padding=padding))

    def _windows(self, kernel: int, stride: int, padding: str) -> tuple[int, int]:
        _, height, width = self.shape
        return (
            conv_out(height, stride, kernel=kernel, padding=padding),
            conv_out(width, stride, kernel=kernel, padding=padding),
        )

    def se(self, name: str, squeeze_channels: int, activation: str, gate: str) -> None:
        shape = self.shape
        layer = Layer(name, "se", (self.index,), shape, shape, name, activation=activation)
        self._append(layer._replace(squeeze_channels=squeeze_channels, gate=gate))

    def add(self, name: str, other: int, activation: str = "identity") -> None:
        self._append(Layer(name, "add", (self.index, other), self.shape, self.shape, activation=activation))

    def concat(self, name: str, first: int, activation: str = "identity") -> None:
        """The channels of layer `first`, then the current ones."""
        before = self.layers[first].out_shape
        channels, height, width = self.shape
        out = (before[0] + channels, height, width)
        self._append(Layer(name, "concat", (first, self.index), before, out, activation=activation))

    def slice(self, name: str, start: int, channels: int) -> None:
        out = (channels, *self.shape[1:])
        self._append(Layer(name, "slice", (self.index,), self.shape, out, start=start))

    def shuffle(self, name: str, groups: int) -> None:
        self._append(Layer(name, "shuffle", (self.index,), self.shape, self.shape, groups=groups))

    def pool(self, name: str) -> None:
        self._append(Layer(name, "pool", (self.index,), self.shape, (self.shape[0], 1, 1)))

    def linear(self, name: str, features: int, activation: str = "identity") -> None:
        self._append(Layer(name, "linear", (self.index,), self.shape, (features, 1, 1), name, activation=activation))

    def go_back(self, index: int, shape: Shape) -> None:
        """Go on from an earlier output: a second branch."""
        self.index, self.shape = index, shape

    def _append(self, layer: Layer) -> None:
        self.layers.append(layer)
        self.index = len(self.layers) - 1
        self.shape = layer.out_shape


def _lower_block(g: _Builder, name: str, block: Block) -> None:
    match block:
        case MBConv() | SeparableConv():
            _lower_inverted_residual(g, name, block)
        case ConvBN():
            g.conv(name, block.out_channels, block.kernel, block.stride, block.groups, block.activation)
        case ShuffleUnitV2():
            _lower_shuffle_unit_v2(g, name, block)
        case ShuffleUnit():
            _lower_shuffle_unit(g, name, block)
        case Fire():
            _lower_fire(g, name, block)
        case MaxPool():
            g.spatial_pool(name, "maxpool", block.kernel, block.stride, block.padding)
        case Conv():
            g.plain_conv(name, block.out_channels, block.activation, block.kernel, block.stride, block.padding)
        case Classifier():
            g.pool(name + ".pool")
            if block.hidden_features:
                g.linear(name + ".hidden", block.hidden_features, block.hidden_activation)
            g.linear(name + ".linear", block.classes)
        case ConvClassifier():
            g.plain_conv(name + ".conv", block.classes, block.activation)
            g.pool(name + ".pool")
        case _:
            assert_never(block)


def _lower_inverted_residual(g: _Builder, name: str, block: MBConv | SeparableConv) -> None:
    start = g.index
    channels, project_activation = g.shape[0], "identity"
    if isinstance(block, MBConv):
        channels = block.expand_channels
        g.conv(name + ".expand", channels, 1, 1, 1, block.activation)
    else:
        project_activation = block.project_activation
    g.conv(name + ".depthwise", channels, block.kernel, block.stride, channels, block.activation)
    if block.squeeze_channels:
        g.se(name + ".squeeze", block.squeeze_channels, block.squeeze_activation, block.gate)
    g.conv(name + ".project", block.out_channels, 1, 1, 1, project_activation)
    if block.skip:
        g.add(name + ".add", start)


def _lower_fire(g: _Builder, name: str, block: Fire) -> None:
    g.plain_conv(name + ".squeeze", block.squeeze_channels, block.activation)
    squeezed, shape = g.index, g.shape
    g.plain_conv(name + ".expand1x1", block.expand1x1_channels, block.activation)
    first = g.index
    g.go_back(squeezed, shape)
    g.plain_conv(name + ".expand3x3", block.expand3x3_channels, block.activation, kernel=3)
    g.concat(name + ".concat", first)


def _lower_shuffle_unit(g: _Builder, name: str, block: ShuffleUnit) -> None:
    start, shape = g.index, g.shape
    branch = block.out_channels
    if block.stride > 1:
        branch -= shape[0]
        g.spatial_pool(name + ".shortcut", "avgpool", 3, block.stride, "half")
    shortcut = g.index
    g.go_back(start, shape)
    inner = block.bottleneck_channels
    g.conv(name + ".reduce", inner, 1, 1, block.reduce_groups, block.activation)
    if block.groups > 1:
        g.shuffle(name + ".shuffle", block.groups)
    g.conv(name + ".depthwise", inner, block.kernel, block.stride, inner, "identity")
    g.conv(name + ".expand", branch, 1, 1, block.groups, "identity")
    if block.stride > 1:
        g.concat(name + ".concat", shortcut, block.activation)
    else:
        g.add(name + ".add", start, block.activation)


def _lower_shuffle_unit_v2(g: _Builder, name: str, block: ShuffleUnitV2) -> None:
    start, shape = g.index, g.shape
    half = block.out_channels // 2
    if block.stride > 1:
        g.conv(name + ".shortcut_depthwise", shape[0], block.kernel, block.stride, shape[0], "identity")
        g.conv(name + ".shortcut_project", half, 1, 1, 1, block.activation)
    else:
        g.slice(name + ".keep", 0, half)
    kept = g.index
    g.go_back(start, shape)
    if block.stride == 1:
        g.slice(name + ".work", half, half)
    g.conv(name + ".expand", block.mid_channels, 1, 1, 1, block.activation)
    g.conv(name + ".depthwise", block.mid_channels, block.kernel, block.stride, block.mid_channels, "identity")
    g.conv(name + ".project", half, 1, 1, 1, block.activation)
    g.concat(name + ".concat", kept)
    g.shuffle(name + ".shuffle", 2)


def lower(spec: NetworkSpec) -> Graph:
    """The spec's layers in execution order, with every shape worked out.

    Layer names are the names of the modules that `searchspace.nn.build` makes.
    """
    shape = (spec.in_channels, spec.resolution, spec.resolution)
    builder = _Builder(shape, spec.conventions.padding)
    for stage in spec.stages:
        for index, block in enumerate(stage.blocks):
            _lower_block(builder, f"{stage.name}.{index}", block)
    return Graph(spec.name, shape, tuple(builder.layers))
