"""Pruning steps: a smaller network, and where each of its layers and channels stands in the network it came from.

A step is without weights: it says which network comes next and which weights it takes over.
`searchspace.nn.weights.prune` moves them, `searchspace.nn.execute` evaluates many steps from one network at once.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

from searchspace.blocks.protocol import Block
from searchspace.channels.coupling import coupling, narrow
from searchspace.channels.follow import CONVOLUTIONS
from searchspace.channels.groups import Cell, ChannelGroup, is_order_dependent
from searchspace.channels.maps import Maps, Scores, Side, best, sides, unit_maps, unit_origins
from searchspace.errors import InvalidArgument
from searchspace.graph import NETWORK_INPUT, Graph, Layer, lower
from searchspace.spec import NetworkSpec

CRITERIA = ("l2", "bn", "taylor")  # which channels stay: searchspace.nn.weights.importance.scores


@dataclass(frozen=True)
class Step:
    """From a network to a smaller one.

    A kernel that is smaller than its origin is its middle. An SE block that is gone had a mean gate, which the layer
    behind it takes into its weights.

    Attributes:
        spec, graph: The smaller network.
        origins: For each of its layers, the larger graph's layer it comes from.
        maps: Where the channels of its layers come from; a pair that is absent keeps all its channels.
    """

    spec: NetworkSpec
    graph: Graph
    origins: tuple[int, ...]
    maps: Maps


def narrowed_layers(graph: Graph, group: ChannelGroup, channels: int) -> dict[int, Layer]:
    """The layers that change, by index, when `group` has `channels` channels.

    They price the narrower network without making it.
    """
    changed: dict[int, Layer] = {}
    for place in group.outputs:
        layer = changed.get(place.layer, graph.layers[place.layer])
        share = len(place.units)
        kept, gone = share * channels // group.channels, share - share * channels // group.channels
        if layer.op == "se" and place in group.producers:
            changed[place.layer] = layer._replace(squeeze_channels=kept)
        else:
            changed[place.layer] = layer._replace(out_shape=(layer.out_shape[0] - gone, *layer.out_shape[1:]))
    for index, layer in enumerate(graph.layers):
        source = layer.inputs[0] if layer.inputs else NETWORK_INPUT
        if source in changed and changed[source].out_shape != graph.layers[source].out_shape:
            own = changed.get(index, layer)
            before, after = layer.in_shape[0], changed[source].out_shape[0]
            depthwise = layer.op in CONVOLUTIONS and layer.groups == before == layer.out_shape[0]
            start = layer.start * after // before
            own = own._replace(in_shape=(after, *layer.in_shape[1:]), groups=after if depthwise else own.groups)
            own = own._replace(start=start) if start != layer.start else own
            changed[index] = own
    return changed


def prune_group(spec: NetworkSpec, group: ChannelGroup, channels: int, scores: Scores) -> Step:
    """`group`, one of `coupling(spec)`, at `channels` channels: those units stay that score highest, in their order.

    `scores` has one number for each of the group's units, `len(group.cells)`. Where cells differ (grouped convolutions,
    shuffles) each keeps its own best. Raises InvalidArgument where `narrow` does, and for other scores.
    """
    if len(scores) != len(group.cells):
        raise InvalidArgument(f"{group.name} has {len(group.cells)} units, one score each is needed, got {len(scores)}")
    graph, narrower = lower(spec), narrow(spec, group, channels)
    origins = tuple(range(len(graph.layers)))
    if is_order_dependent(graph, group):
        maps = _order_dependent_maps(spec, narrower, group, scores)
    else:
        maps = dict(kept_maps(graph, group, kept_units(group, channels, scores)))
    return Step(narrower, lower(narrower), origins, maps)


def kept_units(group: ChannelGroup, channels: int, scores: Scores) -> set[int]:
    """The units of a group that score highest, for `channels` channels: the same share of each cell."""
    pools: dict[Cell, list[int]] = defaultdict(list)
    for unit, cell in enumerate(group.cells):
        pools[cell].append(unit)
    return {unit for pool in pools.values() for unit in best(pool, scores)[: len(pool) * channels // group.channels]}


def kept_maps(graph: Graph, group: ChannelGroup, kept: set[int]) -> Iterator[tuple[tuple[int, Side], list[int]]]:
    """(layer, side) and the channels that stay there: all but the group's units that are not kept."""
    inside = any(graph.layers[place.layer].op == "se" for place in group.producers)
    gone: dict[tuple[int, Side], set[int]] = defaultdict(set)
    for side, place in sides(group):
        lost = {at for unit, at in zip(place.units, place.positions, strict=True) if unit not in kept}
        gone[place.layer, "inside" if inside else side] |= lost
    for (index, side), lost in gone.items():
        layer = graph.layers[index]
        width = layer.squeeze_channels if inside else (layer.out_shape if side == "out" else layer.in_shape)[0]
        yield (index, side), [channel for channel in range(width) if channel not in lost]


def _order_dependent_maps(spec: NetworkSpec, narrower: NetworkSpec, group: ChannelGroup, scores: Scores) -> Maps:
    """Where channels are taken by position, the narrower network's own groups say which of them stay together."""
    wider = {each.name: each for each in coupling(spec)}
    origins = {}
    for each in coupling(narrower):
        found = unit_origins(wider[each.name], each, scores if each.name == group.name else None)
        assert found is not None  # narrow would have refused
        origins[each.name] = found
    maps = unit_maps(spec, narrower, origins=origins)
    assert maps is not None
    return maps


def without_se(spec: NetworkSpec) -> dict[str, Block]:
    """{block's name: the block without its SE} for every block that has one; for `replace_blocks`."""
    return _changed(spec, lambda block: block.without_se())


def smaller_kernels(spec: NetworkSpec) -> dict[str, Block]:
    """{block's name: the block with the next smaller odd kernel} where it has one above 3; for `replace_blocks`."""
    return _changed(spec, lambda block: block.with_smaller_kernel())


def _changed(spec: NetworkSpec, change: Callable[[Block], Block | None]) -> dict[str, Block]:
    found = ((where, change(block)) for where, _, block in spec.walk())
    return {where: block for where, block in found if block is not None}


def remove_block(spec: NetworkSpec) -> Iterator[tuple[str, Callable[[], Step]]]:
    """(block's name, its step) for every block that can be left out: the network without it.

    Its kind allows it, its output has the shape of its input, and it is not alone in its stage. Its input takes its
    place, as it does in a residual sum with nothing to add.
    """
    alone = {f"{stage.name}.0" for stage in spec.stages if len(stage.blocks) == 1}
    for where, channels, block in spec.walk():
        keeps_shape = block.reduction == 1 and block.channels_after(channels) == channels
        if keeps_shape and where not in alone and block.removable:
            yield where, partial(replace_blocks, spec, {where: None})


def replace_blocks(spec: NetworkSpec, blocks: Mapping[str, Block | None]) -> Step:
    """The network with the blocks of these names replaced (`without_se`, `smaller_kernels`) or, for None, taken away.

    Each layer that is left does what it did.
    """
    stages, names = [], {}
    for stage in spec.stages:
        kept: list[Block] = []
        for number, block in enumerate(stage.blocks):
            new = blocks.get(f"{stage.name}.{number}", block)
            if new is not None:
                names[f"{stage.name}.{len(kept)}"] = f"{stage.name}.{number}"
                kept.append(new)
        stages.append(replace(stage, blocks=tuple(kept)))
    smaller = replace(spec, stages=tuple(stages))
    graph, smaller_graph = lower(spec), lower(smaller)
    by_name = {layer.name: index for index, layer in enumerate(graph.layers)}
    origins = []
    for layer in smaller_graph.layers:
        stage_name, place, *rest = layer.name.split(".", 2)
        origins.append(by_name[".".join((names[f"{stage_name}.{place}"], *rest))])
    return Step(smaller, smaller_graph, tuple(origins), {})
