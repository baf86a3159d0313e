"""The modules that blocks are made of: one for each op of `searchspace.layers`, working at any resolution."""

import torch
from torch import Tensor, nn

from searchspace.nn.activations import activation
from searchspace.spec import DEFAULT_CONVENTIONS, Conventions

AVX512 = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
MATRIX_PIXELS = 4096 if AVX512 else 1024


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


def pad_same(x: Tensor, kernel: int, stride: int, value: float = 0.0) -> Tensor:
    """The map with TensorFlow's SAME padding: what ceil(size / stride) outputs need, the odd pixel right and below.

    Pooling pads with minus infinity (`value`).
    (batch, channels, height, width) -> the same, up to kernel - 1 pixels larger.
    """
    height, width = (max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in x.shape[2:])
    return nn.functional.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2), value=value)


class SameConv2d(Conv2d):
    """A convolution with TensorFlow's SAME padding: ceil(size / stride) outputs, the odd pixel right and below."""

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, height, width) -> (batch, out, ceil(height / stride), ceil(width / stride))."""
        return super().forward(pad_same(x, self.kernel_size[0], self.stride[0]))


class ConvBNAct(nn.Module):
    """Convolution, batch norm, activation: `conv`, `norm`, `act`, those that there are.

    With `bias` the convolution has one and there is no batch norm, unless `norm` says otherwise. `padding` "half" is
    (kernel - 1) / 2 on every side, but TensorFlow's where the conventions say so; "centred" is "half" in any case;
    "valid" is none.
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
        norm: bool | None = None,
        padding: str = "half",
    ) -> None:
        super().__init__()
        pixels = 0 if padding == "valid" else (kernel - 1) // 2
        kind: type[Conv2d] = Conv2d
        if conventions.padding == "same" and padding == "half" and stride > 1 and kernel > 1:
            kind, pixels = SameConv2d, 0
        elif groups == in_channels == out_channels:
            kind = DepthwiseConv2d
        elif kernel == stride == groups == 1:
            kind = PointwiseConv2d
        self.conv = kind(in_channels, out_channels, kernel, stride, pixels, groups=groups, bias=bias)
        if not bias if norm is None else norm:
            self.norm = BatchNorm2d(out_channels, conventions.norm_eps, conventions.norm_momentum)
        if act != "identity":
            self.act = activation(act)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, height, width) -> (batch, out, height / stride, width / stride), rounded up for "half"."""
        for part in self._modules.values():  # faster than three look-ups of attributes
            x = part(x)  # type: ignore[misc]
        return x


class Branches(nn.Module):
    """Parallel branches that read the same and are summed; activation behind the sum. `merged` is one convolution.

    `kxk` are convolutions of one kernel, `pointwise` is a 1x1 one, `identity` a batch norm of the input.
    """

    def __init__(
        self, kxk: list[ConvBNAct], pointwise: ConvBNAct | None, identity: BatchNorm2d | None, act: str
    ) -> None:
        super().__init__()
        self.identity = identity
        self.kxk = nn.ModuleList(kxk)
        self.pointwise = pointwise
        self.act = None if act == "identity" else activation(act)

    @property
    def convs(self) -> list[ConvBNAct]:
        """The convolutions with their batch norms, `kxk` first."""
        return [part for part in (*self.kxk, self.pointwise) if isinstance(part, ConvBNAct)]

    @property
    def weight(self) -> Tensor:
        """The first k x k convolution's."""
        return self.convs[0].conv.get_parameter("weight")

    @property
    def groups(self) -> int:
        """Of each convolution."""
        first = self.convs[0].conv
        assert isinstance(first, Conv2d)
        return first.groups

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, height, width) -> (batch, out, ceil(height / stride), ceil(width / stride))."""
        out: Tensor = self.kxk[0](x)
        for part in (*self.kxk[1:], self.pointwise, self.identity):
            if part is not None:
                out = out + part(x)
        return out if self.act is None else self.act(out)

    @torch.no_grad()
    def merged(self) -> ConvBNAct:
        """One convolution with a bias that computes the same in eval mode, up to float rounding; `conv` and `act`."""
        first = self.convs[0].conv
        assert isinstance(first, Conv2d)
        out, into, groups = first.out_channels, first.in_channels, self.groups
        whole = ConvBNAct(into, out, first.kernel_size[0], first.stride[0], groups, bias=True, padding="centred")
        whole.to(first.weight)
        weight, bias = whole.conv.get_parameter("weight").zero_(), whole.conv.get_parameter("bias").zero_()
        for part in self.convs:
            assert isinstance(part.conv, Conv2d)
            assert isinstance(part.norm, BatchNorm2d)
            scale, shift = scale_and_shift(part.norm)
            edge = (weight.shape[2] - part.conv.kernel_size[0]) // 2
            weight += nn.functional.pad(part.conv.weight * scale.reshape(-1, 1, 1, 1), (edge,) * 4)
            bias += shift
        if self.identity is not None:
            scale, shift = scale_and_shift(self.identity)
            middle = weight.shape[2] // 2
            channels = torch.arange(out)
            weight[channels, channels % weight.shape[1], middle, middle] += scale
            bias += shift
        if self.act is not None:
            whole.act = self.act
        return whole

    @torch.no_grad()
    def hold(self, weight: Tensor, bias: Tensor) -> None:
        """Compute what one convolution with these does in eval mode: the first branch holds it, the rest is zero."""
        for part in self.convs:
            assert isinstance(part.norm, BatchNorm2d)
            part.norm.reset_running_stats()
            part.norm.weight.zero_()
            part.norm.bias.zero_()
        if self.identity is not None:
            self.identity.weight.zero_()
            self.identity.bias.zero_()
        first = self.convs[0]
        assert isinstance(first.norm, BatchNorm2d)
        first.conv.get_parameter("weight").copy_(weight)
        first.norm.weight.fill_((1.0 + first.norm.eps) ** 0.5)
        first.norm.bias.copy_(bias)


def scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """What a batch norm in eval mode multiplies each channel by and adds to it: two tensors (channels,)."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


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
    """Tensors one after the other by channels, and an activation."""

    def __init__(self, act: str = "identity") -> None:
        super().__init__()
        self.act = None if act == "identity" else activation(act)

    def forward(self, *parts: Tensor) -> Tensor:
        """(batch, a, height, width), (batch, b, height, width) and more -> (batch, a + b + ..., height, width)."""
        out = torch.cat(parts, 1)
        return out if self.act is None else self.act(out)


class Affine(nn.Module):
    """A learnable scale and shift, one number each."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as the input."""
        return self.scale * x + self.bias


class Slice(nn.Module):
    """`channels` channels from `start` on; a view."""

    def __init__(self, start: int, channels: int) -> None:
        super().__init__()
        self.start, self.channels = start, channels

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, height, width) -> (batch, channels, height, width)."""
        return x.narrow(1, self.start, self.channels)


class ChannelShuffle(nn.Module):
    """Channels shuffled over `groups`: channel g * n + i becomes i * groups + g (arXiv:1707.01083, section 3.1)."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as the input; one copy in channels-last memory."""
        batch, channels, height, width = x.shape
        parts = x.permute(0, 2, 3, 1).reshape(batch, height, width, self.groups, channels // self.groups)
        return parts.transpose(3, 4).reshape(batch, height, width, channels).permute(0, 3, 1, 2)


class GlobalPool(nn.Module):
    """Mean over height and width."""

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, channels)."""
        return x.mean((2, 3))


class LinearAct(Linear):
    """A linear layer and its activation."""

    def __init__(self, in_features: int, out_features: int, act: str, *, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias)
        self.act = activation(act)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in) -> (batch, out)."""
        out: Tensor = self.act(super().forward(x))
        return out
