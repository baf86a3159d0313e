"""The module of MaxPool rows."""

from torch import nn

from searchspace.blocks.maxpool import MaxPool
from searchspace.nn.blocks.protocol import MakeConv, module_of


@module_of(MaxPool)
def max_pool(in_channels: int, row: MaxPool, conv: MakeConv) -> nn.MaxPool2d:
    """The module of a MaxPool row."""
    pixels = (row.kernel - 1) // 2 if row.padding == "half" else 0
    return nn.MaxPool2d(row.kernel, row.stride, pixels, ceil_mode=row.padding == "ceil")
