"""SqueezeNet's Fire module and its template row FireRow."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from searchspace.blocks.protocol import Block, CoupledChannels, PrintedBlock, Row, register
from searchspace.blocks.rules import member, positive
from searchspace.layers import GraphBuilder
from searchspace.rounding import scaled_width


@dataclass(frozen=True, slots=True, kw_only=True)
class FireRow(Row):
    """`repeats` Fire modules (SqueezeNet, arXiv:1602.07360, Table 1); all three widths are scaled."""

    squeeze_width: int
    expand1x1_width: int
    expand3x3_width: int
    activation: str = "relu"
    divisor: int = 8

    def blocks(self, in_channels: int, width_mult: float, repeats: int) -> list[Block]:
        """`repeats` equal Fire rows."""
        squeeze, small, large = (
            scaled_width(width, width_mult, divisor=self.divisor)
            for width in (self.squeeze_width, self.expand1x1_width, self.expand3x3_width)
        )
        row = Fire(
            squeeze_channels=squeeze, expand1x1_channels=small, expand3x3_channels=large, activation=self.activation
        )
        return [row] * repeats

    @classmethod
    def from_blocks(cls, in_channels: int, run: "Sequence[Fire]") -> "FireRow":
        """Equal modules in sequence are one row."""
        block = run[0]
        return cls(
            squeeze_width=block.squeeze_channels,
            expand1x1_width=block.expand1x1_channels,
            expand3x3_width=block.expand3x3_channels,
            activation=block.activation,
            repeats=len(run),
        )


@register(row=FireRow)
@dataclass(frozen=True, slots=True, kw_only=True)
class Fire(Block):
    """Squeeze 1x1, then a 1x1 and a 3x3 expansion side by side, concatenated; convolutions with bias, no batch norm.

    Source: SqueezeNet (arXiv:1602.07360, section 3.2).
    """

    removable: ClassVar[bool] = True

    squeeze_channels: int
    expand1x1_channels: int
    expand3x3_channels: int
    activation: str = "relu"

    def __post_init__(self) -> None:
        positive(self, "squeeze_channels", "expand1x1_channels", "expand3x3_channels")
        member(self, "activation")

    @property
    def out_channels(self) -> int:
        """Both expansions."""
        return self.expand1x1_channels + self.expand3x3_channels

    def channels_after(self, in_channels: int) -> int:
        """Both expansions."""
        return self.out_channels

    def lower(self, graph: GraphBuilder, name: str) -> None:
        """squeeze; expand1x1 and expand3x3 side by side; concat."""
        graph.plain_conv(name + ".squeeze", self.squeeze_channels, self.activation)
        squeezed, shape = graph.index, graph.shape
        graph.plain_conv(name + ".expand1x1", self.expand1x1_channels, self.activation)
        first = graph.index
        graph.go_back(squeezed, shape)
        graph.plain_conv(name + ".expand3x3", self.expand3x3_channels, self.activation, kernel=3)
        graph.concat(name + ".concat", first)

    def channels(self, in_channels: int) -> CoupledChannels:
        """Three counts, one for each convolution."""
        counts = {"squeeze_channels": ".squeeze", "expand1x1_channels": ".expand1x1"}
        return CoupledChannels({**counts, "expand3x3_channels": ".expand3x3"})

    def printed(self) -> PrintedBlock:
        """The number behind the stroke is of squeezed channels."""
        return PrintedBlock(f"Fire/{self.squeeze_channels}", 3, self.activation, 1)
