"""SqueezeNet's Fire module and its template row FireRow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from searchspace.blocks.protocol import Block, Row, register
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
        widths = self.squeeze_width, self.expand1x1_width, self.expand3x3_width
        squeeze, small, large = (scaled_width(width, width_mult, divisor=self.divisor) for width in widths)
        return [self.make(Fire, squeeze_channels=squeeze, expand1x1_channels=small, expand3x3_channels=large)] * repeats

    @classmethod
    def from_blocks(cls, in_channels: int, run: "Sequence[Fire]") -> Self:
        """Equal modules in sequence are one row."""
        squeeze, small, large = run[0].squeeze_channels, run[0].expand1x1_channels, run[0].expand3x3_channels
        return cls.like(run, squeeze_width=squeeze, expand1x1_width=small, expand3x3_width=large)


@register(row=FireRow)
@dataclass(frozen=True, slots=True, kw_only=True)
class Fire(Block):
    """Squeeze 1x1, then a 1x1 and a 3x3 expansion side by side, concatenated; convolutions with bias, no batch norm.

    Source: SqueezeNet (arXiv:1602.07360, section 3.2).
    """

    label: ClassVar[str] = "Fire/{0.squeeze_channels}"
    kernel: ClassVar[int] = 3  # the larger one
    removable: ClassVar[bool] = True
    counts: ClassVar[Mapping[str, str]] = {
        "squeeze_channels": ".squeeze",
        "expand1x1_channels": ".expand1x1",
        "expand3x3_channels": ".expand3x3",
    }

    squeeze_channels: int
    expand1x1_channels: int
    expand3x3_channels: int
    activation: str = "relu"

    @property
    def out_channels(self) -> int:
        """Both expansions."""
        return self.expand1x1_channels + self.expand3x3_channels

    def lower(self, graph: GraphBuilder, name: str) -> None:
        """squeeze; expand1x1 and expand3x3 side by side; concat."""
        graph.conv(name + ".squeeze", self.squeeze_channels, activation=self.activation, norm=False)
        squeezed, shape = graph.index, graph.shape
        graph.conv(name + ".expand1x1", self.expand1x1_channels, activation=self.activation, norm=False)
        first = graph.index
        graph.go_back(squeezed, shape)
        graph.conv(name + ".expand3x3", self.expand3x3_channels, self.kernel, activation=self.activation, norm=False)
        graph.concat(name + ".concat", first)
