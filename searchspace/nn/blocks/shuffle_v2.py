"""The module of ShuffleUnitV2 rows."""

from torch import Tensor, nn

from searchspace.blocks.shuffle_v2 import ShuffleUnitV2
from searchspace.nn.blocks.protocol import MakeConv, module_of
from searchspace.nn.layers import ChannelShuffle, Concat, Slice


@module_of(ShuffleUnitV2)
class ShuffleUnitV2Module(nn.Module):
    """ShuffleUnitV2 rows: a kept half or a shortcut, the working branch, concat, shuffle."""

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
