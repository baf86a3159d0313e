"""Template: a paper's table with its ratios and repeats, before any rounding.

Scaling ratios gives the published families exactly; scaling stored channel counts does not (EfficientNet-B2 would
have 9,189,860 parameters instead of 9,109,994). `expand` is the only way from a Template to a NetworkSpec.
"""

import math
from dataclasses import dataclass, replace

from searchspace.blocks import (
    Block,
    Classifier,
    Conv,
    ConvBN,
    ConvClassifier,
    Fire,
    MaxPool,
    MBConv,
    SeparableConv,
    ShuffleUnit,
    ShuffleUnitV2,
    out_channels,
)
from searchspace.errors import InvalidSpec
from searchspace.rounding import expand_of, round_channels, round_repeats, squeeze_of
from searchspace.spec import DEFAULT_CONVENTIONS, Conventions, NetworkSpec, Stage

SCALINGS = ("width", "wider", "fixed")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvRow:
    """A ConvBN of `width` channels before scaling (stem, 1x1 head); with `bias` a Conv, which has no batch norm.

    `group_width` is input channels per group: 0 for an ungrouped convolution, 1 for a depthwise one. Scaling keeps
    it as near as the new channel counts allow. `scaling`: "width" follows the width multiplier, "wider" only
    multipliers above 1 (MobileNetV2's last convolution), "fixed" none (MnasNet's). `input_ratio`, where it is not 0,
    gives the channels as a multiple of the input's instead. `padding` belongs to `bias`.
    """

    width: int
    kernel: int = 1
    stride: int = 1
    group_width: int = 0
    activation: str = "relu"
    divisor: int = 8
    scaling: str = "width"
    input_ratio: float = 0.0
    bias: bool = False
    padding: str = "half"
    repeats: int = 1
    grows_deeper: bool = False

    def __post_init__(self) -> None:
        if self.scaling not in SCALINGS:
            raise InvalidSpec(f"ConvRow.scaling must be one of {', '.join(SCALINGS)}, got {self.scaling!r}")

    def blocks(self, in_channels: int, width_mult: float, repeats: int) -> list[Block]:
        """`repeats` ConvBN (or Conv) rows; the first has the stride."""
        channels = _width(self.width, _followed(width_mult, self.scaling), self.divisor)
        if self.input_ratio:
            channels = expand_of(in_channels, self.input_ratio)
        rows: list[Block] = []
        for stride in _strides(self.stride, repeats):
            rows.append(self._block(in_channels, channels, stride))
            in_channels = channels
        return rows

    def _block(self, in_channels: int, channels: int, stride: int) -> Block:
        if self.bias:
            return Conv(
                out_channels=channels,
                kernel=self.kernel,
                stride=stride,
                padding=self.padding,
                activation=self.activation,
            )
        groups = self._groups(in_channels, channels)
        return ConvBN(
            out_channels=channels, kernel=self.kernel, stride=stride, groups=groups, activation=self.activation
        )

    def _groups(self, in_channels: int, channels: int) -> int:
        if not self.group_width:
            return 1
        return math.gcd(in_channels, channels, max(1, round(in_channels / self.group_width)))


@dataclass(frozen=True, slots=True, kw_only=True)
class MBConvRow:
    """`repeats` MBConv blocks; `expand_ratio` 1 leaves the expansion out (SeparableConv), as the papers' MBConv1.

    `se_ratio` is of the block's input (MnasNet, EfficientNet) or, with `se_of_expanded`, of its expanded channels
    (MobileNetV3); 0 means no SE. `expand_divisor` and `se_divisor` round what they make to multiples (MobileNetV3: 8).
    `expand_width`, where it is not 0, is an expansion of its own that is scaled as `width` is (torchvision's
    MobileNetV3); `expand_ratio` then says no more than whether there is one. With `skip`, every block whose
    stride is 1 and whose channels match has the residual sum. `keep_expansion` keeps a 1x1 expansion at ratio 1 (a
    network pruned to it); `project_activation` belongs to blocks without expansion.
    """

    expand_ratio: float
    width: int
    expand_width: int = 0
    expand_divisor: int = 1
    se_of_expanded: bool = False
    se_divisor: int = 1
    kernel: int = 3
    stride: int = 1
    repeats: int = 1
    se_ratio: float = 0.0
    activation: str = "relu"
    squeeze_activation: str = "relu"
    gate: str = "sigmoid"
    skip: bool = True
    keep_expansion: bool = False
    project_activation: str = "identity"
    divisor: int = 8
    grows_deeper: bool = True

    def blocks(self, in_channels: int, width_mult: float, repeats: int) -> list[Block]:
        """`repeats` MBConv (or SeparableConv) rows; the first has the stride and the change of width."""
        channels = _width(self.width, width_mult, self.divisor)
        rows = [self._block(in_channels, channels, self.stride, width_mult)]
        if repeats > 1:
            rows += [self._block(channels, channels, 1, width_mult)] * (repeats - 1)
        return rows

    def _block(self, in_channels: int, channels: int, stride: int, width_mult: float) -> Block:
        bare = self.expand_ratio == 1 and not self.keep_expansion
        expanded = in_channels
        if not bare:
            expanded = (
                _width(self.expand_width, width_mult, self.divisor)
                if self.expand_width
                else expand_of(in_channels, self.expand_ratio, divisor=self.expand_divisor)
            )
        squeeze = 0
        if self.se_ratio:
            squeezed = expanded if self.se_of_expanded else in_channels
            squeeze = squeeze_of(squeezed, self.se_ratio, divisor=self.se_divisor)
        skip = self.skip and stride == 1 and in_channels == channels
        if bare:
            return SeparableConv(
                out_channels=channels,
                kernel=self.kernel,
                stride=stride,
                activation=self.activation,
                project_activation=self.project_activation,
                squeeze_channels=squeeze,
                squeeze_activation=self.squeeze_activation,
                gate=self.gate,
                skip=skip,
            )
        return MBConv(
            expand_channels=expanded,
            out_channels=channels,
            kernel=self.kernel,
            stride=stride,
            activation=self.activation,
            squeeze_channels=squeeze,
            squeeze_activation=self.squeeze_activation,
            gate=self.gate,
            skip=skip,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxPoolRow:
    """A MaxPool; no scaling changes it."""

    kernel: int = 3
    stride: int = 2
    padding: str = "half"
    repeats: int = 1
    grows_deeper: bool = False

    def blocks(self, in_channels: int, width_mult: float, repeats: int) -> list[Block]:
        """The MaxPool rows."""
        return [MaxPool(kernel=self.kernel, stride=self.stride, padding=self.padding)] * repeats


@dataclass(frozen=True, slots=True, kw_only=True)
class FireRow:
    """`repeats` Fire modules (SqueezeNet, arXiv:1602.07360, Table 1); all three widths are scaled."""

    squeeze_width: int
    expand1x1_width: int
    expand3x3_width: int
    activation: str = "relu"
    divisor: int = 8
    stride: int = 1
    repeats: int = 1
    grows_deeper: bool = True

    def blocks(self, in_channels: int, width_mult: float, repeats: int) -> list[Block]:
        """`repeats` equal Fire rows."""
        squeeze, small, large = (
            _width(width, width_mult, self.divisor)
            for width in (self.squeeze_width, self.expand1x1_width, self.expand3x3_width)
        )
        row = Fire(
            squeeze_channels=squeeze, expand1x1_channels=small, expand3x3_channels=large, activation=self.activation
        )
        return [row] * repeats


@dataclass(frozen=True, slots=True, kw_only=True)
class ShuffleRow:
    """`repeats` ShuffleNetV1 units (arXiv:1707.01083, Table 1).

    The bottleneck has `bottleneck_ratio` x the output channels. `reduce_groups`, where it is not 0, are the groups of
    the first unit's first 1x1 (1 in the paper's stage 2). Output channels round to multiples of `divisor`, the
    bottleneck to those of `groups`, so that every width can be grouped. With stride 1 the channels stay the input's.
    """

    width: int
    groups: int
    divisor: int
    reduce_groups: int = 0
    bottleneck_ratio: float = 0.25
    kernel: int = 3
    stride: int = 1
    activation: str = "relu"
    repeats: int = 1
    grows_deeper: bool = True

    def blocks(self, in_channels: int, width_mult: float, repeats: int) -> list[Block]:
        """`repeats` ShuffleUnit rows; the first has the stride, the change of width and its own first groups."""
        channels = in_channels if self.stride == 1 else _width(self.width, width_mult, self.divisor)
        inner = max(1, round(channels * self.bottleneck_ratio / self.groups)) * self.groups
        return [
            ShuffleUnit(
                bottleneck_channels=inner,
                out_channels=channels,
                groups=self.groups,
                kernel=self.kernel,
                reduce_groups=self.reduce_groups if self.reduce_groups and index == 0 else self.groups,
                stride=stride,
                activation=self.activation,
            )
            for index, stride in enumerate(_strides(self.stride, repeats))
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShuffleV2Row:
    """`repeats` ShuffleNetV2 units (arXiv:1807.11164, Table 5); the branch inside is `mid_ratio` x the output wide.

    With stride 1 the channels stay the input's.
    """

    width: int
    mid_ratio: float = 0.5
    kernel: int = 3
    stride: int = 1
    activation: str = "relu"
    divisor: int = 2
    repeats: int = 1
    grows_deeper: bool = True

    def blocks(self, in_channels: int, width_mult: float, repeats: int) -> list[Block]:
        """`repeats` ShuffleUnitV2 rows; the first has the stride and the change of width."""
        channels = in_channels if self.stride == 1 else _width(self.width, width_mult, self.divisor)
        inner = max(1, round(channels * self.mid_ratio))
        return [
            ShuffleUnitV2(
                mid_channels=inner,
                out_channels=channels,
                kernel=self.kernel,
                stride=stride,
                activation=self.activation,
            )
            for stride in _strides(self.stride, repeats)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierRow:
    """The classifier. `hidden_width` 0 means no hidden layer; `hidden_scaling` is as ConvRow's `scaling`."""

    classes: int = 1000
    dropout_percent: int = 0
    hidden_width: int = 0
    hidden_activation: str = "h_swish"
    hidden_scaling: str = "width"
    repeats: int = 1
    stride: int = 1
    grows_deeper: bool = False

    def blocks(self, in_channels: int, width_mult: float, repeats: int) -> list[Block]:
        """The one Classifier row."""
        hidden = self.hidden_width and _width(self.hidden_width, _followed(width_mult, self.hidden_scaling), 8)
        return [
            Classifier(
                classes=self.classes,
                dropout_percent=self.dropout_percent,
                hidden_features=hidden,
                hidden_activation=self.hidden_activation,
            )
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvClassifierRow:
    """SqueezeNet's classifier; no scaling changes it."""

    classes: int = 1000
    dropout_percent: int = 0
    activation: str = "relu"
    repeats: int = 1
    stride: int = 1
    grows_deeper: bool = False

    def blocks(self, in_channels: int, width_mult: float, repeats: int) -> list[Block]:
        """The one ConvClassifier row."""
        return [ConvClassifier(classes=self.classes, dropout_percent=self.dropout_percent, activation=self.activation)]


HeadRow = ClassifierRow | ConvClassifierRow
Row = ConvRow | MaxPoolRow | MBConvRow | FireRow | ShuffleRow | ShuffleV2Row | HeadRow
HEAD_ROWS = (ClassifierRow, ConvClassifierRow)


def _followed(width_mult: float, scaling: str) -> float:
    """The width multiplier as a row with that `scaling` sees it."""
    if scaling == "fixed":
        return 1.0
    return max(1.0, width_mult) if scaling == "wider" else width_mult


def _width(width: int, width_mult: float, divisor: int) -> int:
    """Scaled and rounded; a multiplier of 1 keeps the row's integer, as every paper does."""
    return width if width_mult == 1 else round_channels(width * width_mult, divisor=divisor)


def _strides(stride: int, repeats: int) -> list[int]:
    return [stride] + [1] * (repeats - 1)


@dataclass(frozen=True, slots=True)
class StageTemplate:
    """A stage: one row with repeats, or several rows of a network whose blocks differ.

    Depth scaling takes a run of rows at one resolution (in every published table: the whole stage) as one: its
    layers are rounded up, and the layers that come on top repeat its last row.
    """

    name: str
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        if not self.rows:
            raise InvalidSpec(f"stage {self.name!r} has no rows: leave the stage out instead")

    def expand(self, in_channels: int, width_mult: float, depth_mult: float) -> Stage:
        """The stage's blocks after `in_channels` channels."""
        blocks: list[Block] = []
        for run in self._runs():
            repeats = [row.repeats for row in run]
            if run[0].grows_deeper:
                repeats = _deepen(repeats, round_repeats(sum(repeats), depth_mult))
            for row, count in zip(run, repeats, strict=True):
                if count:
                    blocks += row.blocks(in_channels, width_mult, count)
                    in_channels = out_channels(blocks[-1], in_channels)
        return Stage(self.name, tuple(blocks))

    def _runs(self) -> list[list[Row]]:
        """Rows that are deepened together: a stride, and a row that does not grow, begin a new run."""
        runs: list[list[Row]] = []
        for row in self.rows:
            joins = row.grows_deeper and row.stride == 1
            if joins and runs and runs[-1][0].grows_deeper:
                runs[-1].append(row)
            else:
                runs.append([row])
        return runs


def _deepen(repeats: list[int], total: int) -> list[int]:
    """Repeats that sum to `total`: what is missing goes to the last row, what is too much leaves from the end.

    The first row always keeps one block, since it carries the run's stride.
    """
    repeats = repeats[:]
    repeats[-1] += max(0, total - sum(repeats))
    for index in reversed(range(len(repeats))):
        surplus = sum(repeats) - total
        repeats[index] -= min(surplus, repeats[index] - (index == 0))
    return repeats


@dataclass(frozen=True, slots=True)
class Template:
    """A network before scaling; `expand()` with no argument gives the paper's own network."""

    name: str
    stages: tuple[StageTemplate, ...]
    resolution: int = 224
    in_channels: int = 3
    conventions: Conventions = DEFAULT_CONVENTIONS

    def expand(
        self, *, width: float = 1.0, depth: float = 1.0, resolution: int | None = None, name: str | None = None
    ) -> NetworkSpec:
        """The network with `width` x channels, `depth` x layers, at `resolution` px (the template's own if None).

        Source: compound scaling, arXiv:1905.11946, section 3.3. Raises InvalidSpec for multipliers not above 0.
        """
        for what, value in (("width", width), ("depth", depth)):
            if not 0 < value < float("inf"):
                raise InvalidSpec(f"the {what} multiplier must be a finite number above 0, got {value}")
        channels = self.in_channels
        stages = []
        for template in self.stages:
            stages.append(template.expand(channels, width, depth))
            for block in stages[-1].blocks:
                channels = out_channels(block, channels)
        size = self.resolution if resolution is None else resolution
        return NetworkSpec(name or self.name, size, tuple(stages), self.in_channels, self.conventions)

    def with_classes(self, classes: int) -> "Template":
        """The same table with another number of classes."""
        return self._with_classifier(replace(self._classifier, classes=classes))

    def with_dropout(self, dropout_percent: int) -> "Template":
        """The same table with another dropout before the classifier."""
        return self._with_classifier(replace(self._classifier, dropout_percent=dropout_percent))

    @property
    def _classifier(self) -> HeadRow:
        row = self.stages[-1].rows[-1]
        if not isinstance(row, HEAD_ROWS):
            raise InvalidSpec(f"a template ends in its ClassifierRow or ConvClassifierRow, got {type(row).__name__}")
        return row

    def _with_classifier(self, row: HeadRow) -> "Template":
        last = self.stages[-1]
        return replace(self, stages=(*self.stages[:-1], replace(last, rows=(*last.rows[:-1], row))))
