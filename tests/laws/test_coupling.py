"""Channel groups: laws over any network and the zoo, on paper (the spec) and on real tensors."""

import random
from collections import Counter
from dataclasses import asdict

import pytest
from hypothesis import given, settings

from searchspace.blocks import Bottleneck, ConvBN, RepConv
from searchspace.channels.coupling import coupling
from searchspace.graph import NETWORK_INPUT, lower
from searchspace.spec import NetworkSpec
from searchspace.zoo.catalogue import get, names, representatives
from tests.block_examples import at_fewest_pixels
from tests.channel_checks import check_cover, check_cut, check_narrow, check_zero, is_squeezed

SHUFFLENETS: list[tuple[str, dict[str, float]]] = [
    ("shufflenet_v1", {"groups": 1}),
    ("shufflenet_v1", {"groups": 8, "depth": 1.0}),
    ("shufflenet_v2", {"width": 0.5, "depth": 1.0}),
]
ZOO: list[tuple[str, dict[str, float]]] = [*((name, {}) for name in names()), *SHUFFLENETS]
KINDS: list[tuple[str, dict[str, float]]] = [*((name, {}) for name in representatives()), *SHUFFLENETS]  # of blocks


pytestmark = pytest.mark.usefixtures("one_thread")


def small(name: str, options: dict[str, float]) -> NetworkSpec:
    """A quarter as wide and half as deep, if not asked otherwise."""
    return at_fewest_pixels(get(name, **{"width": 0.25, "depth": 0.5, "classes": 5, **options}))


@given(...)
@settings(max_examples=25)
def test_every_output_channel_of_every_layer_is_in_exactly_one_group(spec: NetworkSpec) -> None:
    check_cover(spec)


@pytest.mark.parametrize(("name", "options"), ZOO)
def test_the_zoo_is_covered(name: str, options: dict[str, float]) -> None:
    check_cover(get(name, **options))


@given(...)
@settings(max_examples=25)
def test_the_members_of_a_group_agree(spec: NetworkSpec) -> None:
    for group in coupling(spec):
        places = (*group.outputs, *group.consumers)
        for place in places:
            # A concatenation may repeat channels (a Ghost module's halves): then a unit has several positions.
            assert len(place.units) == len(place.positions) == len(set(place.positions))
            assert set(place.units) <= set(range(len(group.cells)))
            if len(group.cells) == group.channels and not group.fixed and len({cell[0] for cell in group.cells}) == 1:
                assert place.units == tuple(range(group.channels))
        assert max(len(place.units) for place in places) == group.channels
        assert bool(group.fixed) == (not group.counts)
        assert all(count < group.channels for count in group.counts[-1:])


@given(...)
@settings(max_examples=25)
def test_a_consumer_finds_every_unit_where_its_source_puts_it(spec: NetworkSpec) -> None:
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
@settings(max_examples=25)
def test_the_groups_of_a_row_field_add_up_to_it(spec: NetworkSpec) -> None:
    counted: Counter[tuple[int, str]] = Counter()
    for group in coupling(spec):
        for block, field, channels in group.widths:
            counted[block, field] += channels
    expected = {}
    for index, (_, in_channels, block) in enumerate(spec.walk()):
        fields = asdict(block)
        widths = {field for field in fields if field.endswith(("_channels", "_features")) or field == "classes"}
        depthwise = isinstance(block, ConvBN | RepConv) and block.groups == in_channels == block.out_channels
        inside = isinstance(block, Bottleneck) and block.groups == block.reduce_channels == block.mid_channels
        if depthwise or inside:
            widths.add("groups")
        expected |= {(index, field): fields[field] for field in widths if fields[field]}
    assert counted == expected


@given(...)
@settings(max_examples=20)
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


@pytest.mark.parametrize(("name", "options"), KINDS)
def test_every_free_group_of_the_zoo_can_be_narrowed(name: str, options: dict[str, float]) -> None:
    spec = get(name, **options)
    groups = coupling(spec)
    fixed = {group.name: group.fixed for group in groups if group.fixed}
    last = groups[-1].name
    assert fixed == {"input": "it holds the network's input", last: "it holds the network's classes"}
    for group in groups:
        if not group.fixed:
            check_narrow(spec, group, random.Random(group.name))


@given(...)
@settings(max_examples=6)
def test_a_unit_whose_producers_are_zero_is_zero_in_every_layer(spec: NetworkSpec, seed: int) -> None:
    check_zero(at_fewest_pixels(spec), seed % 2**32)


@pytest.mark.parametrize(("name", "options"), KINDS)
def test_in_the_zoo_a_unit_whose_producers_are_zero_is_zero_everywhere(name: str, options: dict[str, float]) -> None:
    check_zero(small(name, options), 1)


@given(...)
@settings(max_examples=6)
def test_zero_channels_can_be_pruned_out_of_several_groups_at_once(spec: NetworkSpec, seed: int) -> None:
    check_cut(at_fewest_pixels(spec), seed % 2**32)


@pytest.mark.parametrize(("name", "options"), KINDS)
def test_zero_channels_can_be_pruned_out_of_the_zoo(name: str, options: dict[str, float]) -> None:
    check_cut(small(name, options), 1)
