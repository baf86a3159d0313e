"""Modules of the block rows. Their names are the layer names of `searchspace.graph.lower`.

Shapes: every block takes (batch, channels, height, width) and gives the same with height and width divided by its
stride, rounded up; every one works at any resolution and in channels-last memory.
"""

import torch
from torch import Tensor, nn

from searchspace.blocks import Classifier, ConvBN, MBConv, SeparableConv


def activation(name: str) -> nn.Module:
    """The activation module of a row's `activation` or `gate`."""
    match name:
        case "identity":
            return nn.Identity()
        case "relu":
            return nn.ReLU(inplace=True)
        case "relu6":
            return nn.ReLU6(inplace=True)
        case "h_swish":
            return nn.Hardswish(inplace=True)
        case "swish":
            return nn.SiLU(inplace=True)
        case "sigmoid":
            return nn.Sigmoid()
        case "hard_sigmoid":
            return nn.Hardsigmoid()
    raise AssertionError(f"no module for the activation {name!r}")


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution that also trains fast on small maps on a CPU.

    oneDNN's weight gradient leaves its fast path where the map is not larger than the kernel (measured on AVX2 at
    batch 128: 44 ms against 1 ms forward for 480 channels, 5x5 on a 3x3 map). There, taps that only ever meet
    padding are cropped and the input is padded first: the same sums, 4 to 30 times faster. Inference is not touched.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, channels, ceil(height / stride), ceil(width / stride))."""
        pad = self.kernel_size[0] // 2
        size = max(x.shape[2], x.shape[3])
        fast = self.training and size <= self.kernel_size[0] and x.device.type == "cpu" and self.bias is None
        if not fast:
            return super().forward(x)
        reach = min(pad, size - 1)
        weight = self.weight[:, :, pad - reach : pad + reach + 1, pad - reach : pad + reach + 1]
        if reach == 0:
            return x * weight.reshape(1, -1, 1, 1)
        padded = nn.functional.pad(x, (reach,) * 4).contiguous(memory_format=torch.channels_last)
        return nn.functional.conv2d(padded, weight, None, self.stride, 0, 1, self.groups)


class PointwiseConv2d(nn.Conv2d):
    """A 1x1 convolution of stride 1 that trains on a CPU as the matrix product it is in channels-last memory.

    Measured on 2 AVX2 cores: 10 to 30 % more training steps a second over whole networks, for the sake of the weight
    gradient. Inference is not touched.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, height, width) -> (batch, out, height, width)."""
        if not (self.training and x.device.type == "cpu"):
            return super().forward(x)
        return nn.functional.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


class ConvBNAct(nn.Module):
    """Convolution without bias, batch norm, activation; symmetric padding (kernel - 1) / 2."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, groups: int, act: str) -> None:
        super().__init__()
        padding = (kernel - 1) // 2
        kind = nn.Conv2d
        if groups == in_channels == out_channels:
            kind = DepthwiseConv2d
        elif kernel == stride == groups == 1:
            kind = PointwiseConv2d
        self.conv: nn.Module = kind(in_channels, out_channels, kernel, stride, padding, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(out_channels)
        self.act = activation(act)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, height, width) -> (batch, out, ceil(height / stride), ceil(width / stride))."""
        out: Tensor = self.act(self.norm(self.conv(x)))
        return out


class SqueezeExcite(nn.Module):
    """Global pooling, reduction, activation, expansion, gate, channel-wise scale (arXiv:1709.01507)."""

    def __init__(self, channels: int, squeeze_channels: int, act: str, gate: str) -> None:
        super().__init__()
        self.reduce = PointwiseConv2d(channels, squeeze_channels, 1)
        self.act = activation(act)
        self.expand = PointwiseConv2d(squeeze_channels, channels, 1)
        self.gate = activation(gate)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as the input."""
        scale: Tensor = self.gate(self.expand(self.act(self.reduce(x.mean((2, 3), keepdim=True)))))
        return x * scale


class Add(nn.Module):
    """The residual sum, a module so that it can be timed and hooked like every other layer."""

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Two tensors of one shape -> their sum."""
        return x + skip


class InvertedResidual(nn.Module):
    """MBConv and SeparableConv rows: [expand], depthwise, [squeeze], project, [add]."""

    def __init__(self, in_channels: int, row: MBConv | SeparableConv) -> None:
        super().__init__()
        channels = in_channels
        self.expand: ConvBNAct | None = None
        project = "identity"
        if isinstance(row, MBConv):
            channels = row.expand_channels
            self.expand = ConvBNAct(in_channels, channels, 1, 1, 1, row.activation)
        else:
            project = row.project_activation
        self.depthwise = ConvBNAct(channels, channels, row.kernel, row.stride, channels, row.activation)
        self.squeeze: SqueezeExcite | None = None
        if row.squeeze_channels:
            self.squeeze = SqueezeExcite(channels, row.squeeze_channels, row.squeeze_activation, row.gate)
        self.project = ConvBNAct(channels, row.out_channels, 1, 1, 1, project)
        self.add = Add() if row.skip else None

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, height, width) -> (batch, out, ceil(height / stride), ceil(width / stride))."""
        skip = x
        if self.expand is not None:
            x = self.expand(x)
        x = self.depthwise(x)
        if self.squeeze is not None:
            x = self.squeeze(x)
        x = self.project(x)
        return x if self.add is None else self.add(x, skip)


class GlobalPool(nn.Module):
    """Mean over height and width."""

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, channels)."""
        return x.mean((2, 3))


class Head(nn.Module):
    """Classifier row: global pooling, dropout, linear layer."""

    def __init__(self, in_channels: int, row: Classifier) -> None:
        super().__init__()
        self.pool = GlobalPool()
        self.dropout = nn.Dropout(row.dropout_percent / 100)
        self.linear = nn.Linear(in_channels, row.classes)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> logits (batch, classes)."""
        out: Tensor = self.linear(self.dropout(self.pool(x)))
        return out


def make_block(in_channels: int, row: ConvBN | MBConv | SeparableConv | Classifier) -> nn.Module:
    """The module of one block row."""
    match row:
        case ConvBN():
            return ConvBNAct(in_channels, row.out_channels, row.kernel, row.stride, row.groups, row.activation)
        case MBConv() | SeparableConv():
            return InvertedResidual(in_channels, row)
        case Classifier():
            return Head(in_channels, row)


def initialise(module: nn.Module, generator: torch.Generator | None) -> None:
    """Weights of a fresh network, in place: He normal by fan-out for convolutions (arXiv:1502.01852; depthwise
    counts its own group), batch norm at the identity, linear layers normal with 0.01."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            height, width = part.kernel_size
            fan_out = height * width * part.out_channels // part.groups
            nn.init.normal_(part.weight, 0.0, (2.0 / fan_out) ** 0.5, generator=generator)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.BatchNorm2d):
            part.reset_parameters()
        elif isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, 0.0, 0.01, generator=generator)
            nn.init.zeros_(part.bias)
