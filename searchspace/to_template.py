"""`to_template`: a NetworkSpec back to a Template, so that a searched, pruned or hand-made network can grow.

Laws: `to_template(spec).expand()` is `spec` again, for every spec; and lifting the network that a template expands to
gives that template back as far as its integers tell ratios apart: expansion ratios of one decimal and SE ratios of
1/2 to 1/8, from 16 input channels on.
"""

import math
from dataclasses import replace
from typing import assert_never

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
from searchspace.rounding import expand_of, squeeze_of
from searchspace.spec import NetworkSpec
from searchspace.template import (
    ClassifierRow,
    ConvClassifierRow,
    ConvRow,
    FireRow,
    MaxPoolRow,
    MBConvRow,
    Row,
    ShuffleRow,
    ShuffleV2Row,
    StageTemplate,
    Template,
)

Pairs = list[tuple[int, int]]


def to_template(spec: NetworkSpec) -> Template:
    """The template whose `expand()` is `spec`: like blocks in sequence are one row with repeats, and each block
    that differs from its neighbours is a row with its own ratios.

    The stored channel counts are the template's widths: the rounding that made them is not undone.
    """
    channels = spec.in_channels
    stages = []
    for stage in spec.stages:
        stages.append(StageTemplate(stage.name, _rows(channels, stage.blocks)))
        for block in stage.blocks:
            channels = out_channels(block, channels)
    return Template(spec.name, _divisible(stages), spec.resolution, spec.in_channels, spec.conventions)


def _divisible(stages: list[StageTemplate]) -> tuple[StageTemplate, ...]:
    """A convolution that feeds a ShuffleUnit with stride keeps its channels divisible by the unit's groups, however it
    is scaled: the unit appends its input to what its groups make."""
    groups = 1
    found = []
    for stage in reversed(stages):
        rows = []
        for row in reversed(stage.rows):
            if isinstance(row, ConvRow) and groups > 1:
                row = replace(row, divisor=math.lcm(row.divisor, groups))
            if not isinstance(row, MaxPoolRow):
                groups = row.groups if isinstance(row, ShuffleRow) else 1
            rows.append(row)
        found.append(StageTemplate(stage.name, tuple(reversed(rows))))
    return tuple(reversed(found))


def _rows(in_channels: int, blocks: tuple[Block, ...]) -> tuple[Row, ...]:
    rows: list[Row] = []
    while blocks:
        run = blocks[: 1 + _equal(blocks[1:])]
        row = _row(in_channels, run)
        if row.blocks(in_channels, 1.0, 2) != list(run[:2]):
            run = run[:1]
            row = _row(in_channels, run)
        rows.append(row)
        for block in run:
            in_channels = out_channels(block, in_channels)
        blocks = blocks[len(run) :]
    return tuple(rows)


def _equal(blocks: tuple[Block, ...]) -> int:
    """How many of the first blocks are the same block; a row's blocks are, after its first."""
    return next((count for count, block in enumerate(blocks) if block != blocks[0]), len(blocks))


def _row(in_channels: int, run: tuple[Block, ...]) -> Row:
    """The row for a run whose blocks are alike after the first; whether it explains them is for the caller to see."""
    block = run[0]
    match block:
        case ConvBN():
            # A lone convolution is a stem or a head: depth scaling leaves those alone.
            return ConvRow(
                width=block.out_channels,
                kernel=block.kernel,
                stride=block.stride,
                activation=block.activation,
                group_width=in_channels // block.groups if block.groups > 1 else 0,
                repeats=len(run),
                grows_deeper=len(run) > 1,
            )
        case MBConv() | SeparableConv():
            return _mbconv_row(in_channels, block, run)
        case Conv():
            return ConvRow(
                width=block.out_channels,
                kernel=block.kernel,
                stride=block.stride,
                activation=block.activation,
                bias=True,
                padding=block.padding,
                repeats=len(run),
                grows_deeper=len(run) > 1,
            )
        case MaxPool():
            return MaxPoolRow(kernel=block.kernel, stride=block.stride, padding=block.padding, repeats=len(run))
        case Fire():
            return FireRow(
                squeeze_width=block.squeeze_channels,
                expand1x1_width=block.expand1x1_channels,
                expand3x3_width=block.expand3x3_channels,
                activation=block.activation,
                repeats=len(run),
            )
        case ShuffleUnit():
            return _shuffle_row(block, run)
        case ShuffleUnitV2():
            return ShuffleV2Row(
                width=block.out_channels,
                mid_ratio=block.mid_channels / block.out_channels,
                kernel=block.kernel,
                stride=block.stride,
                activation=block.activation,
                repeats=len(run),
            )
        case Classifier():
            return ClassifierRow(
                classes=block.classes,
                dropout_percent=block.dropout_percent,
                hidden_width=block.hidden_features,
                hidden_activation=block.hidden_activation,
            )
        case ConvClassifier():
            return ConvClassifierRow(
                classes=block.classes, dropout_percent=block.dropout_percent, activation=block.activation
            )
        case _:
            assert_never(block)


def _shuffle_row(block: ShuffleUnit, run: tuple[Block, ...]) -> ShuffleRow:
    """Widths of a scaled network must stay divisible: by the groups, and so that a quarter of them does."""
    return ShuffleRow(
        width=block.out_channels,
        groups=block.groups,
        divisor=4 * block.groups,
        reduce_groups=0 if block.reduce_groups == block.groups else block.reduce_groups,
        bottleneck_ratio=block.bottleneck_channels / block.out_channels,
        kernel=block.kernel,
        stride=block.stride,
        activation=block.activation,
        repeats=len(run),
    )


def _mbconv_row(in_channels: int, block: MBConv | SeparableConv, run: tuple[Block, ...]) -> MBConvRow:
    inputs = (in_channels, *(out_channels(block, 0) for block in run[:-1]))
    inside = [(c, b) for c, b in zip(inputs, run, strict=True) if isinstance(b, type(block))]
    ratio = _expand_ratio([(c, b.expand_channels) for c, b in inside if isinstance(b, MBConv)])
    # A block that could have no skip does not say whether its row has them; one that could and has none does.
    refused = any(b.stride == 1 and b.out_channels == c and not b.skip for c, b in inside)
    return MBConvRow(
        expand_ratio=ratio,
        keep_expansion=ratio == 1 and isinstance(block, MBConv),
        width=block.out_channels,
        kernel=block.kernel,
        stride=block.stride,
        repeats=len(run),
        se_ratio=_se_ratio([(c, b.squeeze_channels) for c, b in inside]),
        activation=block.activation,
        project_activation="identity" if isinstance(block, MBConv) else block.project_activation,
        squeeze_activation=block.squeeze_activation,
        gate=block.gate,
        skip=not refused,
    )


def _expand_ratio(pairs: Pairs) -> float:
    """The shortest decimal that explains all (input, expanded) channels, or the quotient; 1 for no expansion."""
    if not pairs:
        return 1
    channels, expanded = max(pairs)
    quotient = expanded / channels
    for ratio in (round(quotient), round(quotient, 1), round(quotient, 2)):
        if all(expand_of(c, ratio) == e for c, e in pairs) and ratio:
            return ratio
    return quotient


def _se_ratio(pairs: Pairs) -> float:
    """The reciprocal of an integer, as papers write it, that explains all (input, squeezed) channels, or the
    quotient; 0 for no SE."""
    channels, squeezed = max(pairs)
    if not 0 < squeezed <= channels:
        return squeezed / channels
    ratio = 1 / (channels // squeezed)
    return ratio if all(squeeze_of(c, ratio) == s for c, s in pairs) else squeezed / channels
