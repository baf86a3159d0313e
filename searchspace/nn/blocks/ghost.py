"""The module of GhostBottleneck rows."""

from torch import Tensor, nn

from searchspace.blocks.ghost import CHEAP_KERNEL, GhostBottleneck
from searchspace.nn.blocks.protocol import MakeConv, module_of
from searchspace.nn.layers import Add, Concat, ConvBNAct, SqueezeExcite


@module_of(GhostBottleneck)
class GhostBottleneckModule(nn.Module):
    """GhostBottleneck rows: two Ghost modules, what is between them, the shortcut and the sum."""

    def __init__(self, in_channels: int, row: GhostBottleneck, conv: MakeConv) -> None:
        super().__init__()
        inner, out, act = row.mid_channels, row.out_channels, row.activation
        self.primary1 = conv(in_channels, inner // 2, act=act)
        self.cheap1 = conv(inner // 2, inner // 2, CHEAP_KERNEL, groups=inner // 2, act=act)
        self.ghost1 = Concat()
        self.depthwise = conv(inner, inner, row.kernel, row.stride, inner) if row.stride > 1 else None
        self.squeeze: SqueezeExcite | None = None
        if row.squeeze_channels:
            self.squeeze = SqueezeExcite(inner, row.squeeze_channels, row.squeeze_activation, row.gate)
        self.primary2 = conv(inner, out // 2)
        self.cheap2 = conv(out // 2, out // 2, CHEAP_KERNEL, groups=out // 2)
        self.ghost2 = Concat()
        self.shortcut_depthwise: ConvBNAct | None = None
        self.shortcut_project: ConvBNAct | None = None
        if row.projection:
            self.shortcut_depthwise = conv(in_channels, in_channels, row.kernel, row.stride, in_channels)
            self.shortcut_project = conv(in_channels, out)
        self.add = Add()

    @property
    def residual_end(self) -> ConvBNAct | None:
        """What the last Ghost module makes all of its channels of, where the input itself is summed."""
        return self.primary2 if self.shortcut_project is None else None

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, height, width) -> (batch, out, ceil(height / stride), ceil(width / stride))."""
        first = x
        x = self.primary1(x)
        x = self.ghost1(x, self.cheap1(x))
        if self.depthwise is not None:
            x = self.depthwise(x)
        if self.squeeze is not None:
            x = self.squeeze(x)
        x = self.primary2(x)
        x = self.ghost2(x, self.cheap2(x))
        if self.shortcut_depthwise is not None and self.shortcut_project is not None:
            first = self.shortcut_project(self.shortcut_depthwise(first))
        out: Tensor = self.add(x, first)
        return out
