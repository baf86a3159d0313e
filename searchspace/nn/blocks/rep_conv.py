"""The module of RepConv rows."""

from torch import nn

from searchspace.blocks.rep_conv import RepConv
from searchspace.nn.activations import activation
from searchspace.nn.blocks.protocol import MakeConv, module_of
from searchspace.nn.layers import BatchNorm2d, Branches, ConvBNAct, SqueezeExcite


@module_of(RepConv)
class RepConvModule(nn.Sequential):
    """RepConv rows: conv (its branches, or one convolution where it is deployed), [squeeze, act].

    (batch, in, height, width) -> (batch, out, ceil(height / stride), ceil(width / stride)).
    """

    conv: Branches | ConvBNAct

    def __init__(self, in_channels: int, row: RepConv, conv: MakeConv) -> None:
        super().__init__()
        shape = in_channels, row.out_channels
        inside = "identity" if row.squeeze_channels else row.activation

        def part(kernel: int) -> ConvBNAct:
            return conv(*shape, kernel, row.stride, row.groups, padding="centred")

        if row.branches:
            kxk = [part(row.kernel) for _ in range(row.branches)]
            norm: BatchNorm2d | None = None
            if row.skip:
                norm = BatchNorm2d(in_channels, kxk[0].norm.eps, kxk[0].norm.momentum)  # type: ignore[arg-type]
            self.conv = Branches(kxk, part(1) if row.pointwise else None, norm, inside)
        else:
            self.conv = conv(*shape, row.kernel, row.stride, row.groups, inside, bias=True, padding="centred")
        if row.squeeze_channels:
            self.squeeze = SqueezeExcite(row.out_channels, row.squeeze_channels, row.squeeze_activation, row.gate)
            if row.activation != "identity":
                self.act = activation(row.activation)
