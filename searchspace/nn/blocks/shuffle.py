"""The module of ShuffleUnit rows."""

from torch import Tensor, nn

from searchspace.blocks.shuffle import ShuffleUnit
from searchspace.nn.blocks.protocol import MakeConv, module_of
from searchspace.nn.layers import Add, ChannelShuffle, Concat, ConvBNAct


@module_of(ShuffleUnit)
class ShuffleUnitModule(nn.Module):
    """ShuffleUnit rows: reduce, [shuffle], depthwise, expand; add, or concat with the pooled shortcut."""

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

    @property
    def residual_end(self) -> ConvBNAct | None:
        """The last 1x1, where it is summed with the input."""
        return self.expand if self.add is not None else None

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, height, width) -> (batch, out, ceil(height / stride), ceil(width / stride))."""
        skip = x if self.shortcut is None else self.shortcut(x)
        x = self.reduce(x)
        if self.shuffle is not None:
            x = self.shuffle(x)
        x = self.expand(self.depthwise(x))
        out: Tensor = self.add(x, skip) if self.add is not None else self.concat(skip, x)  # type: ignore[misc]
        return out
