"""The module of MBConv and SeparableConv rows."""

from torch import Tensor, nn

from searchspace.blocks.mbconv import MBConv, SeparableConv
from searchspace.nn.blocks.protocol import MakeConv, module_of
from searchspace.nn.layers import Add, ConvBNAct, SqueezeExcite


@module_of(MBConv, SeparableConv)
class InvertedResidual(nn.Module):
    """MBConv and SeparableConv rows: [expand], depthwise, [squeeze], project, [add]."""

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
        self.depthwise = conv(channels, channels, row.kernel, row.stride, groups=channels, act=row.activation)
        self.squeeze: SqueezeExcite | None = None
        if row.squeeze_channels:
            self.squeeze = SqueezeExcite(channels, row.squeeze_channels, row.squeeze_activation, row.gate)
        self.project = conv(channels, row.out_channels, act=project)
        self.add = Add() if row.skip else None

    @property
    def residual_end(self) -> ConvBNAct | None:
        """The projection, where there is a skip."""
        return self.project if self.add is not None else None

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, height, width) -> (batch, out, ceil(height / stride), ceil(width / stride))."""
        out = x
        for part in self._modules.values():
            out = part(out, x) if type(part) is Add else part(out)  # type: ignore[misc]
        return out
