"""Laws of `to_template`: a network lifted and expanded is itself, and grows as the template it came from."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searchspace.blocks import (
    ACTIVATIONS,
    Block,
    Classifier,
    ClassifierRow,
    ConvBN,
    ConvRow,
    MBConv,
    MBConvRow,
    SeparableConv,
)
from searchspace.cost import params
from searchspace.describe import stage_rows, stage_table
from searchspace.spaces.mnasnet import KNOWN, mnasnet_space
from searchspace.spaces.space import SearchSpace
from searchspace.spec import NetworkSpec, Stage
from searchspace.template import StageTemplate, Template
from searchspace.to_template import to_template
from searchspace.zoo.efficientnet import B0, PRESETS, preset

SPACE = mnasnet_space()
WIDE_SPACE = SPACE.with_choices({"*.expand_ratio": (1, 1.5, 2, 3.3), "*.width_mult": (0.9, 2.0)})
SEEDS = st.integers(min_value=0, max_value=2**32 - 1)


@given(SEEDS, st.sampled_from([SPACE, WIDE_SPACE]), st.floats(0.3, 3.0), st.floats(0.3, 4.0))
@settings(deadline=None, max_examples=30)
def test_growing_a_search_winner_equals_growing_the_template_it_was_decoded_from(
    seed: int, space: SearchSpace, width: float, depth: float
) -> None:
    template = space.decode(space.sample(random.Random(seed)))
    lifted = to_template(template.expand())
    assert lifted == template
    assert lifted.expand(width=width, depth=depth) == template.expand(width=width, depth=depth)


@pytest.mark.parametrize("name", PRESETS)
def test_the_template_of_a_published_preset_gives_it_back(name: str) -> None:
    spec = preset(name)
    assert to_template(spec).expand() == spec
    assert to_template(spec).expand(resolution=spec.resolution).fingerprint() == spec.fingerprint()


def test_the_template_of_efficientnet_b0_is_its_table() -> None:
    assert to_template(B0.expand()) == B0


def test_known_networks_become_one_row_a_stage() -> None:
    for choices in KNOWN.values():
        assert all(len(stage.rows) == 1 for stage in to_template(SPACE.spec(choices)).stages)


KERNELS = st.sampled_from([1, 3, 5, 7])
CHANNELS = st.integers(1, 60)


@st.composite
def unequal_blocks(draw: st.DrawFn, in_channels: int) -> tuple[Block, int]:
    """Any block that may follow `in_channels`, and the channels it hands on."""
    stride = draw(st.sampled_from([1, 1, 1, 2]))
    out = draw(st.one_of(CHANNELS, st.just(in_channels)))
    act, gate = draw(st.sampled_from(ACTIVATIONS)), draw(st.sampled_from(["sigmoid", "hard_sigmoid"]))
    kind = draw(st.sampled_from([ConvBN, MBConv, SeparableConv]))
    if kind is ConvBN:
        groups = draw(st.sampled_from([g for g in range(1, in_channels + 1) if in_channels % g == out % g == 0]))
        return ConvBN(out_channels=out, kernel=draw(KERNELS), stride=stride, groups=groups, activation=act), out
    shared = {
        "out_channels": out,
        "kernel": draw(KERNELS),
        "stride": stride,
        "activation": act,
        "gate": gate,
        "squeeze_channels": draw(st.integers(0, 2 * in_channels)),
        "squeeze_activation": draw(st.sampled_from(ACTIVATIONS)),
        "skip": stride == 1 and out == in_channels and draw(st.booleans()),
    }
    if kind is SeparableConv:
        return SeparableConv(**shared, project_activation=draw(st.sampled_from(ACTIVATIONS))), out
    expand = draw(st.one_of(st.integers(1, 400), st.just(in_channels)))
    return MBConv(**shared, expand_channels=expand), out


@st.composite
def hand_made_specs(draw: st.DrawFn) -> NetworkSpec:
    """Stages of unequal blocks, some repeated; total stride at most 2**6."""
    channels = draw(st.integers(1, 4))
    in_channels, stages, total = channels, [], 1
    for index in range(draw(st.integers(1, 3))):
        blocks: list[Block] = []
        for _ in range(draw(st.integers(1, 4))):
            block, out = draw(unequal_blocks(channels))
            if total * block.stride > 64:
                continue
            total *= block.stride
            blocks.append(block)
            if block.stride == 1 and out == channels:
                blocks += [block] * draw(st.integers(0, 2))
            channels = out
        if blocks:
            stages.append(Stage(f"stage{index}", tuple(blocks)))
    head = Classifier(classes=draw(st.integers(1, 20)), dropout_percent=draw(st.integers(0, 99)))
    return NetworkSpec("hand_made", 64, (*stages, Stage("classifier", (head,))), in_channels)


@given(hand_made_specs())
@settings(deadline=None, max_examples=30)
def test_the_template_of_a_hand_made_network_gives_it_back(spec: NetworkSpec) -> None:
    assert to_template(spec).expand() == spec


@given(hand_made_specs(), st.floats(0.2, 3.0), st.floats(0.2, 3.0))
@settings(deadline=None, max_examples=30)
def test_a_hand_made_network_grows_and_shrinks_to_a_valid_network_of_the_same_stride(
    spec: NetworkSpec, width: float, depth: float
) -> None:
    grown = to_template(spec).expand(width=width, depth=depth)
    assert grown.total_stride == spec.total_stride
    assert grown.classes == spec.classes
    assert [stage.name for stage in grown.stages] == [stage.name for stage in spec.stages]


@given(hand_made_specs())
@settings(deadline=None, max_examples=25)
def test_the_rows_of_the_stage_table_add_up_to_the_network(spec: NetworkSpec) -> None:
    rows = stage_rows(spec)
    assert sum(row.params for row in rows) == params(spec)
    assert sum(row.layers for row in rows) == len(spec.blocks)
    assert len(stage_table(spec).splitlines()) == len(rows) + 3
    assert max(map(len, stage_table(spec).splitlines())) <= 100


@given(...)
def test_the_template_of_any_network_gives_it_back(spec: NetworkSpec) -> None:
    assert to_template(spec).expand() == spec
    assert len(stage_table(spec).splitlines()) == len(stage_rows(spec)) + 3


def _pruned() -> NetworkSpec:
    """Stage 2 of B0 with the second block's expansion pruned to 144 -> 97 and its squeeze to 5; stage 1's kept."""
    spec = B0.expand()
    stage = spec.stages[2]
    first, second = stage.blocks
    narrow = replace(second, expand_channels=97, squeeze_channels=5)
    return replace(spec, stages=(*spec.stages[:2], replace(stage, blocks=(first, narrow)), *spec.stages[3:]))


def test_a_pruned_block_is_its_own_row_and_grows_by_its_own_ratios() -> None:
    template = to_template(_pruned())
    ratios = [(row.expand_ratio, row.se_ratio, row.repeats) for row in template.stages[2].rows]
    assert ratios == [(6, 0.25, 1), (4.04, 5 / 24, 1)]
    grown = template.expand(width=2.0, depth=2.0).stages[2].blocks
    # 2 layers become 4; those on top repeat the last row: 48 channels in, 48 x 4.04 = 193.92, 48 x 5 / 24 = 10.
    assert [(b.expand_channels, b.squeeze_channels) for b in grown] == [(192, 8), (194, 10), (194, 10), (194, 10)]


def test_an_expansion_pruned_to_its_input_stays_an_expansion() -> None:
    head = Stage("classifier", (Classifier(classes=2),))
    spec = NetworkSpec("p", 8, (Stage("s", (MBConv(expand_channels=3, out_channels=8),)), head))
    grown = to_template(spec).expand(width=2.0, depth=2.0)
    assert [b.expand_channels for b in grown.stages[0].blocks] == [3, 16]


def test_a_block_that_refuses_the_skip_refuses_it_when_grown() -> None:
    blocks = tuple(MBConv(expand_channels=48, out_channels=8, skip=skip) for skip in (False, False, True))
    stem = ConvBN(out_channels=8)
    spec = NetworkSpec("s", 8, (Stage("body", (stem, *blocks, Classifier())),))
    grown = to_template(spec).expand(width=2.0, depth=5 / 3).stages[0].blocks[1:-1]
    assert [b.skip for b in grown] == [False, False, True, True, True]


def test_depth_never_takes_a_stride_away_and_grows_each_resolution_by_itself() -> None:
    row = MBConvRow(expand_ratio=2, width=8)
    stage = StageTemplate(
        "all", (ConvRow(width=8, stride=2), row, replace(row, stride=2, repeats=2), row, ClassifierRow(classes=2))
    )
    template = Template("t", (stage,), resolution=32)
    strides = [[b.stride for b in template.expand(depth=d).blocks[:-1]] for d in (0.1, 1, 2)]
    assert strides == [[2, 1, 2], [2, 1, 2, 1, 1], [2, 1, 1, 2, 1, 1, 1, 1, 1]]


def test_a_depthwise_convolution_stays_depthwise_when_it_grows() -> None:
    rows = (ConvBN(out_channels=16), ConvBN(out_channels=16, groups=16, kernel=3), ConvBN(out_channels=32))
    spec = NetworkSpec("mobilenet_like", 8, (Stage("body", rows), Stage("head", (Classifier(),))))
    grown = to_template(spec).expand(width=1.5).stages[0].blocks
    assert [(b.out_channels, b.groups) for b in grown] == [(24, 1), (24, 24), (48, 1)]
