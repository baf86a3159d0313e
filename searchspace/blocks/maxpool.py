"""MaxPool and its template row MaxPoolRow."""

from dataclasses import dataclass
from typing import ClassVar

from searchspace.blocks.protocol import Block, Row, register
from searchspace.layers import GraphBuilder


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxPoolRow(Row):
    """A MaxPool; no scaling changes it."""

    kernel: int = 3
    stride: int = 2
    padding: str = "half"
    grows_deeper: bool = False

    def blocks(self, in_channels: int, width_mult: float, repeats: int) -> list[Block]:
        """The MaxPool rows; all of them have the stride."""
        return [self.make(MaxPool)] * repeats

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

    label: ClassVar[str] = "maxpool"

    kernel: int = 3
    stride: int = 2
    padding: str = "half"

    def lower(self, graph: GraphBuilder, name: str) -> None:
        """One pooling, called `name`."""
        graph.spatial_pool(name, "maxpool", self.kernel, self.stride, self.padding)
