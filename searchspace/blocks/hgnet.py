"""PP-HGNetV2's stem, block and head: HGStem, HGBlock, AffineClassifier, and their template rows.

They share a file because they share what no other network has: a learnable scale and shift, one number each, behind
every activation ("affine" here, LearnableAffineBlock in the released code). Source: PaddleClas, pp_hgnet_v2.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from searchspace.blocks.protocol import Block, CoupledChannels, Head, HeadRow, Row, register
from searchspace.errors import InvalidSpec
from searchspace.layers import GraphBuilder
from searchspace.rounding import scaled_width


@dataclass(frozen=True, slots=True, kw_only=True)
class HGStemRow(Row):
    """The stem; its five widths are scaled."""

    width: int
    first_width: int
    branch_width: int
    side_width: int
    merge_width: int
    activation: str = "relu"
    affine: bool = True
    divisor: int = 8
    grows_deeper: bool = False

    def blocks(self, in_channels: int, width_mult: float, repeats: int) -> list[Block]:
        """The HGStem rows."""
        widths = self.first_width, self.branch_width, self.side_width, self.merge_width, self.width
        first, branch, side, merge, out = (scaled_width(width, width_mult, divisor=self.divisor) for width in widths)
        row = self.make(
            HGStem,
            first_channels=first,
            branch_channels=branch,
            side_channels=side,
            merge_channels=merge,
            out_channels=out,
        )
        return [row] * repeats

    @classmethod
    def from_blocks(cls, in_channels: int, run: "Sequence[HGStem]") -> Self:
        """The widths are the channels."""
        row = run[0]
        return cls.like(
            run,
            first_width=row.first_channels,
            branch_width=row.branch_channels,
            side_width=row.side_channels,
            merge_width=row.merge_channels,
        )


@register(row=HGStemRow)
@dataclass(frozen=True, slots=True, kw_only=True)
class HGStem(Block):
    """3x3 of stride 2; then 2x2 max pooling beside two 2x2 convolutions, concatenated; 3x3 of stride 2; 1x1.

    The 2x2 windows reach one pixel over the right and the lower edge, where the map is zero.
    """

    kernel: ClassVar[int] = 3  # the largest
    counts: ClassVar[Mapping[str, str]] = {
        "first_channels": ".first",
        "branch_channels": ".branch",
        "side_channels": ".side",
        "merge_channels": ".merge",
        "out_channels": ".last",
    }

    first_channels: int
    branch_channels: int
    side_channels: int
    merge_channels: int
    out_channels: int
    activation: str = "relu"
    affine: bool = True

    @property
    def reduction(self) -> int:
        """Two strides of 2."""
        return 4

    def lower(self, graph: GraphBuilder, name: str) -> None:
        """first; pad, branch, pad_branch, side; pool of the padded; concat; merge; last. Each conv has its affine."""
        self._conv(graph, f"{name}.first", self.first_channels, 3, 2)
        graph.pad(f"{name}.pad")
        padded, shape = graph.index, graph.shape
        self._conv(graph, f"{name}.branch", self.branch_channels, 2, 1, "valid")
        graph.pad(f"{name}.pad_branch")
        self._conv(graph, f"{name}.side", self.side_channels, 2, 1, "valid")
        side, side_shape = graph.index, graph.shape
        graph.go_back(padded, shape)
        graph.spatial_pool(f"{name}.pool", "maxpool", 2, 1, "valid")
        pooled = graph.index
        graph.go_back(side, side_shape)
        graph.concat(f"{name}.concat", pooled)
        self._conv(graph, f"{name}.merge", self.merge_channels, 3, 2)
        self._conv(graph, f"{name}.last", self.out_channels)

    def _conv(
        self, graph: GraphBuilder, name: str, channels: int, kernel: int = 1, stride: int = 1, padding: str = "half"
    ) -> None:
        graph.conv(name, channels, kernel, stride, activation=self.activation, padding=padding)
        if self.affine:
            graph.affine(f"{name}_affine")


@dataclass(frozen=True, slots=True, kw_only=True)
class HGBlockRow(Row):
    """`repeats` HGBlocks; all but the first have a skip, and the first where `skip` says so."""

    width: int
    mid_width: int
    layers: int
    reduce_ratio: float = 0.5
    kernel: int = 3
    light: bool = False
    skip: bool = False
    activation: str = "relu"
    affine: bool = True
    divisor: int = 8

    def blocks(self, in_channels: int, width_mult: float, repeats: int) -> list[Block]:
        """`repeats` HGBlocks; the first has the change of width."""
        channels = scaled_width(self.width, width_mult, divisor=self.divisor)
        inner = scaled_width(self.mid_width, width_mult, divisor=self.divisor)
        shared = {
            "mid_channels": inner,
            "reduce_channels": max(1, round(channels * self.reduce_ratio)),
            "out_channels": channels,
        }
        first = self.make(HGBlock, **shared, skip=self.skip and in_channels == channels)
        return [first, *[self.make(HGBlock, **shared, skip=True)] * (repeats - 1)]

    @classmethod
    def from_blocks(cls, in_channels: int, run: "Sequence[HGBlock]") -> Self:
        """The widths are the channels."""
        row = run[0]
        return cls.like(run, mid_width=row.mid_channels, reduce_ratio=row.reduce_channels / row.out_channels)


@register(row=HGBlockRow)
@dataclass(frozen=True, slots=True, kw_only=True)
class HGBlock(Block):
    """`layers` convolutions one behind the other, all concatenated behind the input; two 1x1 convolutions; skip.

    `light`: each of the convolutions is a linear 1x1 and a depthwise one. They have the same `mid_channels`, which go
    together: channel i of one is pruned with channel i of all.
    """

    label: ClassVar[str] = "HG/{0.layers}"
    removable: ClassVar[bool] = True
    kernel_shrinks: ClassVar[bool] = True

    mid_channels: int
    reduce_channels: int
    out_channels: int
    layers: int
    kernel: int = 3
    light: bool = False
    skip: bool = False
    activation: str = "relu"
    affine: bool = True

    def check(self, in_channels: int) -> None:
        """A skip sums equal shapes."""
        if self.skip and self.out_channels != in_channels:
            raise InvalidSpec(
                f"a skip needs equal channels, got {in_channels} -> {self.out_channels}: set skip to false or mend the "
                "row"
            )

    def lower(self, graph: GraphBuilder, name: str) -> None:
        """Layer (and depthwise) of each number, concat, reduce, expand, [add]; an affine behind each activation."""
        start, done = graph.index, [graph.index]
        for index in range(self.layers):
            if self.light:
                graph.conv(f"{name}.layer{index}", self.mid_channels)
                graph.conv(
                    f"{name}.depthwise{index}",
                    self.mid_channels,
                    self.kernel,
                    groups=self.mid_channels,
                    activation=self.activation,
                )
            else:
                graph.conv(f"{name}.layer{index}", self.mid_channels, self.kernel, activation=self.activation)
            self._affine(graph, f"{name}.affine{index}")
            done.append(graph.index)
        graph.concat(f"{name}.concat", *done[:-1])
        graph.conv(f"{name}.reduce", self.reduce_channels, activation=self.activation)
        self._affine(graph, f"{name}.reduce_affine")
        graph.conv(f"{name}.expand", self.out_channels, activation=self.activation)
        self._affine(graph, f"{name}.expand_affine")
        if self.skip:
            graph.add(f"{name}.add", start)

    def _affine(self, graph: GraphBuilder, name: str) -> None:
        if self.affine:
            graph.affine(name)

    def channels(self, in_channels: int) -> CoupledChannels:
        """One field counts the channels of all layers."""
        return CoupledChannels(
            {"mid_channels": ".layer0", "reduce_channels": ".reduce", "out_channels": ".expand"},
            depthwise=tuple(f".depthwise{index}" for index in range(self.layers)) if self.light else (),
            tied={f".layer{index}": ".layer0" for index in range(1, self.layers)},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AffineClassifierRow(HeadRow):
    """The head; its hidden layer follows the width multiplier where `scales`."""

    hidden_width: int
    hidden_activation: str = "relu"
    affine: bool = True
    scales: bool = True

    def blocks(self, in_channels: int, width_mult: float, repeats: int) -> list[Block]:
        """The one AffineClassifier row."""
        hidden = scaled_width(self.hidden_width, width_mult, scaling="width" if self.scales else "fixed")
        return [self.make(AffineClassifier, hidden_features=hidden)]

    @classmethod
    def from_blocks(cls, in_channels: int, run: "Sequence[AffineClassifier]") -> Self:
        """Its hidden layer follows the width multiplier."""
        return cls.like(run, hidden_width=run[0].hidden_features)


@register(row=AffineClassifierRow)
@dataclass(frozen=True, slots=True, kw_only=True)
class AffineClassifier(Head):
    """Global average pooling, hidden layer without bias, activation, affine, dropout, linear layer with bias."""

    counts: ClassVar[Mapping[str, str]] = {"hidden_features": ".hidden", "classes": ".linear"}

    hidden_features: int
    hidden_activation: str = "relu"
    affine: bool = True

    def lower(self, graph: GraphBuilder, name: str) -> None:
        """pool, hidden, [affine,] linear."""
        graph.pool(f"{name}.pool")
        graph.linear(f"{name}.hidden", self.hidden_features, self.hidden_activation)
        graph.weigh(vectors=0)
        if self.affine:
            graph.affine(f"{name}.affine")
        graph.linear(f"{name}.linear", self.classes)

    def printed(self) -> str:
        """Hidden features behind a stroke."""
        return f"linear/{self.hidden_features}"
