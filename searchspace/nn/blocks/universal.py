"""The module of UniversalIB rows."""

from torch import Tensor, nn

from searchspace.blocks.universal import UniversalIB
from searchspace.nn.blocks.protocol import MakeConv, module_of
from searchspace.nn.layers import Add, ConvBNAct


@module_of(UniversalIB)
class UniversalInvertedBottleneck(nn.Module):
    """UniversalIB rows: [start,] expand, [depthwise,] project, [add]."""

    def __init__(self, in_channels: int, row: UniversalIB, conv: MakeConv) -> None:
        super().__init__()
        inner = row.expand_channels
        self.start: ConvBNAct | None = None
        self.depthwise: ConvBNAct | None = None
        if row.start_kernel:
            stride = 1 if row.middle_kernel else row.stride
            self.start = conv(in_channels, in_channels, row.start_kernel, stride, in_channels)
        self.expand = conv(in_channels, inner, act=row.activation)
        if row.middle_kernel:
            self.depthwise = conv(inner, inner, row.middle_kernel, row.stride, inner, row.activation)
        self.project = conv(inner, row.out_channels)
        self.add = Add() if row.skip else None

    @property
    def residual_end(self) -> ConvBNAct | None:
        """The projection, where there is a skip."""
        return self.project if self.add is not None else None

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, height, width) -> (batch, out, ceil(height / stride), ceil(width / stride))."""
        out = self.expand(x if self.start is None else self.start(x))
        if self.depthwise is not None:
            out = self.depthwise(out)
        out = self.project(out)
        summed: Tensor = out if self.add is None else self.add(out, x)
        return summed
