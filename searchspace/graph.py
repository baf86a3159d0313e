"""Graph: a network as flat layers with inputs, shapes and weight keys. Every cost is a fold over it.

A layer is a kernel as an inference runtime runs it: convolution with its batch norm and activation, a whole SE
block, a residual sum, global pooling, a linear layer.
"""

from typing import NamedTuple, assert_never

from searchspace.blocks import Block, Classifier, ConvBN, MBConv, SeparableConv
from searchspace.rounding import conv_out
from searchspace.spec import NetworkSpec

Shape = tuple[int, int, int]
OPS = ("conv", "se", "add", "pool", "linear")
NETWORK_INPUT = -1


class Layer(NamedTuple):
    """One kernel. Shapes are (channels, height, width) without the batch.

    `inputs` are indices of earlier layers, NETWORK_INPUT for the image. `weights` names the parameters: layers
    with equal keys share them (counted once in parameters, each time in MACs). `squeeze_channels` belongs to "se",
    whose `activation` is the inner one; "conv" has a batch norm and no bias, "linear" has a bias.
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

    @property
    def signature(self) -> tuple[object, ...]:
        """What decides the time of the kernel: everything but its place in the network."""
        return (self.op, self.in_shape, self.out_shape, *self[6:])


class Graph(NamedTuple):
    """The layers of one network in execution order; the last one gives the output."""

    name: str
    in_shape: Shape
    layers: tuple[Layer, ...]


class _Builder:
    """Appends layers and keeps the current output."""

    __slots__ = ("index", "layers", "shape")

    def __init__(self, shape: Shape) -> None:
        self.layers: list[Layer] = []
        self.shape = shape
        self.index = NETWORK_INPUT

    def conv(self, name: str, channels: int, kernel: int, stride: int, groups: int, activation: str) -> None:
        shape = self.shape
        _, height, width = shape
        if stride > 1:
            height, width = conv_out(height, stride), conv_out(width, stride)
        out = (channels, height, width)
        self._append(Layer(name, "conv", (self.index,), shape, out, name, kernel, stride, groups, activation))

    def se(self, name: str, squeeze_channels: int, activation: str, gate: str) -> None:
        shape = self.shape
        self._append(Layer(name, "se", (self.index,), shape, shape, name, 1, 1, 1, activation, squeeze_channels, gate))

    def add(self, name: str, other: int) -> None:
        self._append(Layer(name, "add", (self.index, other), self.shape, self.shape))

    def pool(self, name: str) -> None:
        self._append(Layer(name, "pool", (self.index,), self.shape, (self.shape[0], 1, 1)))

    def linear(self, name: str, features: int) -> None:
        self._append(Layer(name, "linear", (self.index,), self.shape, (features, 1, 1), name))

    def _append(self, layer: Layer) -> None:
        self.layers.append(layer)
        self.index += 1
        self.shape = layer.out_shape


def _lower_block(g: _Builder, name: str, block: Block) -> None:
    match block:
        case MBConv() | SeparableConv():
            _lower_inverted_residual(g, name, block)
        case ConvBN():
            g.conv(name, block.out_channels, block.kernel, block.stride, block.groups, block.activation)
        case Classifier():
            g.pool(name + ".pool")
            g.linear(name + ".linear", block.classes)
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


def lower(spec: NetworkSpec) -> Graph:
    """The spec's layers in execution order, with every shape worked out.

    Layer names are the names of the modules that `searchspace.nn.build` makes.
    """
    shape = (spec.in_channels, spec.resolution, spec.resolution)
    builder = _Builder(shape)
    for stage in spec.stages:
        for index, block in enumerate(stage.blocks):
            _lower_block(builder, f"{stage.name}.{index}", block)
    return Graph(spec.name, shape, tuple(builder.layers))
