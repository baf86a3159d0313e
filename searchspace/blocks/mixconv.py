"""MixConv, MixNet's inverted residual with depthwise kernels of several sizes, and its template row MixConvRow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from searchspace.blocks.activations import SEARCHED
from searchspace.blocks.protocol import Block, CoupledChannels, Row, Value, register
from searchspace.blocks.rules import check_groups
from searchspace.errors import InvalidSpec
from searchspace.layers import GraphBuilder
from searchspace.rounding import expand_of, scaled_width, squeeze_of


@dataclass(frozen=True, slots=True, kw_only=True)
class MixConvRow(Row):
    """`repeats` MixConvs (arXiv:1907.09595, Figure 4).

    Attributes:
        kernels: How many sizes of kernels: 3x3, 5x5, 7x7 and so on.
        expand_groups, project_groups: Of the 1x1 convolutions; scaling keeps what divides the new channels.
        se_ratio: Squeezed channels per channel of the block's input; 0 means no SE.
    """

    choices: ClassVar[tuple[str, ...] | None] = ("expand_ratio", "kernels", "se", "activation")

    width: int
    expand_ratio: float
    kernels: int = 1
    expand_groups: int = 1
    project_groups: int = 1
    se_ratio: float = 0.0
    activation: str = "relu"
    squeeze_activation: str = "relu"
    gate: str = "sigmoid"
    skip: bool = True
    divisor: int = 8

    def blocks(self, in_channels: int, width_mult: float, repeats: int) -> list[Block]:
        """`repeats` MixConvs; the first has the stride and the change of width."""
        channels = scaled_width(self.width, width_mult, divisor=self.divisor)
        rows = [self._block(in_channels, channels, self.stride)]
        return rows + [self._block(channels, channels, 1) for _ in range(repeats - 1)]

    def _block(self, in_channels: int, channels: int, stride: int) -> Block:
        expanded = max(self.kernels, expand_of(in_channels, self.expand_ratio))
        return self.make(
            MixConv,
            expand_channels=expanded,
            out_channels=channels,
            stride=stride,
            expand_groups=_dividing(self.expand_groups, in_channels, expanded),
            project_groups=_dividing(self.project_groups, expanded, channels),
            squeeze_channels=squeeze_of(in_channels, self.se_ratio) if self.se_ratio else 0,
            skip=self.skip and stride == 1 and in_channels == channels,
        )

    @classmethod
    def from_blocks(cls, in_channels: int, run: "Sequence[MixConv]") -> Self:
        """The first block's ratios."""
        block = run[0]
        inputs = (in_channels, *(each.out_channels for each in run[:-1]))
        pairs = zip(inputs, run, strict=True)
        refused = any(b.stride == 1 and b.out_channels == c and not b.skip for c, b in pairs)
        return cls.like(
            run,
            expand_ratio=block.expand_channels / in_channels,
            se_ratio=block.squeeze_channels / in_channels,
            skip=not refused,
        )

    def ratios(self) -> tuple[float | None, float | None]:
        """Both of the block's input."""
        return self.expand_ratio, self.se_ratio

    @classmethod
    def from_choices(cls, chosen: Mapping[str, Any], *, width: int, stride: int, repeats: int, se_ratio: float) -> Self:
        """SE squeezes to `se_ratio` of the input, with the inner activation and gate that go with the activation."""
        given = dict(chosen)
        given["se_ratio"] = se_ratio if given.pop("se") else 0.0
        given["squeeze_activation"], given["gate"] = SEARCHED[chosen["activation"]]
        return cls(width=width, stride=stride, repeats=repeats, **given)

    @classmethod
    def choices_of(cls, block: Any) -> dict[str, Value]:
        """All but the expansion ratio, which rounding hides."""
        return {"kernels": block.kernels, "se": bool(block.squeeze_channels), "activation": block.activation}


def _dividing(groups: int, in_channels: int, channels: int) -> int:
    """The most groups up to `groups` that divide both sides."""
    return next(each for each in range(groups, 0, -1) if in_channels % each == channels % each == 0)


@register(row=MixConvRow)
@dataclass(frozen=True, slots=True, kw_only=True)
class MixConv(Block):
    """1x1 expansion, depthwise convolutions of `kernels` sizes side by side, optional SE, linear 1x1, optional skip.

    The expanded channels are cut into as many equal parts (the first takes what is left over); part i has a kernel of
    3 + 2 i. Source: MixNet (arXiv:1907.09595, section 3) as released in tensorflow/tpu, with its 1x1 convolutions in
    groups.
    """

    label: ClassVar[str] = "MixConv/{0.kernels}"
    prints_ratio: ClassVar[bool] = True
    removable: ClassVar[bool] = True
    unused: ClassVar[Mapping[str, tuple[str, ...]]] = {"squeeze_channels": ("squeeze_activation", "gate")}

    expand_channels: int
    out_channels: int
    kernels: int = 1
    stride: int = 1
    expand_groups: int = 1
    project_groups: int = 1
    activation: str = "relu"
    squeeze_channels: int = 0
    squeeze_activation: str = "relu"
    gate: str = "sigmoid"
    skip: bool = False

    def __post_init__(self) -> None:
        Block.__post_init__(self)
        if self.kernels > self.expand_channels:
            raise InvalidSpec(
                f"each kernel needs a channel, got {self.kernels} kernels for {self.expand_channels} expanded "
                "channels: choose fewer kernels"
            )

    @property
    def kernel(self) -> int:
        """The largest."""
        return 2 * self.kernels + 1

    @property
    def parts(self) -> list[int]:
        """The channels of each kernel, the smallest kernel first."""
        share, rest = divmod(self.expand_channels, self.kernels)
        return [share + rest, *[share] * (self.kernels - 1)]

    def check(self, in_channels: int) -> None:
        """The groups divide both sides, and a skip sums equal shapes."""
        check_groups(self.expand_groups, in_channels, self.expand_channels)
        check_groups(self.project_groups, self.expand_channels, self.out_channels)
        if self.skip and (self.stride != 1 or self.out_channels != in_channels):
            raise InvalidSpec(
                f"a skip needs stride 1 and equal channels, got stride {self.stride} "
                f"for {in_channels} -> {self.out_channels}: set skip to false or mend the row"
            )

    def lower(self, graph: GraphBuilder, name: str) -> None:
        """expand; part and depthwise of each kernel, concat; [squeeze,] project, [add]."""
        start = graph.index
        graph.conv(f"{name}.expand", self.expand_channels, groups=self.expand_groups, activation=self.activation)
        whole, shape, done, first = graph.index, graph.shape, [], 0
        for index, channels in enumerate(self.parts):
            graph.go_back(whole, shape)
            if self.kernels > 1:
                graph.slice(f"{name}.part{index}", first, channels)
            kernel = 3 + 2 * index
            graph.conv(f"{name}.depthwise{index}", channels, kernel, self.stride, channels, self.activation)
            first += channels
            done.append(graph.index)
        if self.kernels > 1:
            graph.concat(f"{name}.concat", *done[:-1])
        if self.squeeze_channels:
            graph.se(f"{name}.squeeze", self.squeeze_channels, self.squeeze_activation, self.gate)
        graph.conv(f"{name}.project", self.out_channels, groups=self.project_groups)
        if self.skip:
            graph.add(f"{name}.add", start)

    def channels(self, in_channels: int) -> CoupledChannels:
        """The expanded channels are taken by position where there are several kernels."""
        counts = {"expand_channels": ".expand", "squeeze_channels": ".squeeze", "out_channels": ".project"}
        return CoupledChannels(counts, depthwise=tuple(f".depthwise{index}" for index in range(self.kernels)))

    def without_se(self) -> Self | None:
        """`squeeze_channels` 0."""
        return replace(self, squeeze_channels=0) if self.squeeze_channels else None
