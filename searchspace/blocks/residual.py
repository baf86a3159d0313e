"""ResNet's residual blocks: BasicBlock and Bottleneck (RegNet's too), and their template rows.

They share a file because they share the shortcut: the input, or a 1x1 convolution of it where the shape changes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from searchspace.blocks.protocol import Block, CoupledChannels, Row, register
from searchspace.blocks.rules import check_groups
from searchspace.errors import InvalidSpec
from searchspace.layers import GraphBuilder
from searchspace.rounding import scaled_width, squeeze_of


@dataclass(frozen=True, slots=True, kw_only=True)
class _ResidualRow(Row):
    """`repeats` residual blocks; `projection`: the first has a 1x1 convolution in its shortcut wherever it stands."""

    choices: ClassVar[tuple[str, ...] | None] = ("kernel", "activation")

    width: int
    kernel: int = 3
    activation: str = "relu"
    projection: bool = False
    divisor: int = 8

    def blocks(self, in_channels: int, width_mult: float, repeats: int) -> list[Block]:
        """`repeats` blocks; the first has the stride, the change of width and a projection where it needs one."""
        channels = scaled_width(self.width, width_mult, divisor=self.divisor)
        projects = self.projection or self.stride > 1 or in_channels != channels
        rows = [self._block(in_channels, channels, stride=self.stride, projection=projects)]
        if repeats > 1:
            rows += [self._block(channels, channels, stride=1, projection=False)] * (repeats - 1)
        return rows

    def _block(self, in_channels: int, channels: int, **shortcut: Any) -> Block:
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class BasicBlockRow(_ResidualRow):
    """`repeats` BasicBlocks (arXiv:1512.03385, Table 1), `mid_ratio` x the output wide inside."""

    mid_ratio: float = 1.0

    def _block(self, in_channels: int, channels: int, **shortcut: Any) -> Block:
        inner = max(1, round(channels * self.mid_ratio))
        return self.make(BasicBlock, mid_channels=inner, out_channels=channels, **shortcut)

    @classmethod
    def from_blocks(cls, in_channels: int, run: "Sequence[BasicBlock]") -> Self:
        """The ratio is the first block's."""
        return cls.like(run, mid_ratio=run[0].mid_channels / run[0].out_channels)


@dataclass(frozen=True, slots=True, kw_only=True)
class BottleneckRow(_ResidualRow):
    """`repeats` Bottlenecks (ResNet: arXiv:1512.03385, Table 1; RegNet: arXiv:2003.13678, section 3.2).

    Attributes:
        reduce_ratio, mid_ratio: Channels of the first 1x1 and of the convolution behind it, per output channel.
        group_width: Input channels of a group of that convolution, 0 for an ungrouped one. Scaling keeps it, and makes
            the channels inside multiples of it.
        se_ratio: Squeezed channels per channel of the block's input; 0 means no SE.
    """

    reduce_ratio: float = 0.25
    mid_ratio: float = 0.25
    group_width: int = 0
    se_ratio: float = 0.0
    squeeze_activation: str = "relu"
    gate: str = "sigmoid"

    def _block(self, in_channels: int, channels: int, **shortcut: Any) -> Block:
        reduced = max(1, round(channels * self.reduce_ratio))
        groups = max(1, round(reduced / self.group_width)) if self.group_width else 1
        return self.make(
            Bottleneck,
            reduce_channels=groups * self.group_width or reduced,
            mid_channels=groups * max(1, round(channels * self.mid_ratio / groups)),
            out_channels=channels,
            groups=groups,
            squeeze_channels=squeeze_of(in_channels, self.se_ratio) if self.se_ratio else 0,
            **shortcut,
        )

    @classmethod
    def from_blocks(cls, in_channels: int, run: "Sequence[Bottleneck]") -> Self:
        """Ratios and group width are the first block's."""
        block = run[0]
        return cls.like(
            run,
            reduce_ratio=block.reduce_channels / block.out_channels,
            mid_ratio=block.mid_channels / block.out_channels,
            group_width=block.reduce_channels // block.groups if block.groups > 1 else 0,
            se_ratio=block.squeeze_channels / in_channels,
        )

    def ratios(self) -> tuple[float | None, float | None]:
        """SE of the block's input; the channels inside are no multiple of the input's."""
        return None, self.se_ratio


class _Residual(Block):
    """What both kinds have: a shortcut, and an activation behind the sum."""

    __slots__ = ()
    removable: ClassVar[bool] = True
    kernel_shrinks: ClassVar[bool] = True

    out_channels: int
    stride: int
    activation: str
    projection: bool

    @property
    def skip(self) -> bool:
        """Whether the input itself is summed."""
        return not self.projection

    def check(self, in_channels: int) -> None:
        """The input itself is summed only with its own shape."""
        if self.skip and (self.stride != 1 or self.out_channels != in_channels):
            raise InvalidSpec(
                f"a shortcut without projection needs stride 1 and equal channels, got stride {self.stride} "
                f"for {in_channels} -> {self.out_channels}: set projection to true or mend the row"
            )

    def _sum(self, graph: GraphBuilder, name: str, start: int, channels: int, size: tuple[int, int]) -> None:
        """[shortcut,] add: the sum with layer `start`, whose output has `channels` channels and `size` pixels."""
        branch = graph.index
        if self.projection:
            graph.go_back(start, (channels, *size))
            graph.conv(name + ".shortcut", self.out_channels, 1, self.stride)
        graph.add(name + ".add", branch if self.projection else start, self.activation)


@register(row=BasicBlockRow)
@dataclass(frozen=True, slots=True, kw_only=True)
class BasicBlock(_Residual):
    """Two k x k convolutions with batch norm, summed with the shortcut (ResNet-18 and -34).

    Source: arXiv:1512.03385, Figure 5 (left). The first convolution has the stride. `projection`: the shortcut is a 1x1
    convolution with batch norm.
    """

    label: ClassVar[str] = "Basic"
    counts: ClassVar[Mapping[str, str]] = {"mid_channels": ".conv1", "out_channels": ".conv2"}

    mid_channels: int
    out_channels: int
    kernel: int = 3
    stride: int = 1
    activation: str = "relu"
    projection: bool = False

    def lower(self, graph: GraphBuilder, name: str) -> None:
        """conv1, conv2, [shortcut,] add."""
        start, (channels, *size) = graph.index, graph.shape
        graph.conv(name + ".conv1", self.mid_channels, self.kernel, self.stride, activation=self.activation)
        graph.conv(name + ".conv2", self.out_channels, self.kernel)
        self._sum(graph, name, start, channels, (size[0], size[1]))


@register(row=BottleneckRow)
@dataclass(frozen=True, slots=True, kw_only=True)
class Bottleneck(_Residual):
    """1x1 reduction, k x k convolution in groups, optional SE, 1x1 expansion, summed with the shortcut.

    Source: arXiv:1512.03385, Figure 5 (right), with the stride in the k x k convolution as in every later release;
    RegNet's X block is it with groups, its Y block with SE too (arXiv:2003.13678, Figure 4 and section 5).
    """

    label: ClassVar[str] = "Bottleneck"
    unused: ClassVar[Mapping[str, tuple[str, ...]]] = {"squeeze_channels": ("squeeze_activation", "gate")}

    reduce_channels: int
    mid_channels: int
    out_channels: int
    kernel: int = 3
    stride: int = 1
    groups: int = 1
    activation: str = "relu"
    squeeze_channels: int = 0
    squeeze_activation: str = "relu"
    gate: str = "sigmoid"
    projection: bool = False

    def check(self, in_channels: int) -> None:
        """The groups divide both sides, and the shortcut fits."""
        check_groups(self.groups, self.reduce_channels, self.mid_channels)
        _Residual.check(self, in_channels)

    def lower(self, graph: GraphBuilder, name: str) -> None:
        """reduce, conv, [squeeze,] expand, [shortcut,] add."""
        start, (channels, *size) = graph.index, graph.shape
        graph.conv(name + ".reduce", self.reduce_channels, activation=self.activation)
        graph.conv(name + ".conv", self.mid_channels, self.kernel, self.stride, self.groups, self.activation)
        if self.squeeze_channels:
            graph.se(name + ".squeeze", self.squeeze_channels, self.squeeze_activation, self.gate)
        graph.conv(name + ".expand", self.out_channels)
        self._sum(graph, name, start, channels, (size[0], size[1]))

    def channels(self, in_channels: int) -> CoupledChannels:
        """Depthwise where groups and both sides agree; then the groups are counted with them."""
        counts = {
            "reduce_channels": ".reduce",
            "mid_channels": ".conv",
            "squeeze_channels": ".squeeze",
            "out_channels": ".expand",
        }
        if self.groups == self.reduce_channels == self.mid_channels:
            return CoupledChannels(counts | {"groups": ".conv"}, depthwise=(".conv",))
        return CoupledChannels(counts, dense=(".conv",))

    def without_se(self) -> Self | None:
        """`squeeze_channels` 0."""
        return replace(self, squeeze_channels=0) if self.squeeze_channels else None
