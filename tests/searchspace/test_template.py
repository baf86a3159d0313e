"""Template: ratios expand to integers; a published table without scaling is the paper's own network."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchspace.blocks import Classifier, ClassifierRow, ConvBN, ConvRow, MBConv, MBConvRow, SeparableConv
from searchspace.cost import params
from searchspace.errors import InvalidSpec
from searchspace.template import StageTemplate, Template

TEMPLATE = Template(
    "t",
    (
        StageTemplate("stem", (ConvRow(width=20, kernel=3, stride=2),)),
        StageTemplate("first", (MBConvRow(expand_ratio=1, width=12, se_ratio=0.25),)),
        StageTemplate("second", (MBConvRow(expand_ratio=4, width=24, stride=2, repeats=3, kernel=5),)),
        StageTemplate("head", (ConvRow(width=100),)),
        StageTemplate("classifier", (ClassifierRow(classes=10),)),
    ),
    resolution=64,
)
WIDTHS, DEPTHS = st.floats(0.1, 4), st.floats(0.1, 4)


def test_unscaled_rows_keep_the_papers_integers() -> None:
    spec = TEMPLATE.expand()
    assert (spec.name, spec.resolution, spec.in_channels) == ("t", 64, 3)
    assert spec.blocks == (
        ConvBN(out_channels=20, kernel=3, stride=2),
        SeparableConv(out_channels=12, squeeze_channels=5),
        MBConv(expand_channels=48, out_channels=24, kernel=5, stride=2),
        MBConv(expand_channels=96, out_channels=24, kernel=5, skip=True),
        MBConv(expand_channels=96, out_channels=24, kernel=5, skip=True),
        ConvBN(out_channels=100),
        Classifier(classes=10),
    )


def test_scaled_widths_are_rounded_and_ratios_hold_of_the_rounded_input() -> None:
    blocks = TEMPLATE.expand(width=1.5, resolution=80).blocks
    # 30 -> 32; 18 -> 24, as 16 is more than 10 % below; 36 -> 40; 150 -> 152. Expansions are 4 x their input.
    assert [block.out_channels for block in blocks[:-1]] == [32, 24, 40, 40, 40, 152]
    assert [block.expand_channels for block in blocks[2:5]] == [96, 160, 160]
    assert blocks[1].squeeze_channels == 8


@given(WIDTHS, DEPTHS)
def test_stem_head_and_classifier_never_grow_deeper(width: float, depth: float) -> None:
    spec = TEMPLATE.expand(width=width, depth=depth)
    assert [len(spec.stages[i].blocks) for i in (0, 3, 4)] == [1, 1, 1]
    assert spec.blocks[-1] == Classifier(classes=10)


@given(WIDTHS, WIDTHS, DEPTHS, DEPTHS)
def test_more_width_and_depth_never_mean_fewer_parameters(w1: float, w2: float, d1: float, d2: float) -> None:
    # 1 is left out: it keeps the row's integers, which need no multiple of the divisor.
    narrow, wide = sorted(w + 1e-6 for w in (w1, w2))
    shallow, deep = sorted((d1, d2))
    assert params(TEMPLATE.expand(width=narrow, depth=shallow)) <= params(TEMPLATE.expand(width=wide, depth=deep))


@given(DEPTHS)
def test_depth_keeps_one_stride_a_stage_and_skips_wherever_a_block_repeats(depth: float) -> None:
    stage = TEMPLATE.expand(depth=depth).stages[2]
    assert [block.stride for block in stage.blocks] == [2] + [1] * (len(stage.blocks) - 1)
    assert [block.skip for block in stage.blocks] == [False] + [True] * (len(stage.blocks) - 1)


def test_skip_false_leaves_every_skip_out() -> None:
    row = MBConvRow(expand_ratio=2, width=8, repeats=3, skip=False)
    blocks = StageTemplate("s", (row,)).expand(8, 1.0, 1.0).blocks
    assert not any(block.skip for block in blocks)


def test_classes_and_dropout_are_the_classifiers_alone() -> None:
    other = TEMPLATE.with_classes(7).with_dropout(30)
    assert other.expand().blocks == (*TEMPLATE.expand().blocks[:-1], Classifier(classes=7, dropout_percent=30))


@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan")])
def test_a_multiplier_must_be_finite_and_above_zero(value: float) -> None:
    with pytest.raises(InvalidSpec, match="the width multiplier must be a finite number above 0, got"):
        TEMPLATE.expand(width=value)
    with pytest.raises(InvalidSpec, match="the depth multiplier must be a finite number above 0, got"):
        TEMPLATE.expand(depth=value)


def test_a_template_must_end_in_its_classifier() -> None:
    headless = replace(TEMPLATE, stages=TEMPLATE.stages[:-1])
    with pytest.raises(InvalidSpec, match="a template ends in its ClassifierRow or ConvClassifierRow, got ConvRow"):
        headless.with_classes(3)
    with pytest.raises(InvalidSpec, match="only Classifier"):
        headless.expand()
    with pytest.raises(InvalidSpec, match="stage 'empty' has no rows"):
        StageTemplate("empty", ())
