"""Modules of the block rows. Their names are the layer names of `searchspace.graph.lower`.

Shapes: every block takes (batch, channels, height, width) and gives the same with height and width divided by its
stride, rounded up; every one works at any resolution and in channels-last memory.
"""

from collections.abc import Callable
from functools import partial
from typing import assert_never

import torch
from torch import Tensor, nn

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
from searchspace.spec import DEFAULT_CONVENTIONS, Conventions

AVX512 = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
MATRIX_PIXELS = 4096 if AVX512 else 1024


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


class Conv2d(nn.Conv2d):
    """A convolution whose weights `initialise` fills: torch's own random ones would be made for nothing."""

    def reset_parameters(self) -> None:
        """Nothing."""


class Linear(nn.Linear):
    """A linear layer whose weights `initialise` fills."""

    def reset_parameters(self) -> None:
        """Nothing."""


class DepthwiseConv2d(Conv2d):
    """A depthwise convolution that also trains fast on small maps on a CPU.

    oneDNN's weight gradient leaves its fast path where the map is smaller than the kernel (measured on AVX2 at batch
    128: 44 ms against 1 ms forward for 480 channels, 5x5 on a 3x3 map), with AVX-512 only on maps of 1 and 2 pixels.
    There, taps that only ever meet padding are cropped and the input is padded first: the same sums, up to 30 times
    faster (a training step of MobileNetV3-Large at 32 px: 6 % on AVX-512). Inference is not touched.
    """

    @property
    def _slow_up_to(self) -> int:
        return min(2, self.kernel_size[0]) if AVX512 else self.kernel_size[0] - 1

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, channels, ceil(height / stride), ceil(width / stride))."""
        if not self.training or max(x.shape[2:]) > self._slow_up_to or x.device.type != "cpu" or self.bias is not None:
            return super().forward(x)
        pad = self.kernel_size[0] // 2
        reach = min(pad, max(x.shape[2:]) - 1)
        weight = self.weight[:, :, pad - reach : pad + reach + 1, pad - reach : pad + reach + 1]
        if reach == 0:
            return x * weight.reshape(1, -1, 1, 1)
        padded = nn.functional.pad(x, (reach,) * 4).contiguous(memory_format=torch.channels_last)
        return nn.functional.conv2d(padded, weight, None, self.stride, 0, 1, self.groups)


class PointwiseConv2d(Conv2d):
    """A 1x1 convolution of stride 1 that trains on a CPU as the matrix product it is in channels-last memory.

    Measured over whole networks on 2 cores: 10 to 30 % more training steps a second, for the sake of the weight
    gradient. On large maps it loses: `MATRIX_PIXELS` (batch x height x width) is where. Inference is not touched.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, height, width) -> (batch, out, height, width)."""
        if not self.training or x.device.type != "cpu" or x[:, 0].numel() > MATRIX_PIXELS:
            return super().forward(x)
        return nn.functional.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


class BatchNorm2d(nn.BatchNorm2d):
    """Batch norm without the questions that torch's own asks in eval mode: 4 % of a network's time at batch 1."""

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as the input."""
        if self.training:
            return super().forward(x)
        return torch.batch_norm(
            x,
            self.weight,
            self.bias,
            self.running_mean,
            self.running_var,
            False,
            0.0,
            self.eps,
            torch.backends.cudnn.enabled,
        )


class SameConv2d(Conv2d):
    """A convolution with TensorFlow's SAME padding: ceil(size / stride) outputs, an odd pixel of padding at the right
    and the bottom."""

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, height, width) -> (batch, out, ceil(height / stride), ceil(width / stride))."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        height, width = (max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in x.shape[2:])
        x = nn.functional.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
        return super().forward(x)


class ConvBNAct(nn.Module):
    """Convolution, batch norm, activation: `conv`, `norm`, `act`, those that there are.

    With `bias` the convolution has one and there is no batch norm. `padding` "half" is (kernel - 1) / 2 on every side,
    "valid" none.
    """

    conv: nn.Module
    norm: nn.Module

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        act: str = "identity",
        *,
        conventions: Conventions = DEFAULT_CONVENTIONS,
        bias: bool = False,
        padding: str = "half",
    ) -> None:
        super().__init__()
        pixels = (kernel - 1) // 2 if padding == "half" else 0
        kind: type[Conv2d] = Conv2d
        if conventions.padding == "same" and padding == "half" and stride > 1 and kernel > 1:
            kind, pixels = SameConv2d, 0
        elif groups == in_channels == out_channels:
            kind = DepthwiseConv2d
        elif kernel == stride == groups == 1:
            kind = PointwiseConv2d
        self.conv = kind(in_channels, out_channels, kernel, stride, pixels, groups=groups, bias=bias)
        if not bias:
            self.norm = BatchNorm2d(out_channels, conventions.norm_eps, conventions.norm_momentum)
        if act != "identity":
            self.act = activation(act)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, height, width) -> (batch, out, height / stride, width / stride), rounded up for "half"."""
        for part in self._modules.values():  # faster than three look-ups of attributes
            x = part(x)  # type: ignore[misc]
        return x


MakeConv = Callable[..., ConvBNAct]


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
        scale = x.mean((2, 3), keepdim=True)
        for part in self._modules.values():
            scale = part(scale)  # type: ignore[misc]
        return x * scale


class Add(nn.Module):
    """The residual sum and its activation, a module so that it can be timed and hooked like every other layer."""

    def __init__(self, act: str = "identity") -> None:
        super().__init__()
        self.act = None if act == "identity" else activation(act)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Two tensors of one shape -> their sum."""
        out: Tensor = x + skip if self.act is None else self.act(x + skip)
        return out


class Concat(nn.Module):
    """Two tensors one after the other by channels, and an activation."""

    def __init__(self, act: str = "identity") -> None:
        super().__init__()
        self.act = None if act == "identity" else activation(act)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """(batch, a, height, width), (batch, b, height, width) -> (batch, a + b, height, width)."""
        out = torch.cat((first, second), 1)
        return out if self.act is None else self.act(out)


class Slice(nn.Module):
    """`channels` channels from `start` on; a view."""

    def __init__(self, start: int, channels: int) -> None:
        super().__init__()
        self.start, self.channels = start, channels

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, height, width) -> (batch, channels, height, width)."""
        return x.narrow(1, self.start, self.channels)


class ChannelShuffle(nn.Module):
    """Channels dealt out over `groups`: channel g * n + i becomes i * groups + g (arXiv:1707.01083, section 3.1)."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as the input; one copy in channels-last memory."""
        batch, channels, height, width = x.shape
        dealt = x.permute(0, 2, 3, 1).reshape(batch, height, width, self.groups, channels // self.groups)
        return dealt.transpose(3, 4).reshape(batch, height, width, channels).permute(0, 3, 1, 2)


class InvertedResidual(nn.Module):
    """MBConv and SeparableConv rows: [expand], depthwise, [squeeze], project, [add]."""

    @property
    def branch_end(self) -> ConvBNAct:
        """The last convolution of the residual branch."""
        return self.project

    def __init__(self, in_channels: int, row: MBConv | SeparableConv, conv: MakeConv) -> None:
        super().__init__()
        channels = in_channels
        self.expand: ConvBNAct | None = None
        project = "identity"
        if isinstance(row, MBConv):
            channels = row.expand_channels
            self.expand = conv(in_channels, channels, act=row.activation)
        else:
            project = row.project_activation
        self.depthwise = conv(channels, channels, row.kernel, row.stride, channels, row.activation)
        self.squeeze: SqueezeExcite | None = None
        if row.squeeze_channels:
            self.squeeze = SqueezeExcite(channels, row.squeeze_channels, row.squeeze_activation, row.gate)
        self.project = conv(channels, row.out_channels, act=project)
        self.add = Add() if row.skip else None

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, height, width) -> (batch, out, ceil(height / stride), ceil(width / stride))."""
        out = x
        for part in self._modules.values():
            out = part(out, x) if type(part) is Add else part(out)  # type: ignore[misc]
        return out


class FireModule(nn.Module):
    """Fire rows: squeeze, then expand1x1 and expand3x3 side by side, concatenated."""

    def __init__(self, in_channels: int, row: Fire, conv: MakeConv) -> None:
        super().__init__()
        act, inner = row.activation, row.squeeze_channels
        self.squeeze = conv(in_channels, inner, act=act, bias=True)
        self.expand1x1 = conv(inner, row.expand1x1_channels, act=act, bias=True)
        self.expand3x3 = conv(inner, row.expand3x3_channels, 3, act=act, bias=True)
        self.concat = Concat()

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, height, width) -> (batch, out, height, width)."""
        x = self.squeeze(x)
        out: Tensor = self.concat(self.expand1x1(x), self.expand3x3(x))
        return out


class ShuffleUnitModule(nn.Module):
    """ShuffleUnit rows: reduce, [shuffle], depthwise, expand; add, or concat with the pooled shortcut."""

    @property
    def branch_end(self) -> ConvBNAct:
        """The last convolution of the residual branch."""
        return self.expand

    def __init__(self, in_channels: int, row: ShuffleUnit, conv: MakeConv) -> None:
        super().__init__()
        inner, strided = row.bottleneck_channels, row.stride > 1
        branch = row.out_channels - in_channels if strided else row.out_channels
        self.shortcut = nn.AvgPool2d(3, row.stride, 1) if strided else None
        self.reduce = conv(in_channels, inner, groups=row.reduce_groups, act=row.activation)
        self.shuffle = ChannelShuffle(row.groups) if row.groups > 1 else None
        self.depthwise = conv(inner, inner, row.kernel, row.stride, inner)
        self.expand = conv(inner, branch, groups=row.groups)
        self.concat = Concat(row.activation) if strided else None
        self.add = None if strided else Add(row.activation)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, height, width) -> (batch, out, ceil(height / stride), ceil(width / stride))."""
        skip = x if self.shortcut is None else self.shortcut(x)
        x = self.reduce(x)
        if self.shuffle is not None:
            x = self.shuffle(x)
        x = self.expand(self.depthwise(x))
        out: Tensor = self.add(x, skip) if self.add is not None else self.concat(skip, x)  # type: ignore[misc]
        return out


class ShuffleUnitV2Module(nn.Module):
    """ShuffleUnitV2 rows: keep (or shortcut_depthwise, shortcut_project); [work], expand, depthwise, project; concat;
    shuffle."""

    def __init__(self, in_channels: int, row: ShuffleUnitV2, conv: MakeConv) -> None:
        super().__init__()
        act, half, inner = row.activation, row.out_channels // 2, row.mid_channels
        strided = row.stride > 1
        self.keep = None if strided else Slice(0, half)
        self.shortcut_depthwise = self.shortcut_project = None
        if strided:
            self.shortcut_depthwise = conv(in_channels, in_channels, row.kernel, row.stride, in_channels)
            self.shortcut_project = conv(in_channels, half, act=act)
        self.work = None if strided else Slice(half, half)
        self.expand = conv(in_channels if strided else half, inner, act=act)
        self.depthwise = conv(inner, inner, row.kernel, row.stride, inner)
        self.project = conv(inner, half, act=act)
        self.concat = Concat()
        self.shuffle = ChannelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, height, width) -> (batch, out, ceil(height / stride), ceil(width / stride))."""
        if self.keep is not None and self.work is not None:
            kept, x = self.keep(x), self.work(x)
        else:
            kept = self.shortcut_project(self.shortcut_depthwise(x))  # type: ignore[misc]
        x = self.project(self.depthwise(self.expand(x)))
        out: Tensor = self.shuffle(self.concat(kept, x))
        return out


class GlobalPool(nn.Module):
    """Mean over height and width."""

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, channels)."""
        return x.mean((2, 3))


class LinearAct(Linear):
    """A linear layer and its activation."""

    def __init__(self, in_features: int, out_features: int, act: str) -> None:
        super().__init__(in_features, out_features)
        self.act = activation(act)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in) -> (batch, out)."""
        out: Tensor = self.act(super().forward(x))
        return out


class Head(nn.Module):
    """Classifier row: global pooling, [hidden layer,] dropout, linear layer."""

    def __init__(self, in_channels: int, row: Classifier) -> None:
        super().__init__()
        self.pool = GlobalPool()
        self.hidden: LinearAct | None = None
        if row.hidden_features:
            self.hidden = LinearAct(in_channels, row.hidden_features, row.hidden_activation)
        self.dropout = nn.Dropout(row.dropout_percent / 100)
        self.linear = Linear(row.hidden_features or in_channels, row.classes)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> logits (batch, classes)."""
        x = self.pool(x)
        if self.hidden is not None:
            x = self.hidden(x)
        out: Tensor = self.linear(self.dropout(x))
        return out


class ConvHead(nn.Module):
    """ConvClassifier row: dropout, 1x1 convolution, activation, global pooling."""

    def __init__(self, in_channels: int, row: ConvClassifier, conv: MakeConv) -> None:
        super().__init__()
        self.dropout = nn.Dropout(row.dropout_percent / 100)
        self.conv = conv(in_channels, row.classes, act=row.activation, bias=True)
        self.pool = GlobalPool()

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> logits (batch, classes)."""
        out: Tensor = self.pool(self.conv(self.dropout(x)))
        return out


def max_pool(row: MaxPool) -> nn.MaxPool2d:
    """The module of a MaxPool row."""
    pixels = (row.kernel - 1) // 2 if row.padding == "half" else 0
    return nn.MaxPool2d(row.kernel, row.stride, pixels, ceil_mode=row.padding == "ceil")


def make_block(in_channels: int, row: Block, conventions: Conventions = DEFAULT_CONVENTIONS) -> nn.Module:
    """The module of one block row."""
    conv = partial(ConvBNAct, conventions=conventions)
    match row:
        case ConvBN():
            return conv(in_channels, row.out_channels, row.kernel, row.stride, row.groups, row.activation)
        case MBConv() | SeparableConv():
            return InvertedResidual(in_channels, row, conv)
        case ShuffleUnitV2():
            return ShuffleUnitV2Module(in_channels, row, conv)
        case ShuffleUnit():
            return ShuffleUnitModule(in_channels, row, conv)
        case Fire():
            return FireModule(in_channels, row, conv)
        case MaxPool():
            return max_pool(row)
        case Conv():
            return conv(
                in_channels,
                row.out_channels,
                row.kernel,
                row.stride,
                act=row.activation,
                bias=True,
                padding=row.padding,
            )
        case Classifier():
            return Head(in_channels, row)
        case ConvClassifier():
            return ConvHead(in_channels, row, conv)
        case _:
            assert_never(row)


def initialise(module: nn.Module, generator: torch.Generator | None) -> None:
    """Weights of a fresh network, in place: He normal by fan-out for convolutions (arXiv:1502.01852; depthwise
    counts its own group), by fan-in where no batch norm follows to mend the scale; batch norm at the identity; linear
    layers, and the convolution that gives the classes, normal with 0.01."""
    parts = list(module.modules())
    plain = {part.conv for part in parts if isinstance(part, ConvBNAct) and not hasattr(part, "norm")}
    last = {part.conv.conv for part in parts if isinstance(part, ConvHead)}
    for part in parts:
        if isinstance(part, (nn.Conv2d, nn.Linear)):
            std = 0.01
            if isinstance(part, nn.Conv2d) and part not in last:
                fan = part.weight[0].numel() if part in plain else part.weight[:, 0].numel() // part.groups
                std = (2.0 / fan) ** 0.5
            nn.init.normal_(part.weight, 0.0, std, generator=generator)
            if part.bias is not None:
                # Softmax does not see a bias that all classes share; a ReLU over them begins alive with it.
                nn.init.constant_(part.bias, 1.0 if part in last else 0.0)
        elif isinstance(part, nn.BatchNorm2d):
            part.reset_parameters()
