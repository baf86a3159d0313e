"""Modules of ConvBN and Conv rows: a ConvBNAct each."""

from searchspace.blocks.conv import Conv, ConvBN
from searchspace.nn.blocks.protocol import MakeConv, module_of
from searchspace.nn.layers import ConvBNAct


@module_of(ConvBN)
def conv_bn(in_channels: int, row: ConvBN, conv: MakeConv) -> ConvBNAct:
    """Convolution, batch norm, activation."""
    return conv(in_channels, row.out_channels, row.kernel, row.stride, row.groups, row.activation)


@module_of(Conv)
def plain_conv(in_channels: int, row: Conv, conv: MakeConv) -> ConvBNAct:
    """Convolution with bias, activation."""
    channels = row.out_channels
    return conv(in_channels, channels, row.kernel, row.stride, act=row.activation, bias=True, padding=row.padding)
