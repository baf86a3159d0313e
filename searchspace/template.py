"""Template: a paper's table with its ratios and repeats, before any rounding.

Scaling ratios gives the published families exactly; scaling stored channel counts does not (EfficientNet-B2 would
have 9,189,860 parameters instead of 9,109,994). `expand` is the only way from a Template to a NetworkSpec.
"""

import math
from dataclasses import dataclass, replace

from searchspace.blocks import Block, Classifier, ConvBN, MBConv, SeparableConv, out_channels
from searchspace.errors import InvalidSpec
from searchspace.rounding import expand_of, round_channels, round_repeats, squeeze_of
from searchspace.spec import NetworkSpec, Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvRow:
    """A ConvBN of `width` channels before scaling (stem, 1x1 head).

    `group_width` is input channels per group: 0 for an ungrouped convolution, 1 for a depthwise one. Scaling keeps
    it as near as the new channel counts allow.
    """

    width: int
    kernel: int = 1
    stride: int = 1
    group_width: int = 0
    activation: str = "relu"
    divisor: int = 8
    repeats: int = 1
    grows_deeper: bool = False

    def blocks(self, in_channels: int, width_mult: float, repeats: int) -> list[Block]:
        """`repeats` ConvBN rows; the first has the stride."""
        channels = _width(self.width, width_mult, self.divisor)
        rows: list[Block] = []
        for stride in _strides(self.stride, repeats):
            groups = self._groups(in_channels, channels)
            row = ConvBN(
                out_channels=channels, kernel=self.kernel, stride=stride, groups=groups, activation=self.activation
            )
            rows.append(row)
            in_channels = channels
        return rows

    def _groups(self, in_channels: int, channels: int) -> int:
        if not self.group_width:
            return 1
        return math.gcd(in_channels, channels, max(1, round(in_channels / self.group_width)))


@dataclass(frozen=True, slots=True, kw_only=True)
class MBConvRow:
    """`repeats` MBConv blocks; `expand_ratio` 1 leaves the expansion out (SeparableConv), as the papers' MBConv1.

    `se_ratio` is of the block's input (MnasNet, EfficientNet); 0 means no SE. With `skip`, every block whose
    stride is 1 and whose channels match has the residual sum. `keep_expansion` keeps a 1x1 expansion at ratio 1 (a
    network pruned to it); `project_activation` belongs to blocks without expansion.
    """

    expand_ratio: float
    width: int
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
        rows = [self._block(in_channels, channels, self.stride)]
        if repeats > 1:
            rows += [self._block(channels, channels, 1)] * (repeats - 1)
        return rows

    def _block(self, in_channels: int, channels: int, stride: int) -> Block:
        squeeze = squeeze_of(in_channels, self.se_ratio) if self.se_ratio else 0
        skip = self.skip and stride == 1 and in_channels == channels
        if self.expand_ratio == 1 and not self.keep_expansion:
            return SeparableConv(
                out_channels=channels, kernel=self.kernel, stride=stride, activation=self.activation,
                project_activation=self.project_activation, squeeze_channels=squeeze,
                squeeze_activation=self.squeeze_activation, gate=self.gate, skip=skip,
            )  # fmt: skip
        return MBConv(
            expand_channels=expand_of(in_channels, self.expand_ratio), out_channels=channels,
            kernel=self.kernel, stride=stride, activation=self.activation, squeeze_channels=squeeze,
            squeeze_activation=self.squeeze_activation, gate=self.gate, skip=skip,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierRow:
    """The classifier; no scaling changes it."""

    classes: int = 1000
    dropout_percent: int = 0
    repeats: int = 1
    grows_deeper: bool = False

    def blocks(self, in_channels: int, width_mult: float, repeats: int) -> list[Block]:
        """The one Classifier row."""
        return [Classifier(classes=self.classes, dropout_percent=self.dropout_percent)]


Row = ConvRow | MBConvRow | ClassifierRow


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
                    in_channels = out_channels(blocks[-1])
        return Stage(self.name, tuple(blocks))

    def _runs(self) -> list[list[Row]]:
        """Rows that are deepened together: a stride, and a row that does not grow, begin a new run."""
        runs: list[list[Row]] = []
        for row in self.rows:
            joins = not isinstance(row, ClassifierRow) and row.grows_deeper and row.stride == 1
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
            channels = out_channels(stages[-1].blocks[-1])
        size = self.resolution if resolution is None else resolution
        return NetworkSpec(name or self.name, size, tuple(stages), self.in_channels)

    def with_classes(self, classes: int) -> "Template":
        """The same table with another number of classes."""
        return self._with_classifier(replace(self._classifier, classes=classes))

    def with_dropout(self, dropout_percent: int) -> "Template":
        """The same table with another dropout before the classifier."""
        return self._with_classifier(replace(self._classifier, dropout_percent=dropout_percent))

    @property
    def _classifier(self) -> ClassifierRow:
        row = self.stages[-1].rows[-1]
        if not isinstance(row, ClassifierRow):
            raise InvalidSpec(f"a template ends in its ClassifierRow, got {type(row).__name__} last")
        return row

    def _with_classifier(self, row: ClassifierRow) -> "Template":
        last = self.stages[-1]
        return replace(self, stages=(*self.stages[:-1], replace(last, rows=(*last.rows[:-1], row))))
