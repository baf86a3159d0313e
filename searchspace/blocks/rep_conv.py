"""RepConv, RepVGG's and MobileOne's convolution of parallel branches, and its template row RepConvRow."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from searchspace.blocks.protocol import Block, CoupledChannels, Row, register
from searchspace.blocks.rules import check_groups
from searchspace.errors import InvalidSpec
from searchspace.layers import GraphBuilder
from searchspace.rounding import scaled_width, squeeze_of


@dataclass(frozen=True, slots=True, kw_only=True)
class RepConvRow(Row):
    """`repeats` RepConvs, or with `separable` pairs of them: depthwise k x k and 1x1, as in MobileOne.

    Attributes:
        branches, pointwise: As RepConv's. A pair's 1x1 has no pointwise branch.
        skip: A block has a branch of the input alone wherever its shape stays.
        group_width: Input channels per group: 0 for an ungrouped convolution, 1 for a depthwise one.
        se_ratio: Squeezed channels per output channel; 0 means no SE.
    """

    choices: ClassVar[tuple[str, ...] | None] = ("kernel", "activation")

    width: int
    kernel: int = 3
    branches: int = 1
    pointwise: bool = True
    skip: bool = True
    separable: bool = False
    group_width: int = 0
    se_ratio: float = 0.0
    squeeze_activation: str = "relu"
    gate: str = "sigmoid"
    activation: str = "relu"
    divisor: int = 8

    def blocks(self, in_channels: int, width_mult: float, repeats: int) -> list[Block]:
        """`repeats` RepConvs or pairs; the first has the stride and the change of width."""
        channels = scaled_width(self.width, width_mult, divisor=self.divisor)
        found: list[Block] = []
        for index in range(repeats):
            stride = 1 if index else self.stride
            if self.separable:
                found.append(self._block(in_channels, in_channels, stride, groups=in_channels))
                found.append(self._block(in_channels, channels, 1, kernel=1, pointwise=False))
            else:
                groups = max(1, round(in_channels / self.group_width)) if self.group_width else 1
                found.append(self._block(in_channels, channels, stride, groups=math.gcd(in_channels, channels, groups)))
            in_channels = channels
        return found

    def _block(self, in_channels: int, channels: int, stride: int, **changes: Any) -> Block:
        return self.make(
            RepConv,
            out_channels=channels,
            stride=stride,
            skip=self.skip and (not self.branches or (stride == 1 and in_channels == channels)),
            squeeze_channels=squeeze_of(channels, self.se_ratio) if self.se_ratio else 0,
            **changes,
        )

    @classmethod
    def from_blocks(cls, in_channels: int, run: "Sequence[RepConv]") -> Self:
        """A pair is two rows."""
        block = run[0]
        inputs = (in_channels, *(each.out_channels for each in run[:-1]))
        pairs = zip(inputs, run, strict=True)
        could = [each for channels, each in pairs if not block.branches or (channels, 1) == each.shape]
        return cls.like(
            run,
            skip=all(each.skip for each in could),
            group_width=in_channels // block.groups if block.groups > 1 else 0,
            se_ratio=block.squeeze_channels / block.out_channels,
        )

    def ratios(self) -> tuple[float | None, float | None]:
        """SE, of the output."""
        return None, self.se_ratio


@register(row=RepConvRow)
@dataclass(frozen=True, slots=True, kw_only=True)
class RepConv(Block):
    """A sum of parallel branches with a batch norm each, optional SE and an activation behind it; deployed as one conv.

    The branches: `branches` k x k convolutions, a 1x1 convolution where `pointwise`, a batch norm of the input alone
    where `skip`. `branches` 0 is the deployed form: one convolution with a bias. Both forms lower to that one
    convolution, which is what is timed and exported; parameters and MACs are counted for the form that it is. It is
    always padded by (kernel - 1) / 2 on every side, since a 1x1 convolution is the middle of a larger kernel only so.
    Sources: RepVGG (arXiv:2101.03697, section 3.2), MobileOne (arXiv:2206.04040, section 3.3).
    """

    removable: ClassVar[bool] = True
    kernel_shrinks: ClassVar[bool] = True
    unused: ClassVar[dict[str, tuple[str, ...]]] = {
        "branches": ("pointwise", "skip"),
        "squeeze_channels": ("squeeze_activation", "gate"),
    }

    out_channels: int
    kernel: int = 3
    stride: int = 1
    groups: int = 1
    branches: int = 0
    pointwise: bool = False
    skip: bool = False
    squeeze_channels: int = 0
    squeeze_activation: str = "relu"
    gate: str = "sigmoid"
    activation: str = "relu"

    @property
    def shape(self) -> tuple[int, int]:
        """(input channels, stride) of a block of as many channels that could have a skip."""
        return self.out_channels, self.stride

    def check(self, in_channels: int) -> None:
        """The groups divide both sides, and the input alone has the output's shape."""
        check_groups(self.groups, in_channels, self.out_channels)
        if self.branches and self.skip and (in_channels, 1) != self.shape:
            raise InvalidSpec(
                f"a branch of the input alone needs stride 1 and equal channels, got stride {self.stride} for "
                f"{in_channels} -> {self.out_channels}: set skip to false or mend the row"
            )

    def lower(self, graph: GraphBuilder, name: str) -> None:
        """conv, [squeeze, act]."""
        inside = "identity" if self.squeeze_channels else self.activation
        graph.conv(
            f"{name}.conv",
            self.out_channels,
            self.kernel,
            self.stride,
            self.groups,
            inside,
            "centred",
            norm=self.branches > 0,
        )
        if self.branches:
            weights = self.branches * self.kernel**2 + self.pointwise
            graph.weigh(branches=weights, vectors=2 * (self.branches + self.pointwise + self.skip))
        if self.squeeze_channels:
            graph.se(f"{name}.squeeze", self.squeeze_channels, self.squeeze_activation, self.gate)
            if self.activation != "identity":
                graph.pointwise(f"{name}.act", self.activation)

    def channels(self, in_channels: int) -> CoupledChannels:
        """Depthwise where groups, input and output agree; else a skip ties input and output."""
        counts = {"out_channels": ".conv", "squeeze_channels": ".squeeze"}
        if self.groups == in_channels == self.out_channels:
            return CoupledChannels(counts | {"groups": ".conv"}, depthwise=(".conv",))
        tied = {".conv": None} if self.branches and self.skip else {}
        return CoupledChannels(counts, dense=(".conv",), tied=tied)

    def without_se(self) -> Self | None:
        """`squeeze_channels` 0."""
        return replace(self, squeeze_channels=0) if self.squeeze_channels else None

    def deployed(self) -> Self:
        """One convolution with a bias."""
        return replace(self, branches=0, pointwise=False, skip=False)

    def printed(self) -> str:
        """Groups behind a stroke, where there are several; "conv" for the deployed form."""
        kind = "Rep" if self.branches else "conv"
        return kind if self.groups == 1 else f"{kind}/{self.groups}"
