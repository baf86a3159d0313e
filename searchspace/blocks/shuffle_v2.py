"""ShuffleNetV2's ShuffleUnitV2 and its template row ShuffleV2Row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from searchspace.blocks.protocol import Block, Row, register
from searchspace.errors import InvalidSpec
from searchspace.layers import GraphBuilder
from searchspace.rounding import scaled_width


@dataclass(frozen=True, slots=True, kw_only=True)
class ShuffleV2Row(Row):
    """`repeats` ShuffleNetV2 units (arXiv:1807.11164, Table 5); the branch inside is `mid_ratio` x the output wide.

    With stride 1 the channels stay the input's.
    """

    choices: ClassVar[tuple[str, ...] | None] = ("kernel", "activation")

    width: int
    mid_ratio: float = 0.5
    kernel: int = 3
    activation: str = "relu"
    divisor: int = 2

    def blocks(self, in_channels: int, width_mult: float, repeats: int) -> list[Block]:
        """`repeats` ShuffleUnitV2 rows; the first has the stride and the change of width."""
        channels = in_channels if self.stride == 1 else scaled_width(self.width, width_mult, divisor=self.divisor)
        inner = max(1, round(channels * self.mid_ratio))
        return [
            self.make(ShuffleUnitV2, mid_channels=inner, out_channels=channels, stride=1 if index else self.stride)
            for index in range(repeats)
        ]

    @classmethod
    def from_blocks(cls, in_channels: int, run: "Sequence[ShuffleUnitV2]") -> Self:
        """The ratio is the first unit's."""
        return cls.like(run, mid_ratio=run[0].mid_channels / run[0].out_channels)


@register(row=ShuffleV2Row)
@dataclass(frozen=True, slots=True, kw_only=True)
class ShuffleUnitV2(Block):
    """ShuffleNetV2's unit: two branches of half the channels, concatenated and shuffled in two groups.

    One branch passes its half of the input on (stride 1) or is depthwise and 1x1 (larger stride); the other is 1x1,
    depthwise, 1x1, and `mid_channels` wide inside. It cannot be removed, since it hands half of its channels on to
    other places. Source: arXiv:1807.11164, Figure 3 (c), (d).
    """

    label: ClassVar[str] = "ShuffleV2"
    counts: ClassVar[Mapping[str, str]] = {"mid_channels": ".expand", "out_channels": ".shuffle"}
    depthwise: ClassVar[tuple[str, ...]] = (".depthwise", ".shortcut_depthwise")
    kernel_shrinks: ClassVar[bool] = True

    mid_channels: int
    out_channels: int
    kernel: int = 3
    stride: int = 1
    activation: str = "relu"

    def __post_init__(self) -> None:
        Block.__post_init__(self)
        if self.out_channels % 2:
            raise InvalidSpec(f"ShuffleUnitV2.out_channels must be even (two equal halves), got {self.out_channels}")

    def check(self, in_channels: int) -> None:
        """With stride 1 the channels stay."""
        if self.stride == 1 and self.out_channels != in_channels:
            raise InvalidSpec(
                "a ShuffleUnitV2 of stride 1 passes half of its input on, so its channels stay; got "
                f"{in_channels} -> {self.out_channels}"
            )

    def lower(self, graph: GraphBuilder, name: str) -> None:
        """keep, or shortcut_depthwise and shortcut_project; [work,] expand, depthwise, project; concat; shuffle."""
        start, shape = graph.index, graph.shape
        half = self.out_channels // 2
        if self.stride > 1:
            graph.conv(name + ".shortcut_depthwise", shape[0], self.kernel, self.stride, shape[0], "identity")
            graph.conv(name + ".shortcut_project", half, 1, 1, 1, self.activation)
        else:
            graph.slice(name + ".keep", 0, half)
        kept = graph.index
        graph.go_back(start, shape)
        if self.stride == 1:
            graph.slice(name + ".work", half, half)
        graph.conv(name + ".expand", self.mid_channels, 1, 1, 1, self.activation)
        graph.conv(name + ".depthwise", self.mid_channels, self.kernel, self.stride, self.mid_channels, "identity")
        graph.conv(name + ".project", half, 1, 1, 1, self.activation)
        graph.concat(name + ".concat", kept)
        graph.shuffle(name + ".shuffle", 2)
