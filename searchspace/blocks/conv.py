"""Convolutions by themselves: ConvBN (stems and 1x1 heads), Conv (with bias), and their template row ConvRow."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from searchspace.blocks.protocol import Block, CoupledChannels, Row, register
from searchspace.blocks.rules import check_groups
from searchspace.errors import InvalidSpec
from searchspace.layers import GraphBuilder
from searchspace.rounding import SCALINGS, expand_of, scaled_width


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvRow(Row):
    """A ConvBN of `width` channels before scaling (stem, 1x1 head); with `bias` a Conv, which has no batch norm.

    Attributes:
        group_width: Input channels per group: 0 for an ungrouped convolution, 1 for a depthwise one. Scaling keeps it
            as near as the new channel counts allow.
        scaling: One of `SCALINGS`: which width multipliers it follows.
        input_ratio: Where it is not 0, the channels are this multiple of the input's, in place of `width`.
        padding: Belongs to `bias`.
        nearest: The width is scaled as EfficientNetV2's (`round_channels`).
    """

    choices: ClassVar[tuple[str, ...] | None] = ("kernel", "activation")

    width: int
    kernel: int = 1
    group_width: int = 0
    activation: str = "relu"
    divisor: int = 8
    scaling: str = "width"
    input_ratio: float = 0.0
    bias: bool = False
    padding: str = "half"
    grows_deeper: bool = False
    nearest: bool = False

    def __post_init__(self) -> None:
        if self.scaling not in SCALINGS:
            raise InvalidSpec(f"ConvRow.scaling must be one of {', '.join(SCALINGS)}, got {self.scaling!r}")

    def blocks(self, in_channels: int, width_mult: float, repeats: int) -> list[Block]:
        """`repeats` ConvBN (or Conv) rows; the first has the stride."""
        rounding: dict[str, Any] = {"divisor": self.divisor, "scaling": self.scaling, "nearest": self.nearest}
        channels = scaled_width(self.width, width_mult, **rounding)
        if self.input_ratio:
            channels = expand_of(in_channels, self.input_ratio)
        rows = [self._block(in_channels, channels, self.stride)]
        return rows + [self._block(channels, channels, 1) for _ in range(repeats - 1)]

    def _block(self, in_channels: int, channels: int, stride: int) -> Block:
        if self.bias:
            return self.make(Conv, out_channels=channels, stride=stride)
        groups = 1
        if self.group_width:
            groups = math.gcd(in_channels, channels, max(1, round(in_channels / self.group_width)))
        return self.make(ConvBN, out_channels=channels, stride=stride, groups=groups)

    @classmethod
    def from_blocks(cls, in_channels: int, run: "Sequence[ConvBN | Conv]") -> Self:
        """A lone convolution is a stem or a head: depth scaling leaves those alone."""
        groups = getattr(run[0], "groups", 1)
        group_width = in_channels // groups if groups > 1 else 0
        return cls.like(run, bias=isinstance(run[0], Conv), group_width=group_width, grows_deeper=len(run) > 1)

    def divisible_by(self, divisor: int) -> Self:
        """Rounds to multiples of both divisors."""
        return replace(self, divisor=math.lcm(self.divisor, divisor))


@register(row=ConvRow)
@dataclass(frozen=True, slots=True, kw_only=True)
class ConvBN(Block):
    """Convolution, batch norm, activation: the stem and the 1x1 head of every network here."""

    removable: ClassVar[bool] = True
    kernel_shrinks: ClassVar[bool] = True

    out_channels: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    activation: str = "relu"

    def check(self, in_channels: int) -> None:
        """The groups divide both sides."""
        check_groups(self.groups, in_channels, self.out_channels)

    def lower(self, graph: GraphBuilder, name: str) -> None:
        """One convolution, called `name`."""
        graph.conv(name, self.out_channels, self.kernel, self.stride, self.groups, self.activation)

    def channels(self, in_channels: int) -> CoupledChannels:
        """Depthwise where groups, input and output agree; between single channels nothing tells it from a dense one."""
        if self.groups == in_channels == self.out_channels:
            return CoupledChannels({"out_channels": "", "groups": ""}, depthwise=("",))
        return CoupledChannels({"out_channels": ""}, dense=("",))

    def printed(self) -> str:
        """Groups behind a stroke, where there are several."""
        return "conv" if self.groups == 1 else f"conv/{self.groups}"


@register(row=ConvRow)
@dataclass(frozen=True, slots=True, kw_only=True)
class Conv(Block):
    """Convolution with bias and activation, without batch norm: SqueezeNet's stem (arXiv:1602.07360, Table 1).

    `padding`: "half" pads (kernel - 1) / 2 on every side, "valid" not at all.
    """

    label: ClassVar[str] = "conv"
    counts: ClassVar[Mapping[str, str]] = {"out_channels": ""}
    kernel_shrinks: ClassVar[bool] = True
    paddings: ClassVar[tuple[str, ...]] = ("half", "valid")

    out_channels: int
    kernel: int = 1
    stride: int = 1
    padding: str = "half"
    activation: str = "relu"

    def lower(self, graph: GraphBuilder, name: str) -> None:
        """One convolution, called `name`."""
        graph.conv(name, self.out_channels, self.kernel, self.stride, 1, self.activation, self.padding, norm=False)
