"""The modules of FusedMBConv and FusedConv rows."""

from torch import Tensor, nn

from searchspace.blocks.fused import FusedConv, FusedMBConv
from searchspace.nn.blocks.protocol import MakeConv, module_of
from searchspace.nn.layers import Add, ConvBNAct


@module_of(FusedMBConv)
class FusedInvertedResidual(nn.Module):
    """FusedMBConv rows: expand, project, [add]."""

    def __init__(self, in_channels: int, row: FusedMBConv, conv: MakeConv) -> None:
        super().__init__()
        self.expand = conv(in_channels, row.expand_channels, row.kernel, row.stride, act=row.activation)
        self.project = conv(row.expand_channels, row.out_channels)
        self.add = Add() if row.skip else None

    @property
    def residual_end(self) -> ConvBNAct | None:
        """The projection, where there is a skip."""
        return self.project if self.add is not None else None

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, height, width) -> (batch, out, ceil(height / stride), ceil(width / stride))."""
        out: Tensor = self.project(self.expand(x))
        return out if self.add is None else self.add(out, x)


@module_of(FusedConv)
class FusedConvModule(nn.Module):
    """FusedConv rows: conv, [add]."""

    def __init__(self, in_channels: int, row: FusedConv, conv: MakeConv) -> None:
        super().__init__()
        self.conv = conv(in_channels, row.out_channels, row.kernel, row.stride, act=row.activation)
        self.add = Add() if row.skip else None

    @property
    def residual_end(self) -> ConvBNAct | None:
        """The convolution, where there is a skip."""
        return self.conv if self.add is not None else None

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, height, width) -> (batch, out, ceil(height / stride), ceil(width / stride))."""
        out: Tensor = self.conv(x)
        return out if self.add is None else self.add(out, x)
