"""Fused inverted residuals: FusedMBConv, FusedConv (without expansion), and their template row FusedMBConvRow.

The 1x1 expansion and the depthwise convolution of an MBConv are one ordinary convolution, which accelerators run faster
where channels are few.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from searchspace.blocks.mbconv import check_skip
from searchspace.blocks.protocol import Block, Row, register
from searchspace.layers import GraphBuilder
from searchspace.rounding import expand_of, expand_ratio_of, scaled_width


@dataclass(frozen=True, slots=True, kw_only=True)
class FusedMBConvRow(Row):
    """`repeats` FusedMBConv blocks; `expand_ratio` 1 leaves the expansion out (FusedConv), as EfficientNetV2's.

    Attributes:
        expand_of_output: The ratio is of the block's output (the first block of EfficientNet-EdgeTPU), not its input.
        expand_divisor: Expanded channels are multiples of it.
        skip: Every block whose stride is 1 and whose channels match has the residual sum.
        keep_expansion: Keeps both convolutions at ratio 1 (a network pruned to it).
        nearest: Widths are scaled as EfficientNetV2's (`round_channels`).
    """

    choices: ClassVar[tuple[str, ...] | None] = ("expand_ratio", "kernel", "activation")

    expand_ratio: float
    width: int
    expand_of_output: bool = False
    expand_divisor: int = 1
    kernel: int = 3
    activation: str = "relu"
    skip: bool = True
    keep_expansion: bool = False
    divisor: int = 8
    nearest: bool = False

    def blocks(self, in_channels: int, width_mult: float, repeats: int) -> list[Block]:
        """`repeats` FusedMBConv (or FusedConv) rows; the first has the stride and the change of width."""
        channels = scaled_width(self.width, width_mult, divisor=self.divisor, nearest=self.nearest)
        rows = [self._block(in_channels, channels, self.stride)]
        return rows + [self._block(channels, channels, 1)] * (repeats - 1)

    def _block(self, in_channels: int, channels: int, stride: int) -> Block:
        skip = self.skip and stride == 1 and in_channels == channels
        own: dict[str, Any] = {"out_channels": channels, "stride": stride, "skip": skip}
        if self.expand_ratio == 1 and not self.keep_expansion:
            return self.make(FusedConv, **own)
        base = channels if self.expand_of_output else in_channels
        return self.make(
            FusedMBConv, expand_channels=expand_of(base, self.expand_ratio, divisor=self.expand_divisor), **own
        )

    @classmethod
    def from_blocks(cls, in_channels: int, run: "Sequence[FusedMBConv | FusedConv]") -> Self:
        """A ratio that explains every block of the run's kind."""
        inputs = (in_channels, *(each.channels_after(0) for each in run[:-1]))
        inside = [(c, b) for c, b in zip(inputs, run, strict=True) if isinstance(b, type(run[0]))]
        ratio = expand_ratio_of([(c, b.expand_channels) for c, b in inside if isinstance(b, FusedMBConv)])
        refused = any(b.stride == 1 and b.out_channels == c and not b.skip for c, b in inside)
        keep_expansion = ratio == 1 and isinstance(run[0], FusedMBConv)
        return cls.like(run, expand_ratio=ratio, keep_expansion=keep_expansion, skip=not refused)

    def ratios(self) -> tuple[float | None, float | None]:
        """The expansion's, of the block's input in a row that `from_blocks` made; there is no SE."""
        return self.expand_ratio, None


class _Fused(Block):
    """What both kinds have: kernel, stride and a skip where the row says so."""

    __slots__ = ()
    removable: ClassVar[bool] = True
    kernel_shrinks: ClassVar[bool] = True

    out_channels: int
    stride: int
    skip: bool

    def check(self, in_channels: int) -> None:
        """A skip sums equal shapes."""
        check_skip(self, in_channels)


@register(row=FusedMBConvRow)
@dataclass(frozen=True, slots=True, kw_only=True)
class FusedMBConv(_Fused):
    """A convolution to the expanded channels, a linear 1x1 projection, optional skip.

    Source: EfficientNet-EdgeTPU (arXiv:2003.02838, "fused inverted bottleneck"); EfficientNetV2 (arXiv:2104.00298,
    Figure 2), whose networks have no SE in it.
    """

    label: ClassVar[str] = "FusedMB"
    prints_ratio: ClassVar[bool] = True
    counts: ClassVar[Mapping[str, str]] = {"expand_channels": ".expand", "out_channels": ".project"}

    expand_channels: int
    out_channels: int
    kernel: int = 3
    stride: int = 1
    activation: str = "relu"
    skip: bool = False

    def lower(self, graph: GraphBuilder, name: str) -> None:
        """expand, project, [add]."""
        start = graph.index
        graph.conv(name + ".expand", self.expand_channels, self.kernel, self.stride, activation=self.activation)
        graph.conv(name + ".project", self.out_channels)
        if self.skip:
            graph.add(name + ".add", start)


@register(row=FusedMBConvRow)
@dataclass(frozen=True, slots=True, kw_only=True)
class FusedConv(_Fused):
    """One convolution with batch norm and activation, optional skip: EfficientNetV2's Fused-MBConv1.

    Source: arXiv:2104.00298, Table 4, stage 1, and the released code.
    """

    counts: ClassVar[Mapping[str, str]] = {"out_channels": ".conv"}

    out_channels: int
    kernel: int = 3
    stride: int = 1
    activation: str = "relu"
    skip: bool = False

    def lower(self, graph: GraphBuilder, name: str) -> None:
        """conv, [add]."""
        start = graph.index
        graph.conv(name + ".conv", self.out_channels, self.kernel, self.stride, activation=self.activation)
        if self.skip:
            graph.add(name + ".add", start)
