"""The modules of BasicBlock and Bottleneck rows."""

from torch import Tensor, nn

from searchspace.blocks.residual import BasicBlock, Bottleneck
from searchspace.nn.blocks.protocol import MakeConv, module_of
from searchspace.nn.layers import Add, ConvBNAct, SqueezeExcite


class _Residual(nn.Module):
    """Both kinds: `branch` is what is summed with the shortcut."""

    shortcut: ConvBNAct | None
    add: Add

    def _end(self, in_channels: int, row: BasicBlock | Bottleneck, conv: MakeConv) -> None:
        """The submodules behind the branch: state dicts have the shortcut last, as published ones do."""
        self.shortcut = conv(in_channels, row.out_channels, 1, row.stride) if row.projection else None
        self.add = Add(row.activation)

    def branch(self, x: Tensor) -> Tensor:
        """(batch, in, height, width) -> (batch, out, ceil(height / stride), ceil(width / stride))."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, height, width) -> (batch, out, ceil(height / stride), ceil(width / stride))."""
        out: Tensor = self.add(self.branch(x), x if self.shortcut is None else self.shortcut(x))
        return out


@module_of(BasicBlock)
class BasicBlockModule(_Residual):
    """BasicBlock rows: conv1, conv2, [shortcut,] add."""

    def __init__(self, in_channels: int, row: BasicBlock, conv: MakeConv) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, row.mid_channels, row.kernel, row.stride, act=row.activation)
        self.conv2 = conv(row.mid_channels, row.out_channels, row.kernel)
        self._end(in_channels, row, conv)

    @property
    def residual_end(self) -> ConvBNAct | None:
        """The last convolution, where the input itself is summed."""
        return self.conv2 if self.shortcut is None else None

    def branch(self, x: Tensor) -> Tensor:
        """See _Residual."""
        out: Tensor = self.conv2(self.conv1(x))
        return out


@module_of(Bottleneck)
class BottleneckModule(_Residual):
    """Bottleneck rows: reduce, conv, [squeeze,] expand, [shortcut,] add."""

    def __init__(self, in_channels: int, row: Bottleneck, conv: MakeConv) -> None:
        super().__init__()
        act = row.activation
        self.reduce = conv(in_channels, row.reduce_channels, act=act)
        self.conv = conv(row.reduce_channels, row.mid_channels, row.kernel, row.stride, row.groups, act)
        self.squeeze: SqueezeExcite | None = None
        if row.squeeze_channels:
            self.squeeze = SqueezeExcite(row.mid_channels, row.squeeze_channels, row.squeeze_activation, row.gate)
        self.expand = conv(row.mid_channels, row.out_channels)
        self._end(in_channels, row, conv)

    @property
    def residual_end(self) -> ConvBNAct | None:
        """The expansion, where the input itself is summed."""
        return self.expand if self.shortcut is None else None

    def branch(self, x: Tensor) -> Tensor:
        """See _Residual."""
        x = self.conv(self.reduce(x))
        out: Tensor = self.expand(x if self.squeeze is None else self.squeeze(x))
        return out
