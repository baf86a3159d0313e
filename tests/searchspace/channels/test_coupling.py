"""Channel groups: facts of the papers, and edges."""

from collections import Counter

import pytest

from searchspace.blocks import Classifier, Conv, ConvBN, Fire, MBConv, ShuffleUnit, ShuffleUnitV2
from searchspace.channels.coupling import coupling, narrow
from searchspace.errors import InvalidArgument
from searchspace.graph import lower
from searchspace.spec import NetworkSpec, Stage
from searchspace.zoo.catalogue import get
from tests.channel_checks import by_name

# Facts of the papers


def channels_of(spec: NetworkSpec) -> dict[str, int]:
    return {group.name: group.channels for group in coupling(spec)}


def made_by(spec: NetworkSpec, name: str) -> list[str]:
    return [lower(spec).layers[place.layer].name for place in by_name(spec)[name].producers]


def test_mobilenet_v2_has_the_groups_of_table_2() -> None:
    # Table 2's t, c, n, s: one width per row, which all its blocks share, and one expansion of t x its input per block.
    table = ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1))
    expected, width = {"input": 3, "stem.0": 32}, 32
    for number, (t, c, n) in enumerate(table, 1):
        expected[f"stage{number}.0.project"] = c
        for block in range(n):
            if t > 1:
                expected[f"stage{number}.{block}.expand"] = t * width
            width = c
    expected |= {"head.0": 1280, "classifier.0.linear": 1000}
    spec = get("mobilenet_v2")
    assert channels_of(spec) == expected
    assert len([name for name in expected if name.endswith("expand")]) == 16
    assert made_by(spec, "stage6.0.project") == [f"stage6.{block}.project" for block in range(3)]
    assert all(group.counts == range(1, group.channels) for group in coupling(spec) if not group.fixed)


def test_mobilenet_v3_large_has_eight_groups_of_squeezed_channels() -> None:
    # Table 1: SE behind expansions of 72, 120, 120, 480, 672, 672, 960, 960; a quarter, rounded to multiples of 8.
    squeezed = {name: count for name, count in channels_of(get("mobilenet_v3_large")).items() if "squeeze" in name}
    assert list(squeezed.values()) == [24, 32, 32, 120, 168, 168, 240, 240]
    group = by_name(get("mobilenet_v3_large"))["stage3.0.squeeze"]
    assert (group.producers, group.pass_through) == (group.consumers, ())
    narrower = narrow(get("mobilenet_v3_large"), group, 16)
    assert [row.squeeze_channels for row in narrower.stages[3].blocks if isinstance(row, MBConv)] == [16, 32, 32]


def test_a_fire_module_has_three_groups_and_its_second_expansion_is_read_behind_the_first() -> None:
    # Table 1: fire2 squeezes to 16 and expands to 64 + 64, which fire3's squeeze and expansions read.
    spec = get("squeezenet1_0")
    layers = lower(spec).layers
    groups = by_name(spec)
    fire2 = {name: groups[f"stage1.0.{name}"] for name in ("squeeze", "expand1x1", "expand3x3")}
    assert {name: group.channels for name, group in fire2.items()} == {"squeeze": 16, "expand1x1": 64, "expand3x3": 64}
    (consumer,) = fire2["expand3x3"].consumers
    assert (layers[consumer.layer].name, consumer.positions) == ("stage1.1.squeeze", tuple(range(64, 128)))
    narrower = narrow(spec, "stage1.0.expand1x1", 40)
    assert isinstance(narrower.blocks[2], Fire)
    assert narrower.blocks[2].out_channels == 104
    (consumer,) = by_name(narrower)["stage1.0.expand3x3"].consumers
    assert consumer.positions == tuple(range(40, 104))


def test_a_shufflenet_v2_stage_moves_in_steps_of_two() -> None:
    # Table 5, 1x: 116, 232 and 464 channels, one half of which every unit makes anew.
    spec = get("shufflenet_v2")
    stages = {name: group for name, group in by_name(spec).items() if name.endswith("shortcut_project")}
    assert [(group.channels, group.counts) for group in stages.values()] == [
        (width, range(2, width, 2)) for width in (116, 232, 464)
    ]
    stage2 = stages["stage2.0.shortcut_project"]
    assert [len(place.units) for place in stage2.producers] == [58] * 5
    assert len(stage2.cells) == 5 * 58
    rows = narrow(spec, stage2, 100).stages[1].blocks
    assert [(row.mid_channels, row.out_channels) for row in rows if isinstance(row, ShuffleUnitV2)] == [(58, 100)] * 4
    with pytest.raises(InvalidArgument, match="116 channels and can have 2 to 114 in steps of 2, got 101"):
        narrow(spec, stage2, 101)


def worked_after(half: int) -> Counter[int]:
    """How many of the channels that a ShuffleNetV2 unit makes go to work after 0, 1, ... more units.

    They come to stand at the odd places of 2 x half; each unit keeps the first half of the places, and the shuffle
    then doubles a place.
    """
    waits: Counter[int] = Counter()
    for place in range(1, 2 * half, 2):
        wait = 0
        while place << wait < half:
            wait += 1
        waits[wait] += 1
    return waits


@pytest.mark.parametrize("half", [100, 103, 104, 105, 108, 109, 112, 113, 115])
def test_a_shufflenet_v2_stage_of_eight_units_refuses_widths_that_shuffle_other_channels(half: int) -> None:
    spec = get("shufflenet_v2")
    stage3 = by_name(spec)["stage3.0.shortcut_project"]
    now, then = worked_after(116), worked_after(half)
    # The first unit's channels meet seven more units: what would wait longer goes on to the next stage.
    if all(then[wait] <= now[wait] for wait in range(7)):
        assert channels_of(narrow(spec, stage3, 2 * half))[stage3.name] == 2 * half
    else:
        with pytest.raises(InvalidArgument, match="the next smaller count that can be kept: 208"):
            narrow(spec, stage3, 2 * half)


def test_shufflenet_v1_without_groups_has_a_width_for_every_stage() -> None:
    # Table 1 for 1 group: stages of 144, 288 and 576 channels, of which the first hand on the stage before (24).
    spec = get("shufflenet_v1", groups=1)
    widths = {name: count for name, count in channels_of(spec).items() if not name.endswith("reduce")}
    assert widths == {
        "input": 3,
        "stem.0": 24,
        "stage2.0.expand": 120,
        "stage3.0.expand": 144,
        "stage4.0.expand": 288,
        "classifier.0.linear": 1000,
    }
    narrower = narrow(spec, "stage3.0.expand", 100)
    assert [row.out_channels for row in narrower.blocks if isinstance(row, ShuffleUnit)] == [144] * 4 + [244] * 8 + [
        532
    ] * 4


def test_shufflenet_v1_with_groups_is_narrowed_as_a_whole() -> None:
    # 24 : 240 : 480 : 960 with 3 groups in the last three: the least step is 3 : 30 : 60 : 120. At half the width, the
    # stages are those of the paper's 0.5x.
    spec, half = get("shufflenet_v1"), get("shufflenet_v1", width=0.5, groups=3)
    whole = by_name(spec)["stem.0"]
    assert (whole.channels, whole.counts) == (960, range(120, 960, 120))
    widths = [row.out_channels for row in narrow(spec, whole, 480).blocks if isinstance(row, (ConvBN, ShuffleUnit))]
    assert widths == [row.out_channels for row in half.blocks if isinstance(row, (ConvBN, ShuffleUnit))]


def test_a_bottleneck_between_grouped_convolutions_keeps_its_groups() -> None:
    # 60 channels, 3 groups before and behind the shuffle: 6 or 7 in each of the 9 pairs. 57 would need 7 where 6 are.
    spec = get("shufflenet_v1")
    bottleneck = by_name(spec)["stage2.1.reduce"]
    assert bottleneck.counts == range(3, 60, 3)
    pairs = Counter(cell[1] for cell in bottleneck.cells)
    assert sorted(pairs.values()) == [6, 6, 6, 7, 7, 7, 7, 7, 7]
    with pytest.raises(InvalidArgument, match=r"57 channels.* that can be kept: 54"):
        narrow(spec, bottleneck, 57)


# Edges


def network(*rows: object, in_channels: int = 3, resolution: int = 8) -> NetworkSpec:
    return NetworkSpec("small", resolution, (Stage("part", (*rows, Classifier(classes=4))),), in_channels)  # type: ignore[arg-type]


def test_a_residual_sum_behind_a_concatenation_divides_its_projection() -> None:
    spec = network(
        Fire(squeeze_channels=2, expand1x1_channels=3, expand3x3_channels=4),
        MBConv(expand_channels=9, out_channels=7, skip=True),
    )
    assert channels_of(spec) == {
        "input": 3,
        "part.0.squeeze": 2,
        "part.0.expand1x1": 3,
        "part.0.expand3x3": 4,
        "part.1.expand": 9,
        "part.2.linear": 4,
    }
    assert narrow(spec, "part.0.expand3x3", 1).blocks[:2] == (
        Fire(squeeze_channels=2, expand1x1_channels=3, expand3x3_channels=1),
        MBConv(expand_channels=9, out_channels=4, skip=True),
    )


def test_a_grouped_convolution_goes_in_steps_of_its_groups_and_a_depthwise_one_follows() -> None:
    spec = network(Conv(out_channels=12), ConvBN(out_channels=12, groups=12), ConvBN(out_channels=8, groups=4))
    first, second = by_name(spec)["part.0"], by_name(spec)["part.2"]
    assert (first.counts, second.counts) == (range(4, 12, 4), range(4, 8, 4))
    assert narrow(spec, first, 8).blocks[:2] == (Conv(out_channels=8), ConvBN(out_channels=8, groups=8))


def test_channels_side_by_side_in_a_grouped_convolution_are_narrowed_in_proportion() -> None:
    fire = Fire(squeeze_channels=2, expand1x1_channels=4, expand3x3_channels=8)
    spec = network(fire, ConvBN(out_channels=8, groups=2))
    group = by_name(spec)["part.0.expand1x1"]
    assert (group.channels, group.counts) == (12, range(6, 12, 6))
    assert narrow(spec, group, 6).blocks[0] == Fire(squeeze_channels=2, expand1x1_channels=2, expand3x3_channels=4)
    # 3 + 4 channels for a group of 7 each: no smaller proportion.
    odd = network(
        Fire(squeeze_channels=2, expand1x1_channels=3, expand3x3_channels=4), ConvBN(out_channels=7, groups=7)
    )
    assert by_name(odd)["part.0.expand1x1"].fixed == ""
    odd = network(
        Fire(squeeze_channels=2, expand1x1_channels=3, expand3x3_channels=4), ConvBN(out_channels=14, groups=7)
    )
    assert by_name(odd)["part.0.expand1x1"].fixed == "its 7 channels go in steps of 7"


def test_a_convolution_is_not_narrowed_into_a_depthwise_one() -> None:
    spec = network(ConvBN(out_channels=2), ConvBN(out_channels=1), ConvBN(out_channels=4, groups=1))
    assert by_name(spec)["part.0"].fixed == "its layers need 2 channels"


@pytest.mark.parametrize(
    ("group", "channels", "message"),
    [
        ("stage6.0.projekt", 8, "no channel group 'stage6.0.projekt'; the nearest are stage6.0.project"),
        ("input", 2, "input cannot be narrowed, it holds the network's input: choose a group that is not fixed"),
        ("classifier.0.linear", 8, "cannot be narrowed, it holds the network's classes"),
        ("stem.0", 0, "stem.0 has 32 channels and can have 1 to 31, got 0"),
        ("stem.0", 32, "can have 1 to 31, got 32"),
        ("stem.0", 8.0, "can have 1 to 31, got 8.0"),
        ("stem.0", True, "can have 1 to 31, got True"),
    ],
)
def test_what_cannot_be_narrowed_is_refused_with_the_reason(group: str, channels: int, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        narrow(get("mobilenet_v2"), group, channels)
