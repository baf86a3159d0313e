"""Layers of a Graph, and the builder that a block appends its own to.

A layer is a kernel as an inference runtime runs it: convolution with its batch norm and activation, a whole SE
block, a residual sum, global pooling, a linear layer.
"""

from collections.abc import Callable
from operator import itemgetter
from typing import NamedTuple

from searchspace.rounding import conv_out

Shape = tuple[int, int, int]
Signature = tuple[object, ...]
OPS = ("conv", "se", "add", "concat", "slice", "shuffle", "maxpool", "avgpool", "pool", "linear", "norm", "pad")
TRACED_OPS = ("conv_transpose", "mul", "merge", "spread", "resample", "reduce", "input")  # of traced modules alone
NETWORK_INPUT = -1


# op, in_shape, out_shape and all from kernel to padding. In one call: pricing a network is little else.
_signature: Callable[[tuple[object, ...]], Signature] = itemgetter(1, 3, 4, *range(6, 13))


class Layer(NamedTuple):
    """One kernel. Shapes are (channels, height, width) without the batch.

    Attributes:
        inputs: Indices of earlier layers; NETWORK_INPUT is the image. `in_shape` is the shape of the first of them.
        weights: Names the parameters. Layers with equal keys share them: they count once in parameters, each time in
            MACs.
        kernel, stride: In pixels.
        groups: Of a convolution or a shuffle.
        activation: Behind the layer; of "se", the inner one, and `gate` is its outer one.
        squeeze_channels: Channels inside an "se" layer.
        padding: One of `searchspace.blocks.PADDINGS`, or "same" where it can differ from "half": with a stride.
        norm: A "conv" has a batch norm and no bias (true), or a bias and no batch norm. "linear" has a bias.
        start: First channel of a "slice".
        vectors: Learnable values for each output channel beside the weights (of "se", for each squeezed one too), where
            `norm` does not say it: in a traced module, and of parallel branches that are deployed as one convolution.
        scalars: Learnable values of this layer alone, also where it shares its weights: a batch norm behind a shared
            convolution, the weights of a sum. In a traced module, those that belong to no channel.
        taps: In a traced module, weights of one filter for one channel, where that is not `kernel` squared; else 0. Of
            "reduce", the multiply-adds of one value.
        branches: Weights of one filter for one channel of parallel branches together; 0 where there are none. Such a
            layer is timed as the one convolution that they are deployed as (`deployed`).

    In a traced module, a "linear" layer behind a map has a column for each pixel, and "norm" is a batch norm, an
    activation or both that no layer before can take in, or any other function of each channel alone; with `groups`
    above 1 it takes statistics over as many equal runs of channels. "add" and "mul" are sums and products, of which one
    side may be one pixel or one channel. "merge" makes one channel of `groups` ones, as PixelShuffle does, and "spread"
    `groups` of one. "resample" changes the pixels of each channel: upsampling, padding, cropping. "reduce" computes new
    channels over all of them, such as a product of two maps, and "input" is the module's second image.
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
    scalars: int = 0
    taps: int = 0
    branches: int = 0

    @property
    def deployed(self) -> "Layer":
        """The layer as it is deployed: parallel branches are one convolution with a bias."""
        return self._replace(branches=0, norm=False, vectors=None) if self.branches else self

    @property
    def signature(self) -> Signature:
        """What decides the time of the kernel: everything but its place in the network.

        A folded batch norm is a bias, and a slice takes no longer elsewhere: `norm` and `start` do not count.
        """
        return _signature(self)

    def describe(self) -> str:
        """The kernel in a few words: operator, shapes and what matters of the rest."""
        shapes = " -> ".join("x".join(map(str, shape)) for shape in (self.in_shape, self.out_shape))
        if self.op == "conv":
            kind = f"{self.kernel}x{self.kernel} conv, stride {self.stride}, groups {self.groups}, {self.activation}"
        elif self.op == "se":
            kind = f"SE to {self.squeeze_channels}, {self.activation}, {self.gate}"
        else:
            kind = self.op
        return f"kernel {kind} ({shapes})"


class GraphBuilder:
    """Appends layers behind the current output; `index` is that output's layer and `shape` its shape.

    `name` is the layer's name and the key of its weights. `padding` is the network's convention ("half" or "same").
    """

    __slots__ = ("image", "index", "layers", "padding", "shape")

    def __init__(self, shape: Shape, padding: str = "half") -> None:
        self.layers: list[Layer] = []
        self.image = self.shape = shape
        self.index = NETWORK_INPUT
        self.padding = padding

    def conv(
        self,
        name: str,
        channels: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        activation: str = "identity",
        padding: str = "half",
        norm: bool = True,
    ) -> None:
        """A convolution with batch norm (or, without `norm`, with bias) and activation.

        `padding` "half" with a stride is the network's convention, "centred" is "half" whatever that is.
        """
        shape = self.shape
        _, height, width = shape
        if padding not in ("half", "centred"):
            height, width = self._windows(kernel, stride, padding)
        elif stride > 1:
            height, width = conv_out(height, stride), conv_out(width, stride)
            padding = self.padding if kernel > 1 and padding == "half" else "half"
        else:
            padding = "half"
        inputs, out = (self.index,), (channels, height, width)
        layer = Layer(name, "conv", inputs, shape, out, name, kernel, stride, groups, activation, 0, "", padding, norm)
        self._append(layer)

    def weigh(self, *, branches: int = 0, vectors: int | None = None) -> None:
        """Learnable values of the last layer that its kernel does not say; see Layer."""
        self.layers[-1] = self.layers[-1]._replace(branches=branches, vectors=vectors)

    def pointwise(self, name: str, activation: str) -> None:
        """An activation that no layer before can take in."""
        self._append(Layer(name, "norm", (self.index,), self.shape, self.shape, activation=activation, vectors=0))

    def affine(self, name: str) -> None:
        """A learnable scale and shift of the whole map, one number each."""
        self._append(Layer(name, "norm", (self.index,), self.shape, self.shape, name, vectors=0, scalars=2))

    def pad(self, name: str) -> None:
        """A row and a column of zeros below and at the right."""
        channels, height, width = self.shape
        self._append(Layer(name, "pad", (self.index,), self.shape, (channels, height + 1, width + 1)))

    def spatial_pool(self, name: str, op: str, kernel: int, stride: int, padding: str) -> None:
        """A "maxpool" or an "avgpool"."""
        out = (self.shape[0], *self._windows(kernel, stride, padding))
        self._append(Layer(name, op, (self.index,), self.shape, out, kernel=kernel, stride=stride, padding=padding))

    def _windows(self, kernel: int, stride: int, padding: str) -> tuple[int, int]:
        height, width = (conv_out(size, stride, kernel=kernel, padding=padding) for size in self.shape[1:])
        return height, width

    def se(self, name: str, squeeze_channels: int, activation: str, gate: str) -> None:
        """A whole squeeze-and-excite block."""
        shape = self.shape
        layer = Layer(name, "se", (self.index,), shape, shape, name, activation=activation)
        self._append(layer._replace(squeeze_channels=squeeze_channels, gate=gate))

    def add(self, name: str, other: int, activation: str = "identity") -> None:
        """The sum with the output of layer `other`."""
        self._append(Layer(name, "add", (self.index, other), self.shape, self.shape, activation=activation))

    def concat(self, name: str, *before: int, activation: str = "identity") -> None:
        """The channels of the layers `before`, then the current ones."""
        shapes = [self.layers[index].out_shape if index >= 0 else self.image for index in before]
        channels, height, width = self.shape
        out = (sum(shape[0] for shape in shapes) + channels, height, width)
        self._append(Layer(name, "concat", (*before, self.index), shapes[0], out, activation=activation))

    def slice(self, name: str, start: int, channels: int) -> None:
        """`channels` channels from `start` on."""
        out = (channels, *self.shape[1:])
        self._append(Layer(name, "slice", (self.index,), self.shape, out, start=start))

    def shuffle(self, name: str, groups: int) -> None:
        """A channel shuffle over `groups` groups."""
        self._append(Layer(name, "shuffle", (self.index,), self.shape, self.shape, groups=groups))

    def pool(self, name: str) -> None:
        """Global average pooling."""
        self._append(Layer(name, "pool", (self.index,), self.shape, (self.shape[0], 1, 1)))

    def linear(self, name: str, features: int, activation: str = "identity") -> None:
        """A linear layer with bias and activation."""
        self._append(Layer(name, "linear", (self.index,), self.shape, (features, 1, 1), name, activation=activation))

    def go_back(self, index: int, shape: Shape) -> None:
        """Go on from an earlier output: a second branch."""
        self.index, self.shape = index, shape

    def _append(self, layer: Layer) -> None:
        self.layers.append(layer)
        self.index = len(self.layers) - 1
        self.shape = layer.out_shape
