"""A DetectorSpec as a torch module; the raw outputs of its heads are what it gives."""

import math
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from scaling.efficientdet.neck import LEVELS, Node
from scaling.efficientdet.spec import TAPPED, DetectorSpec
from searchspace.nn.activations import activation
from searchspace.nn.blocks import initialise, make_block
from searchspace.nn.build import channels_last
from searchspace.nn.layers import BatchNorm2d, ConvBNAct, pad_same

Outputs = tuple[list[Tensor], list[Tensor]]
FAST_EPS = 1e-4  # of the normalised weights, section 3.3
AROUND_IDENTITY = 0.1  # deviation of depthwise weights at first
PRIOR = 0.01  # probability of an object at an anchor, before any training (RetinaNet, arXiv:1708.02002, section 4.1)


class Backbone(nn.Module):
    """The backbone up to its last tap; stage and block names as in `searchspace.nn.build`."""

    def __init__(self, spec: DetectorSpec) -> None:
        super().__init__()
        stages: dict[str, OrderedDict[str, nn.Module]] = {}
        for where, in_channels, row in spec.body:
            stage, _, index = where.rpartition(".")
            module = make_block(in_channels, row, spec.backbone.conventions)
            stages.setdefault(stage, OrderedDict())[index] = module
        for stage, blocks in stages.items():
            self.add_module(stage, nn.Sequential(blocks))
        self._taps = frozenset(spec.taps)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(batch, channels, height, width) -> P3, P4, P5."""
        found = []
        for stage, blocks in self._modules.items():
            assert blocks is not None
            for index, block in blocks._modules.items():
                x = block(x)  # type: ignore[misc]
                if f"{stage}.{index}" in self._taps:
                    found.append(x)
        return found


class SeparableConv(nn.Module):
    """3x3 depthwise without a batch norm, then pointwise with bias, with the batch norm and activation asked for."""

    def __init__(self, channels: int, out_channels: int, spec: DetectorSpec, *, norm: bool) -> None:
        super().__init__()
        conv = partial(ConvBNAct, conventions=spec.conventions)
        self.depthwise = conv(channels, channels, 3, groups=channels, norm=False)
        self.pointwise = conv(channels, out_channels, bias=True, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, out_channels, height, width)."""
        out: Tensor = self.pointwise(self.depthwise(x))
        return out


class Resample(nn.Module):
    """A map at another level: 1x1 convolution where channels differ, then max pooling or nearest neighbours."""

    def __init__(self, in_channels: int, level: int, to_level: int, spec: DetectorSpec) -> None:
        super().__init__()
        channels = spec.neck.channels
        if in_channels != channels:
            self.conv = ConvBNAct(in_channels, channels, conventions=spec.conventions, bias=True, norm=True)
        self._stride = 2 ** max(0, to_level - level)
        self._times = 2 ** max(0, level - to_level)

    def forward(self, x: Tensor, size: Sequence[int] = ()) -> Tensor:
        """(batch, in_channels, height, width) -> (batch, channels, height / stride, width / stride), rounded up.

        `size`: height and width of what is enlarged; odd ones are a pixel less than its double.
        """
        for part in self._modules.values():
            x = part(x)  # type: ignore[misc]
        if self._stride > 1:
            padded = pad_same(x, self._stride + 1, self._stride, value=-math.inf)
            return nn.functional.max_pool2d(padded, self._stride + 1, self._stride)
        if self._times > 1:
            x = nn.functional.interpolate(x, scale_factor=self._times, mode="nearest")
            return x[:, :, : size[0], : size[1]]
        return x


class Fuse(nn.Module):
    """A weighted sum of maps of one shape, and an activation."""

    def __init__(self, inputs: int, fusion: str, act: str) -> None:
        super().__init__()
        self.fusion, self.act = fusion, activation(act)
        self.weight = None if fusion == "sum" else nn.Parameter(torch.ones(inputs))
        self.fixed = [1.0] * inputs if fusion == "sum" else None

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps (batch, channels, height, width) -> one."""
        first, *others = maps
        if self.fixed is None:
            weights = self.normalised().unbind()
            total = first * weights[0]
            for each, weight in zip(others, weights[1:], strict=True):
                total = torch.addcmul(total, each, weight)
        else:
            total = first if self.fixed[0] == 1 else first * self.fixed[0]
            for each, alpha in zip(others, self.fixed[1:], strict=True):
                total = torch.add(total, each, alpha=alpha)
        out: Tensor = self.act(total)
        return out

    def fix(self) -> None:
        """The weights become numbers, which no longer train."""
        if self.weight is not None:
            self.fixed, self.weight = self.normalised().tolist(), None

    def normalised(self) -> Tensor:
        """(inputs,) weights that sum up to about 1."""
        assert self.weight is not None
        if self.fusion == "softmax":
            return self.weight.softmax(0)
        positive = self.weight.relu()
        return positive / (positive.sum() + FAST_EPS)


class FusionNode(nn.Module):
    """Inputs at the node's level, their weighted sum, a separable convolution."""

    def __init__(self, node: Node, channels: Sequence[int], levels: Sequence[int], spec: DetectorSpec) -> None:
        super().__init__()
        self._inputs, self._halvings = node.inputs, node.level - LEVELS[0]
        self.resample = nn.ModuleList(Resample(channels[at], levels[at], node.level, spec) for at in node.inputs)
        self.fuse = Fuse(len(node.inputs), node.fusion, spec.activation)
        self.conv = SeparableConv(spec.neck.channels, spec.neck.channels, spec, norm=True)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """All maps of the cell so far -> the node's."""
        size = [-(-each // 2**self._halvings) for each in maps[0].shape[2:]]
        own = [part(maps[at], size) for part, at in zip(self.resample, self._inputs, strict=True)]
        out: Tensor = self.conv(self.fuse(own))
        return out


class Cell(nn.ModuleList):
    """The nodes of one cell, and where its outputs are."""

    def __init__(self, channels: Sequence[int], spec: DetectorSpec) -> None:
        neck, widths = spec.neck, [*channels, *(spec.neck.channels for _ in spec.neck.nodes)]
        levels = [neck.level_of(index) for index in range(len(widths))]
        super().__init__(FusionNode(node, widths, levels, spec) for node in neck.nodes)
        self.out = nn.ModuleList(Resample(widths[index], 0, 0, spec) for index in neck.outputs)
        self._outputs, self._count = neck.outputs, len(neck.nodes)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """P3 to P7 -> P3 to P7."""
        found = list(maps)
        for place in range(self._count):
            found.append(self[place](found))
        return [part(found[index]) for part, index in zip(self.out, self._outputs, strict=True)]


class Neck(nn.Module):
    """P6 and P7 from P5, then the cells."""

    def __init__(self, spec: DetectorSpec) -> None:
        super().__init__()
        channels = list(spec.tap_channels)
        self.coarse = nn.ModuleList()
        for level in LEVELS[len(TAPPED) :]:
            self.coarse.append(Resample(channels[-1], level - 1, level, spec))
            channels.append(spec.neck.channels)
        self.cells = nn.ModuleList()
        for _ in range(spec.neck.cells):
            self.cells.append(Cell(channels, spec))
            channels = [spec.neck.channels] * len(LEVELS)

    def forward(self, taps: Sequence[Tensor]) -> list[Tensor]:
        """P3 to P5 -> P3 to P7."""
        maps = list(taps)
        for part in self.coarse:
            maps.append(part(maps[-1]))
        for cell in self.cells:
            maps = cell(maps)
        return maps


class HeadConv(nn.Module):
    """One separable convolution for all levels, a batch norm for each, an activation."""

    def __init__(self, spec: DetectorSpec) -> None:
        super().__init__()
        channels, how = spec.neck.channels, spec.conventions
        self.conv = SeparableConv(channels, channels, spec, norm=False)
        self.norms = nn.ModuleList(BatchNorm2d(channels, how.norm_eps, how.norm_momentum) for _ in LEVELS)
        self.act = activation(spec.activation)

    def forward(self, x: Tensor, level: int) -> Tensor:
        """A map of the level, counted from 0 -> one of the same shape."""
        out: Tensor = self.act(self.norms[level](self.conv(x)))
        return out


class Head(nn.Module):
    """The same convolutions at each level, the last one without batch norm."""

    def __init__(self, spec: DetectorSpec, outputs: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(HeadConv(spec) for _ in range(spec.head_depth))
        self.predict = SeparableConv(spec.neck.channels, outputs, spec, norm=False)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps (batch, channels, height, width) -> (batch, outputs, height, width), level by level."""
        found = []
        for level, x in enumerate(maps):
            for conv in self.convs:
                x = conv(x, level)
            found.append(self.predict(x))
        return found


class Detector(nn.Module):
    """Images -> (class outputs, box outputs), one tensor a level from P3 to P7, raw.

    Input (batch, channels, height, width) float with height and width multiples of 32. Class outputs are logits
    (batch, anchors * classes, height / 2^l, width / 2^l), anchor by anchor; box outputs (batch, anchors * 4, ...) are
    shifts and log sizes (y, x, height, width) of each anchor.
    """

    def __init__(self, spec: DetectorSpec) -> None:
        super().__init__()
        self.spec = spec
        self.backbone = Backbone(spec)
        self.neck = Neck(spec)
        self.class_head = Head(spec, spec.anchors.count * spec.classes)
        self.box_head = Head(spec, spec.anchors.count * 4)

    def forward(self, x: Tensor) -> Outputs:
        """See the class."""
        maps = self.neck(self.backbone(x))
        return self.class_head(maps), self.box_head(maps)


def build(spec: DetectorSpec, *, generator: torch.Generator | None = None) -> Detector:
    """The detector as a freshly initialised module in channels-last memory, in training mode, on the CPU.

    Each anchor's class begins at a probability of 1 %. The depthwise convolutions of neck and heads begin near the
    identity: maps pass seven or more of them with no shortcut, and random ones blur what is small (see README.md).
    `generator` makes the weights reproducible.
    """
    with torch.device("cpu"):
        detector = Detector(spec)
    initialise(detector, generator)
    for part in detector.modules():
        if isinstance(part, SeparableConv):
            _nearly_the_identity(part.depthwise.get_parameter("conv.weight"), generator)
    for head, bias in ((detector.class_head, -math.log((1 - PRIOR) / PRIOR)), (detector.box_head, 0.0)):
        last = head.predict.pointwise.conv
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        nn.init.normal_(last.weight, 0.0, 0.01, generator=generator)
        nn.init.constant_(last.bias, bias)
    return channels_last(detector)


@torch.no_grad()
def _nearly_the_identity(weight: Tensor, generator: torch.Generator | None) -> None:
    """Depthwise (channels, 1, 3, 3), in place."""
    weight.normal_(0.0, AROUND_IDENTITY, generator=generator)[:, :, 1, 1] += 1.0
