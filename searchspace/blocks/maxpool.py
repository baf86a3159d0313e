"""MaxPool and its template row MaxPoolRow."""

from collections.abc import Sequence
from dataclasses import dataclass

from searchspace.blocks.protocol import Block, CoupledChannels, PrintedBlock, Row, register
from searchspace.blocks.rules import PADDINGS, member, odd_kernel
from searchspace.layers import GraphBuilder
from searchspace.rounding import conv_out


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxPoolRow(Row):
    """A MaxPool; no scaling changes it."""

    kernel: int = 3
    stride: int = 2
    padding: str = "half"
    grows_deeper: bool = False

    def blocks(self, in_channels: int, width_mult: float, repeats: int) -> list[Block]:
        """The MaxPool rows; all of them have the stride."""
        return [MaxPool(kernel=self.kernel, stride=self.stride, padding=self.padding)] * repeats

    @classmethod
    def from_blocks(cls, in_channels: int, run: "Sequence[MaxPool]") -> "MaxPoolRow":
        """Equal pools in sequence are one row."""
        block = run[0]
        return cls(kernel=block.kernel, stride=block.stride, padding=block.padding, repeats=len(run))

    def input_divisor(self, output_divisor: int) -> int:
        """Its channels are its input's."""
        return output_divisor


@register(row=MaxPoolRow)
@dataclass(frozen=True, slots=True, kw_only=True)
class MaxPool(Block):
    """Max pooling; the channels stay.

    `padding`: "half" pads (kernel - 1) / 2 on every side, "valid" not at all, "ceil" not at all with the last,
    incomplete window kept (Caffe's rule, SqueezeNet's).
    """

    kernel: int = 3
    stride: int = 2
    padding: str = "half"

    def __post_init__(self) -> None:
        odd_kernel(self)
        member(self, "padding", PADDINGS)

    def channels_after(self, in_channels: int) -> int:
        """The input's."""
        return in_channels

    def size_after(self, size: int) -> int:
        """By the padding's rule."""
        return conv_out(size, self.stride, kernel=self.kernel, padding=self.padding)

    def lower(self, graph: GraphBuilder, name: str) -> None:
        """One pooling, called `name`."""
        graph.spatial_pool(name, "maxpool", self.kernel, self.stride, self.padding)

    def channels(self, in_channels: int) -> CoupledChannels:
        """It counts none."""
        return CoupledChannels()

    def printed(self) -> PrintedBlock:
        """Without an activation."""
        return PrintedBlock("maxpool", self.kernel, None, self.stride)
