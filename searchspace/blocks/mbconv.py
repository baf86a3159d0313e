"""Inverted residuals: MBConv, SeparableConv (without expansion), and their template row MBConvRow.

They share a file because they share a row: in the papers' tables an expansion ratio of 1 leaves the expansion out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from searchspace.blocks.activations import SEARCHED
from searchspace.blocks.protocol import Block, Row, Value, register
from searchspace.errors import InvalidSpec
from searchspace.layers import GraphBuilder
from searchspace.rounding import expand_of, expand_ratio_of, scaled_width, squeeze_of

Pairs = list[tuple[int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class MBConvRow(Row):
    """`repeats` MBConv blocks; `expand_ratio` 1 leaves the expansion out (SeparableConv), as the papers' MBConv1.

    Attributes:
        se_ratio: Of the block's input (MnasNet, EfficientNet) or, with `se_of_expanded`, of its expanded channels
            (MobileNetV3); 0 means no SE.
        expand_divisor, se_divisor: Expanded and squeezed channels are multiples of them (MobileNetV3: 8).
        expand_width: Where it is not 0, an expansion of its own that is scaled as `width` is (torchvision's
            MobileNetV3); `expand_ratio` then says no more than whether there is one.
        skip: Every block whose stride is 1 and whose channels match has the residual sum.
        keep_expansion: Keeps a 1x1 expansion at ratio 1 (a network pruned to it).
        project_activation: Belongs to blocks without expansion.
        nearest: Widths are scaled as EfficientNetV2's (`round_channels`).
    """

    choices: ClassVar[tuple[str, ...] | None] = ("expand_ratio", "kernel", "se", "activation")

    expand_ratio: float
    width: int
    expand_width: int = 0
    expand_divisor: int = 1
    se_of_expanded: bool = False
    se_divisor: int = 1
    kernel: int = 3
    se_ratio: float = 0.0
    activation: str = "relu"
    squeeze_activation: str = "relu"
    gate: str = "sigmoid"
    skip: bool = True
    keep_expansion: bool = False
    project_activation: str = "identity"
    divisor: int = 8
    nearest: bool = False

    def blocks(self, in_channels: int, width_mult: float, repeats: int) -> list[Block]:
        """`repeats` MBConv (or SeparableConv) rows; the first has the stride and the change of width."""
        channels = scaled_width(self.width, width_mult, divisor=self.divisor, nearest=self.nearest)
        rows = [self._block(in_channels, channels, self.stride, width_mult)]
        if repeats > 1:
            rows += [self._block(channels, channels, 1, width_mult)] * (repeats - 1)
        return rows

    def _block(self, in_channels: int, channels: int, stride: int, width_mult: float) -> Block:
        bare = self.expand_ratio == 1 and not self.keep_expansion
        expanded = in_channels
        if self.expand_width and not bare:
            expanded = scaled_width(self.expand_width, width_mult, divisor=self.divisor)
        elif not bare:
            expanded = expand_of(in_channels, self.expand_ratio, divisor=self.expand_divisor)
        squeeze = 0
        if self.se_ratio:
            squeezed = expanded if self.se_of_expanded else in_channels
            squeeze = squeeze_of(squeezed, self.se_ratio, divisor=self.se_divisor)
        skip = self.skip and stride == 1 and in_channels == channels
        kind: type[Any] = SeparableConv if bare else MBConv
        own = {"project_activation": self.project_activation} if bare else {"expand_channels": expanded}
        block: Block = kind(  # in full: `make` takes twice as long, and decoding is little else
            out_channels=channels,
            kernel=self.kernel,
            stride=stride,
            activation=self.activation,
            squeeze_channels=squeeze,
            squeeze_activation=self.squeeze_activation,
            gate=self.gate,
            skip=skip,
            **own,
        )
        return block

    @classmethod
    def from_blocks(cls, in_channels: int, run: Sequence[Any]) -> Self:
        """Ratios that explain every block of the run's kind."""
        block = run[0]
        inputs = (in_channels, *(each.channels_after(0) for each in run[:-1]))
        inside = [(c, b) for c, b in zip(inputs, run, strict=True) if isinstance(b, type(block))]
        expanded = isinstance(block, MBConv)
        ratio = expand_ratio_of([(c, b.expand_channels) for c, b in inside if expanded])
        # A block that could have no skip does not say whether its row has them; one that could and has none does.
        refused = any(b.stride == 1 and b.out_channels == c and not b.skip for c, b in inside)
        se_ratio = _se_ratio([(c, b.squeeze_channels) for c, b in inside])
        keep_expansion = ratio == 1 and expanded
        return cls.like(run, expand_ratio=ratio, keep_expansion=keep_expansion, se_ratio=se_ratio, skip=not refused)

    def ratios(self) -> tuple[float | None, float | None]:
        """Both, SE of the block's input in a row that `from_blocks` made."""
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
        return {"kernel": block.kernel, "se": bool(block.squeeze_channels), "activation": block.activation}


def _se_ratio(pairs: Pairs) -> float:
    """The reciprocal of an integer that explains all (input, squeezed) channels, or the quotient; 0 for no SE."""
    channels, squeezed = max(pairs)
    if not 0 < squeezed <= channels:
        return squeezed / channels
    ratio = 1 / (channels // squeezed)
    return ratio if all(squeeze_of(c, ratio) == s for c, s in pairs) else squeezed / channels


def check_skip(block: Any, in_channels: int) -> None:
    """Raises InvalidSpec where a block with a skip does not keep its shape: a skip sums equal ones."""
    if block.skip and (block.stride != 1 or block.out_channels != in_channels):
        raise InvalidSpec(
            f"a skip needs stride 1 and equal channels, got stride {block.stride} "
            f"for {in_channels} -> {block.out_channels}: set skip to false or mend the row"
        )


class _InvertedResidual(Block):
    """What both kinds have: a depthwise convolution, an SE block and a skip where the row says so, a 1x1 projection."""

    __slots__ = ()
    removable: ClassVar[bool] = True
    kernel_shrinks: ClassVar[bool] = True
    depthwise: ClassVar[tuple[str, ...]] = (".depthwise",)
    unused: ClassVar[Mapping[str, tuple[str, ...]]] = {"squeeze_channels": ("squeeze_activation", "gate")}

    out_channels: int
    kernel: int
    stride: int
    activation: str
    squeeze_channels: int
    squeeze_activation: str
    gate: str
    skip: bool

    def check(self, in_channels: int) -> None:
        """A skip sums equal shapes."""
        check_skip(self, in_channels)

    def _lower(self, graph: GraphBuilder, name: str, start: int, channels: int, project_activation: str) -> None:
        """Depthwise, [squeeze], project, [add to layer `start`], `channels` wide inside."""
        graph.conv(name + ".depthwise", channels, self.kernel, self.stride, groups=channels, activation=self.activation)
        if self.squeeze_channels:
            graph.se(name + ".squeeze", self.squeeze_channels, self.squeeze_activation, self.gate)
        graph.conv(name + ".project", self.out_channels, activation=project_activation)
        if self.skip:
            graph.add(name + ".add", start)

    def without_se(self) -> Self | None:
        """`squeeze_channels` 0."""
        none: dict[str, Any] = {"squeeze_channels": 0}
        return replace(self, **none) if self.squeeze_channels else None


@register(row=MBConvRow)
@dataclass(frozen=True, slots=True, kw_only=True)
class MBConv(_InvertedResidual):
    """Inverted residual: 1x1 expansion, depthwise, optional SE, linear 1x1 projection, optional skip.

    Source: MobileNetV2 (arXiv:1801.04381, Table 1); SE after the depthwise as in MnasNet (arXiv:1807.11626).
    `squeeze_channels` = 0 means no SE.
    """

    prints_ratio: ClassVar[bool] = True
    counts: ClassVar[Mapping[str, str]] = {
        "expand_channels": ".expand",
        "squeeze_channels": ".squeeze",
        "out_channels": ".project",
    }

    expand_channels: int
    out_channels: int
    kernel: int = 3
    stride: int = 1
    activation: str = "relu"
    squeeze_channels: int = 0
    squeeze_activation: str = "relu"
    gate: str = "sigmoid"
    skip: bool = False

    def lower(self, graph: GraphBuilder, name: str) -> None:
        """expand, depthwise, [squeeze], project, [add]."""
        start, channels = graph.index, self.expand_channels
        graph.conv(name + ".expand", channels, activation=self.activation)
        self._lower(graph, name, start, channels, "identity")


@register(row=MBConvRow)
@dataclass(frozen=True, slots=True, kw_only=True)
class SeparableConv(_InvertedResidual):
    """Depthwise, optional SE, 1x1 projection: MnasNet's SepConv and EfficientNet's MBConv1.

    `project_activation` is "identity" there and an activation in MobileNetV1 (arXiv:1704.04861, Table 1).
    """

    label: ClassVar[str] = "SepConv"
    counts: ClassVar[Mapping[str, str]] = {"squeeze_channels": ".squeeze", "out_channels": ".project"}

    out_channels: int
    kernel: int = 3
    stride: int = 1
    activation: str = "relu"
    project_activation: str = "identity"
    squeeze_channels: int = 0
    squeeze_activation: str = "relu"
    gate: str = "sigmoid"
    skip: bool = False

    def lower(self, graph: GraphBuilder, name: str) -> None:
        """depthwise, [squeeze], project, [add]."""
        self._lower(graph, name, graph.index, graph.shape[0], self.project_activation)
