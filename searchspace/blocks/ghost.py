"""GhostBottleneck, GhostNet's block, and its template row GhostRow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from searchspace.blocks.protocol import Block, Row, register
from searchspace.errors import InvalidSpec
from searchspace.layers import GraphBuilder
from searchspace.rounding import expand_of, scaled_width, squeeze_of

CHEAP_KERNEL = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class GhostRow(Row):
    """`repeats` GhostBottlenecks (arXiv:1911.11907, Table 1).

    Attributes:
        mid_width: Channels inside, scaled as `width` is; 0 for `mid_ratio` x the input's.
        se_ratio: Squeezed channels per channel inside, rounded to multiples of 4; 0 means no SE.
        projection: The first block has a projected shortcut even where its shape stays.
    """

    choices: ClassVar[tuple[str, ...] | None] = ("kernel", "activation")

    width: int
    mid_width: int = 0
    mid_ratio: float = 3.0
    kernel: int = 3
    se_ratio: float = 0.0
    se_divisor: int = 1
    activation: str = "relu"
    squeeze_activation: str = "relu"
    gate: str = "hard_sigmoid"
    projection: bool = False
    divisor: int = 4

    def blocks(self, in_channels: int, width_mult: float, repeats: int) -> list[Block]:
        """`repeats` GhostBottlenecks; the first has the stride and the change of width."""
        channels = scaled_width(self.width, width_mult, divisor=self.divisor)
        rows = [self._block(in_channels, channels, self.stride, width_mult)]
        return rows + [self._block(channels, channels, 1, width_mult, first=False) for _ in range(repeats - 1)]

    def _block(self, in_channels: int, channels: int, stride: int, width_mult: float, *, first: bool = True) -> Block:
        inner = 2 * max(1, round(expand_of(in_channels, self.mid_ratio) / 2))
        if self.mid_width:
            inner = scaled_width(self.mid_width, width_mult, divisor=self.divisor)
        return self.make(
            GhostBottleneck,
            mid_channels=inner,
            out_channels=channels,
            stride=stride,
            squeeze_channels=squeeze_of(inner, self.se_ratio, divisor=self.se_divisor) if self.se_ratio else 0,
            projection=stride > 1 or in_channels != channels or (first and self.projection),
        )

    @classmethod
    def from_blocks(cls, in_channels: int, run: "Sequence[GhostBottleneck]") -> Self:
        """The channels inside follow the width multiplier."""
        block = run[0]
        return cls.like(
            run, mid_width=block.mid_channels, se_ratio=block.squeeze_channels / block.mid_channels, se_divisor=1
        )

    def ratios(self) -> tuple[float | None, float | None]:
        """SE, of the channels inside."""
        return None, self.se_ratio


@register(row=GhostRow)
@dataclass(frozen=True, slots=True, kw_only=True)
class GhostBottleneck(Block):
    """Two Ghost modules, between them a depthwise convolution where there is a stride and an optional SE; then the sum.

    A Ghost module makes half of its channels by a 1x1 convolution and the other half of those by a 3x3 depthwise one.
    The shortcut is the input, or with `projection` a depthwise and a 1x1 convolution of it.
    Source: GhostNet (arXiv:1911.11907, Figures 2 and 3). Channels of both halves go together, so all counts are even.
    """

    label: ClassVar[str] = "Ghost"
    removable: ClassVar[bool] = True
    kernel_shrinks: ClassVar[bool] = True
    counts: ClassVar[Mapping[str, str]] = {
        "mid_channels": ".ghost1",
        "squeeze_channels": ".squeeze",
        "out_channels": ".ghost2",
    }
    depthwise: ClassVar[tuple[str, ...]] = (".cheap1", ".depthwise", ".cheap2", ".shortcut_depthwise")
    unused: ClassVar[Mapping[str, tuple[str, ...]]] = {"squeeze_channels": ("squeeze_activation", "gate")}

    mid_channels: int
    out_channels: int
    kernel: int = 3
    stride: int = 1
    activation: str = "relu"
    squeeze_channels: int = 0
    squeeze_activation: str = "relu"
    gate: str = "hard_sigmoid"
    projection: bool = False

    def __post_init__(self) -> None:
        Block.__post_init__(self)
        for field in ("mid_channels", "out_channels"):
            if getattr(self, field) % 2:
                raise InvalidSpec(
                    f"GhostBottleneck.{field} must be even (two equal halves), got {getattr(self, field)}: choose an "
                    "even number"
                )

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

    def lower(self, graph: GraphBuilder, name: str) -> None:
        """primary1, cheap1, ghost1; [depthwise, squeeze,] primary2, cheap2, ghost2; [shortcut of two layers,] add."""
        start, shape = graph.index, graph.shape
        self._ghost(graph, name, 1, self.mid_channels, self.activation)
        if self.stride > 1:
            graph.conv(f"{name}.depthwise", self.mid_channels, self.kernel, self.stride, self.mid_channels)
        if self.squeeze_channels:
            graph.se(f"{name}.squeeze", self.squeeze_channels, self.squeeze_activation, self.gate)
        self._ghost(graph, name, 2, self.out_channels, "identity")
        branch = graph.index
        if self.projection:
            graph.go_back(start, shape)
            graph.conv(f"{name}.shortcut_depthwise", shape[0], self.kernel, self.stride, shape[0])
            graph.conv(f"{name}.shortcut_project", self.out_channels)
        graph.add(f"{name}.add", branch if self.projection else start)

    @staticmethod
    def _ghost(graph: GraphBuilder, name: str, number: int, channels: int, activation: str) -> None:
        half = channels // 2
        graph.conv(f"{name}.primary{number}", half, activation=activation)
        primary = graph.index
        graph.conv(f"{name}.cheap{number}", half, CHEAP_KERNEL, groups=half, activation=activation)
        graph.concat(f"{name}.ghost{number}", primary)

    def with_smaller_kernel(self) -> Self | None:
        """Only a block with a stride or a projection has a layer of that kernel."""
        return Block.with_smaller_kernel(self) if self.projection else None

    def without_se(self) -> Self | None:
        """`squeeze_channels` 0."""
        return replace(self, squeeze_channels=0) if self.squeeze_channels else None
