"""The module of Fire rows."""

from torch import Tensor, nn

from searchspace.blocks.fire import Fire
from searchspace.nn.blocks.protocol import MakeConv, module_of
from searchspace.nn.layers import Concat


@module_of(Fire)
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
