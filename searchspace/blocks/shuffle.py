"""ShuffleNetV1's ShuffleUnit and its template row ShuffleRow."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from searchspace.blocks.protocol import Block, CoupledChannels, Row, register
from searchspace.blocks.rules import check_groups
from searchspace.errors import InvalidSpec
from searchspace.layers import GraphBuilder
from searchspace.rounding import scaled_width


@dataclass(frozen=True, slots=True, kw_only=True)
class ShuffleRow(Row):
    """`repeats` ShuffleNetV1 units (arXiv:1707.01083, Table 1).

    The bottleneck has `bottleneck_ratio` x the output channels. `reduce_groups`, where it is not 0, are the groups of
    the first unit's first 1x1 (1 in the paper's stage 2). Output channels round to multiples of `divisor`, the
    bottleneck to those of both groups, so that every width can be grouped. With stride 1 the channels stay the input's.
    """

    width: int
    groups: int
    divisor: int
    reduce_groups: int = 0
    bottleneck_ratio: float = 0.25
    kernel: int = 3
    activation: str = "relu"

    def blocks(self, in_channels: int, width_mult: float, repeats: int) -> list[Block]:
        """`repeats` ShuffleUnit rows; the first has the stride, the change of width and its own first groups."""
        channels = in_channels if self.stride == 1 else scaled_width(self.width, width_mult, divisor=self.divisor)
        inner = max(1, round(channels * self.bottleneck_ratio / self._parts)) * self._parts
        first = {"reduce_groups": self.reduce_groups or self.groups, "stride": self.stride}
        rest = {"reduce_groups": self.groups, "stride": 1}
        shared = {"bottleneck_channels": inner, "out_channels": channels}
        return [self.make(ShuffleUnit, **shared, **(rest if index else first)) for index in range(repeats)]

    @property
    def _parts(self) -> int:
        """What both grouped convolutions divide."""
        return math.lcm(self.groups, self.reduce_groups or 1)

    @classmethod
    def from_blocks(cls, in_channels: int, run: "Sequence[ShuffleUnit]") -> Self:
        """Widths of a scaled network must stay divisible: by the groups, and so that a quarter of them does."""
        unit = run[0]
        reduce_groups = 0 if unit.reduce_groups == unit.groups else unit.reduce_groups
        ratio = unit.bottleneck_channels / unit.out_channels
        return cls.like(run, divisor=4 * unit.groups, reduce_groups=reduce_groups, bottleneck_ratio=ratio)

    def input_divisor(self, output_divisor: int) -> int:
        """The groups: a unit with stride appends its input to what its groups make."""
        return self._parts


@register(row=ShuffleRow)
@dataclass(frozen=True, slots=True, kw_only=True)
class ShuffleUnit(Block):
    """ShuffleNetV1's unit: grouped 1x1 reduction, channel shuffle, depthwise, grouped 1x1 expansion.

    Stride 1 sums with the input; a larger stride concatenates the average-pooled input (3x3), so that the branch
    hands on `out_channels` less the input's. `reduce_groups` are the groups of the first 1x1 (1 in the paper's very
    first unit), `groups` those of the shuffle and of the last 1x1.
    Source: arXiv:1707.01083, Figure 2 (b) and (c).
    """

    label: ClassVar[str] = "Shuffle/{0.groups}"
    removable: ClassVar[bool] = True
    kernel_shrinks: ClassVar[bool] = True

    bottleneck_channels: int
    out_channels: int
    groups: int = 1
    reduce_groups: int = 1
    kernel: int = 3
    stride: int = 1
    activation: str = "relu"

    def check(self, in_channels: int) -> None:
        """The sum or the concatenation fits, and the groups divide."""
        branch = self.out_channels if self.stride == 1 else self.out_channels - in_channels
        if self.stride == 1 and branch != in_channels:
            raise InvalidSpec(
                "a ShuffleUnit of stride 1 is summed with its input, so its channels stay; got "
                f"{in_channels} -> {self.out_channels}"
            )
        if branch < 1:
            raise InvalidSpec(
                f"a ShuffleUnit of stride {self.stride} concatenates its input, so it must hand on more "
                f"channels than it gets; got {in_channels} -> {self.out_channels}"
            )
        check_groups(self.reduce_groups, in_channels, self.bottleneck_channels)
        check_groups(self.groups, self.bottleneck_channels, branch)

    def lower(self, graph: GraphBuilder, name: str) -> None:
        """[shortcut]; reduce, [shuffle], depthwise, expand; add, or concat behind the shortcut."""
        start, shape = graph.index, graph.shape
        branch = self.out_channels
        if self.stride > 1:
            branch -= shape[0]
            graph.spatial_pool(name + ".shortcut", "avgpool", 3, self.stride, "half")
        shortcut = graph.index
        graph.go_back(start, shape)
        inner = self.bottleneck_channels
        graph.conv(name + ".reduce", inner, 1, 1, self.reduce_groups, self.activation)
        if self.groups > 1:
            graph.shuffle(name + ".shuffle", self.groups)
        graph.conv(name + ".depthwise", inner, self.kernel, self.stride, inner, "identity")
        graph.conv(name + ".expand", branch, 1, 1, self.groups, "identity")
        if self.stride > 1:
            graph.concat(name + ".concat", shortcut, activation=self.activation)
        else:
            graph.add(name + ".add", start, self.activation)

    def channels(self, in_channels: int) -> CoupledChannels:
        """The bottleneck, and what the sum or the concatenation hands on."""
        last = ".concat" if self.stride > 1 else ".add"
        return CoupledChannels({"bottleneck_channels": ".reduce", "out_channels": last}, depthwise=(".depthwise",))
