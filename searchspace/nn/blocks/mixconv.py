"""The module of MixConv rows."""

from torch import Tensor, nn

from searchspace.blocks.mixconv import MixConv
from searchspace.nn.blocks.protocol import MakeConv, module_of
from searchspace.nn.layers import Add, Concat, ConvBNAct, Slice, SqueezeExcite


@module_of(MixConv)
class MixConvModule(nn.Module):
    """MixConv rows: expand; part and depthwise of each kernel, concat; [squeeze,] project, [add]."""

    def __init__(self, in_channels: int, row: MixConv, conv: MakeConv) -> None:
        super().__init__()
        act = row.activation
        self.expand = conv(in_channels, row.expand_channels, groups=row.expand_groups, act=act)
        self.kernels, first = row.kernels, 0
        for index, channels in enumerate(row.parts):
            if row.kernels > 1:
                self.add_module(f"part{index}", Slice(first, channels))
            depthwise = conv(channels, channels, 3 + 2 * index, row.stride, channels, act)
            self.add_module(f"depthwise{index}", depthwise)
            first += channels
        self.concat = Concat() if row.kernels > 1 else None
        self.squeeze: SqueezeExcite | None = None
        if row.squeeze_channels:
            self.squeeze = SqueezeExcite(row.expand_channels, row.squeeze_channels, row.squeeze_activation, row.gate)
        self.project = conv(row.expand_channels, row.out_channels, groups=row.project_groups)
        self.add = Add() if row.skip else None

    @property
    def residual_end(self) -> ConvBNAct | None:
        """The projection, where there is a skip."""
        return self.project if self.add is not None else None

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, height, width) -> (batch, out, ceil(height / stride), ceil(width / stride))."""
        out: Tensor = self.expand(x)
        parts = self._modules
        if self.concat is None:
            out = parts["depthwise0"](out)  # type: ignore[misc]
        else:
            out = self.concat(*[parts[f"depthwise{i}"](parts[f"part{i}"](out)) for i in range(self.kernels)])  # type: ignore[misc]
        if self.squeeze is not None:
            out = self.squeeze(out)
        out = self.project(out)
        return out if self.add is None else self.add(out, x)
