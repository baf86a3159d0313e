"""Channel groups: laws over any network and the zoo, on paper (the spec) and on real tensors; facts of the papers."""

import contextlib
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import asdict

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn

from searchspace.blocks import Classifier, Conv, ConvBN, Fire, MBConv, ShuffleUnit, ShuffleUnitV2
from searchspace.channels.coupling import coupling, narrow
from searchspace.channels.groups import ChannelGroup
from searchspace.channels.maps import unit_maps
from searchspace.errors import InvalidArgument, InvalidSpec
from searchspace.graph import NETWORK_INPUT, Layer, lower
from searchspace.nn import build
from searchspace.spec import NetworkSpec, Stage
from searchspace.zoo.catalogue import get, names

SCALED = tuple(f"efficientnet_b{phi}" for phi in range(1, 8))  # b0, deeper and wider
Groups = dict[str, ChannelGroup]
SHUFFLENETS: list[tuple[str, dict[str, float]]] = [
    ("shufflenet_v1", {"groups": 1}),
    ("shufflenet_v1", {"groups": 8, "depth": 1.0}),
    ("shufflenet_v2", {"width": 0.5, "depth": 1.0}),
]
ZOO: list[tuple[str, dict[str, float]]] = [*((name, {}) for name in names()), *SHUFFLENETS]


pytestmark = pytest.mark.usefixtures("one_thread")


def by_name(spec: NetworkSpec) -> Groups:
    return {group.name: group for group in coupling(spec)}


def is_squeezed(group: ChannelGroup, layers: tuple[Layer, ...]) -> bool:
    return any(layers[place.layer].op == "se" for place in group.producers)


def fitting(spec: NetworkSpec, group: ChannelGroup, rng: random.Random) -> tuple[int, NetworkSpec]:
    """A count of a free group that can be kept, and the network with it."""
    for count in rng.sample(group.counts, len(group.counts)):
        try:
            return count, narrow(spec, group, count)
        except InvalidArgument as refusal:
            next_smaller = re.search(r"can be kept: (\d+)", str(refusal))
        if next_smaller:
            return int(next_smaller[1]), narrow(spec, group, int(next_smaller[1]))
    raise AssertionError(f"{group.name} is called free, but no count fits")


# What the groups are


def check_cover(spec: NetworkSpec) -> None:
    layers, groups = lower(spec).layers, coupling(spec)
    outputs: dict[int, list[int]] = defaultdict(list)
    squeezed = Counter()
    for group in groups:
        if is_squeezed(group, layers):
            squeezed[group.name] += group.channels
        else:
            for place in group.outputs:
                outputs[place.layer] += place.positions
    assert [sorted(outputs[index]) for index in range(len(layers))] == [
        list(range(layer.out_shape[0])) for layer in layers
    ]
    assert squeezed == {layer.name: layer.squeeze_channels for layer in layers if layer.op == "se"}
    assert len({group.name for group in groups}) == len(groups)


@given(...)
@settings(max_examples=50)
def test_every_output_channel_of_every_layer_is_in_exactly_one_group(spec: NetworkSpec) -> None:
    check_cover(spec)


@pytest.mark.parametrize(("name", "options"), ZOO)
def test_the_zoo_is_covered(name: str, options: dict[str, float]) -> None:
    check_cover(get(name, **options))


@given(...)
@settings(max_examples=50)
def test_the_members_of_a_group_agree(spec: NetworkSpec) -> None:
    for group in coupling(spec):
        for place in group.places:
            assert len(place.positions) == len(place.units) == len(set(place.units))
            assert set(place.units) <= set(range(len(group.cells)))
            if len(group.cells) == group.channels and not group.fixed and len({cell[0] for cell in group.cells}) == 1:
                assert place.units == tuple(range(group.channels))
        assert max(len(place.units) for place in group.places) == group.channels
        assert bool(group.fixed) == (not group.counts)
        assert all(count < group.channels for count in group.counts[-1:])


@given(...)
@settings(max_examples=50)
def test_a_reader_finds_every_unit_where_its_source_puts_it(spec: NetworkSpec) -> None:
    layers = lower(spec).layers
    for group in coupling(spec):
        if is_squeezed(group, layers):
            continue
        put = {place.layer: place for place in group.outputs}
        for place in group.consumers:
            (source,) = layers[place.layer].inputs
            if source != NETWORK_INPUT:
                assert (place.units, place.positions) == put[source][1:]


@given(...)
@settings(max_examples=50)
def test_the_groups_of_a_row_field_add_up_to_it(spec: NetworkSpec) -> None:
    counted: Counter[tuple[int, str]] = Counter()
    for group in coupling(spec):
        for block, field, channels in group.widths:
            counted[block, field] += channels
    expected = {}
    for index, (_, in_channels, block) in enumerate(spec.walk()):
        fields = asdict(block)
        widths = {field for field in fields if field.endswith(("_channels", "_features")) or field == "classes"}
        if isinstance(block, ConvBN) and block.groups == in_channels == block.out_channels:
            widths.add("groups")
        expected |= {(index, field): fields[field] for field in widths if fields[field]}
    assert counted == expected


# What a narrower network is


def check_narrow(spec: NetworkSpec, group: ChannelGroup, rng: random.Random) -> tuple[int, NetworkSpec]:
    count, narrower = fitting(spec, group, rng)
    before, after = lower(spec).layers, lower(narrower).layers
    changed = {index for index, (old, new) in enumerate(zip(before, after, strict=True)) if old != new}
    assert changed == {place.layer for place in group.places}
    return count, narrower


@given(...)
@settings(max_examples=60)
def test_narrowing_changes_the_layers_of_the_group_and_no_other_group(spec: NetworkSpec, seed: int) -> None:
    rng = random.Random(seed)
    groups = coupling(spec)
    free = [group for group in groups if not group.fixed]
    for group in rng.sample(free, min(3, len(free))):
        count, narrower = check_narrow(spec, group, rng)
        for old, new in zip(groups, coupling(narrower), strict=True):
            if old.name != group.name:
                assert new._replace(
                    counts=old.counts, fixed=old.fixed, widths=(), producers=(), pass_through=(), consumers=()
                ) == (old._replace(widths=(), producers=(), pass_through=(), consumers=()))
            else:
                assert (new.name, new.channels) == (group.name, count)
                assert not Counter(new.cells) - Counter(old.cells)
            for role in ("producers", "pass_through", "consumers"):
                assert [p.layer for p in getattr(new, role)] == [p.layer for p in getattr(old, role)]


@pytest.mark.parametrize(("name", "options"), ZOO)
def test_every_free_group_of_the_zoo_can_be_narrowed(name: str, options: dict[str, float]) -> None:
    spec = get(name, **options)
    groups = coupling(spec)
    fixed = {group.name: group.fixed for group in groups if group.fixed}
    last = groups[-1].name
    assert fixed == {"input": "it holds the network's input", last: "it holds the network's classes"}
    for group in groups:
        if not group.fixed:
            check_narrow(spec, group, random.Random(group.name))


# What happens on tensors


def filled(spec: NetworkSpec, seed: int, *, scale: float = 1.0) -> nn.Module:
    """The network in double precision, its weights times `scale`, every batch norm and bias away from 0 and 1."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, like: Tensor) -> Tensor:
        return low + (high - low) * torch.rand(like.shape, generator=generator, dtype=torch.double)

    network = build(spec, generator=generator).double().eval()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.weight.data = uniform(0.5, 1.5, part.weight)
            part.bias.data = uniform(0.5, 1.5, part.bias)
            part.running_mean = uniform(-0.1, 0.1, part.bias)
            part.running_var = uniform(0.5, 1.5, part.bias)
        elif isinstance(part, (nn.Conv2d, nn.Linear)):
            part.weight.data *= scale
            if part.bias is not None:
                part.bias.data = uniform(0.5, 1.5, part.bias)
    return network


def images(spec: NetworkSpec) -> Tensor:
    shape = (2, spec.in_channels, spec.resolution, spec.resolution)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.double)


def rows_of(network: nn.Module, layer: Layer, *, squeezed: bool) -> list[Tensor]:
    """What makes a layer's output channels (an SE block's squeezed ones): the first axis of each goes over them."""
    module = network.get_submodule(layer.name)
    if layer.op == "se":
        return [module.reduce.weight, module.reduce.bias] if squeezed else []
    if layer.op == "linear":
        return [module.weight, module.bias]
    if layer.op != "conv":
        return []
    return [module.conv.weight, *([module.norm.weight, module.norm.bias] if layer.norm else [module.conv.bias])]


@torch.no_grad()
def zero(network: nn.Module, layers: tuple[Layer, ...], group: ChannelGroup, units: set[int]) -> None:
    """Removes what the producers and the depthwise pass_through put out for `units`."""
    for place in group.outputs:
        at = [position for unit, position in zip(*place[1:], strict=True) if unit in units]
        for values in rows_of(network, layers[place.layer], squeezed=place in group.producers):
            values[at] = 0.0


def run(network: nn.Module, spec: NetworkSpec) -> tuple[dict[str, Tensor], Tensor]:
    """({layer: what it puts out; squeezed channels under the name of the layer's activation}, the logits)."""
    seen: dict[str, Tensor] = {}

    def hook(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        return lambda _, __, out: seen.__setitem__(name, out.clone())

    hooked = [
        name for layer in lower(spec).layers for name in (layer.name, layer.name + ".act")[: 1 + (layer.op == "se")]
    ]
    handles = [network.get_submodule(name).register_forward_hook(hook(name)) for name in hooked]
    with torch.no_grad():
        logits = network(images(spec))
    for handle in handles:
        handle.remove()
    return seen, logits


def check_zero(spec: NetworkSpec, seed: int) -> None:
    layers = lower(spec).layers
    network = filled(spec, seed, scale=1e-3)
    chosen = {group: random.Random(seed).randrange(len(group.cells)) for group in coupling(spec) if not group.fixed}
    before, _ = run(network, spec)
    for group, unit in chosen.items():
        zero(network, layers, group, {unit})
    after, _ = run(network, spec)
    for group, unit in chosen.items():
        for place in group.outputs:
            name = layers[place.layer].name + ".act" * is_squeezed(group, layers)
            at = [position for member, position in zip(*place[1:], strict=True) if member == unit]
            assert not at or before[name][:, at].any(), (group.name, name)
            assert not after[name][:, at].any(), (group.name, name)


@given(...)
@settings(max_examples=12)
def test_a_unit_whose_makers_are_zero_is_zero_in_every_layer(spec: NetworkSpec, seed: int) -> None:
    check_zero(shrunk(spec), seed % 2**32)


def shrunk(spec: NetworkSpec) -> NetworkSpec:
    """The network at the least of some resolutions that leaves its kernels room."""
    for resolution in (24, 48, 96):
        with contextlib.suppress(InvalidSpec):
            return spec.with_resolution(resolution)
    return spec


def small(name: str, options: dict[str, float]) -> NetworkSpec:
    """A quarter as wide and half as deep, if not asked otherwise."""
    return shrunk(get(name, **{"width": 0.25, "depth": 0.5, "classes": 5, **options}))


@pytest.mark.parametrize(("name", "options"), ZOO)
def test_a_unit_whose_makers_are_zero_is_zero_in_every_layer_of_the_zoo(name: str, options: dict[str, float]) -> None:
    check_zero(small(name, options), 1)


def kept_units(wide: ChannelGroup, slim: ChannelGroup, rng: random.Random) -> list[int]:
    """For each unit of the narrower group, one of the wider in the same cell."""
    if len(wide.cells) == len(slim.cells):
        return list(range(len(wide.cells)))
    pools: dict[object, list[int]] = defaultdict(list)
    for unit in rng.sample(range(len(wide.cells)), len(wide.cells)):
        pools[wide.cells[unit]].append(unit)
    return [pools[cell].pop() for cell in slim.cells]


def columns(weight: Tensor, outs: Tensor, ins: Tensor, groups: tuple[int, int]) -> Tensor:
    """Rows `outs` and columns `ins` of a grouped convolution's weight as one of other groups."""
    before, after = groups
    if before == 1:
        return weight[outs][:, ins]
    rows, share = len(weight) // before, weight.shape[1]
    spread = weight.new_zeros(len(weight), share * before, *weight.shape[2:])
    for part in range(before):
        spread[part * rows :][:rows, part * share :][:, :share] = weight[part * rows :][:rows]
    parts = zip(outs.chunk(after), ins.chunk(after), strict=True)
    return torch.cat([spread[part_outs][:, part_ins] for part_outs, part_ins in parts])


@torch.no_grad()
def copy_layer(
    old: nn.Module, new: nn.Module, layer: Layer, outs: Tensor, ins: Tensor | None, inside: Tensor | None
) -> None:
    if layer.op == "se":
        assert inside is not None
        new.reduce.weight.copy_(old.reduce.weight[inside][:, outs])
        new.reduce.bias.copy_(old.reduce.bias[inside])
        new.expand.weight.copy_(old.expand.weight[outs][:, inside])
        new.expand.bias.copy_(old.expand.bias[outs])
    elif layer.op == "linear":
        new.weight.copy_(old.weight[outs][:, ins])
        new.bias.copy_(old.bias[outs])
    elif layer.op == "conv":
        weight = old.conv.weight
        new.conv.weight.copy_(
            weight[outs] if ins is None else columns(weight, outs, ins, (old.conv.groups, new.conv.groups))
        )
        if layer.norm:
            for name, values in new.norm.state_dict().items():
                values.copy_(old.norm.state_dict()[name][outs] if values.ndim else values)
        else:
            new.conv.bias.copy_(old.conv.bias[outs])


def check_cut(spec: NetworkSpec, seed: int) -> None:
    rng, wide, layers = random.Random(seed), by_name(spec), lower(spec).layers
    slim_spec, free = spec, [name for name, group in wide.items() if not group.fixed]
    for name in rng.sample(free, min(4, len(free))):
        group = by_name(slim_spec)[name]
        if not group.fixed:
            _, slim_spec = fitting(slim_spec, group, rng)
    slim = by_name(slim_spec)
    kept = {name: kept_units(wide[name], slim[name], rng) for name in wide}
    maps = unit_maps(spec, slim_spec, origins=kept)
    assert maps is not None
    network, cut = filled(spec, seed, scale=0.3), build(slim_spec).double().eval()
    for name, group in wide.items():
        zero(network, layers, group, set(range(len(group.cells))) - set(kept[name]))
    for index, layer in enumerate(layers):
        found = (maps.get((index, "out")), maps.get((index, "in")), maps.get((index, "inside")))
        at = [None if one is None else torch.tensor(one) for one in found]
        copy_layer(network.get_submodule(layer.name), cut.get_submodule(layer.name), layer, *at)
    (_, expected), (_, logits) = run(network, spec), run(cut, slim_spec)
    torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))


@given(...)
@settings(max_examples=12)
def test_zero_channels_can_be_cut_out_of_several_groups_at_once(spec: NetworkSpec, seed: int) -> None:
    check_cut(shrunk(spec), seed % 2**32)


@pytest.mark.parametrize(("name", "options"), [network for network in ZOO if network[0] not in SCALED])
def test_zero_channels_can_be_cut_out_of_the_zoo(name: str, options: dict[str, float]) -> None:
    check_cut(small(name, options), 1)


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
    slim = narrow(get("mobilenet_v3_large"), group, 16)
    assert [row.squeeze_channels for row in slim.stages[3].blocks if isinstance(row, MBConv)] == [16, 32, 32]


def test_a_fire_module_has_three_groups_and_its_second_expansion_is_read_behind_the_first() -> None:
    # Table 1: fire2 squeezes to 16 and expands to 64 + 64, which fire3's squeeze and expansions read.
    spec = get("squeezenet1_0")
    layers = lower(spec).layers
    groups = by_name(spec)
    fire2 = {name: groups[f"stage1.0.{name}"] for name in ("squeeze", "expand1x1", "expand3x3")}
    assert {name: group.channels for name, group in fire2.items()} == {"squeeze": 16, "expand1x1": 64, "expand3x3": 64}
    (reader,) = fire2["expand3x3"].consumers
    assert (layers[reader.layer].name, reader.positions) == ("stage1.1.squeeze", tuple(range(64, 128)))
    slim = narrow(spec, "stage1.0.expand1x1", 40)
    assert isinstance(slim.blocks[2], Fire)
    assert slim.blocks[2].out_channels == 104
    (reader,) = by_name(slim)["stage1.0.expand3x3"].consumers
    assert reader.positions == tuple(range(40, 104))


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
def test_a_shufflenet_v2_stage_of_eight_units_refuses_widths_that_deal_out_others(half: int) -> None:
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
    slim = narrow(spec, "stage3.0.expand", 100)
    assert [row.out_channels for row in slim.blocks if isinstance(row, ShuffleUnit)] == [144] * 4 + [244] * 8 + [
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
