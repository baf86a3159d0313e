"""Steps down: a network with less in it, and where each of its layers and channels stands in the network it came from.

A step is on paper: it says which network comes next and which weights it takes over. `searchspace.nn.weights.prune`
moves
the weights, `searchspace.nn.execute` evaluates many steps from one network at once.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from searchspace.blocks.protocol import Block
from searchspace.channels.coupling import Cell, ChannelGroup, Place, coupling, is_order_dependent, narrow
from searchspace.channels.maps import Maps, Side, unit_maps
from searchspace.errors import InvalidArgument
from searchspace.graph import Graph, Layer, lower
from searchspace.spec import NetworkSpec

CRITERIA = ("l2", "bn", "taylor")  # which channels stay: searchspace.nn.weights.importance.scores
Scores = Sequence[float]


@dataclass(frozen=True)
class Step:
    """From a network to a smaller one.

    origins: for each layer of the smaller graph, the larger graph's layer it comes from. maps: {(layer, side): for each
    channel of the smaller network's layer there, the larger one's}; a pair that is absent keeps all its channels. A
    kernel that is smaller than its origin is its middle; an SE block that is gone had a mean gate, which the
    layer behind it takes into its weights.
    """

    spec: NetworkSpec
    graph: Graph
    origins: tuple[int, ...]
    maps: Maps


def narrowed_layers(graph: Graph, group: ChannelGroup, channels: int) -> dict[int, Layer]:
    """The layers that change, by index, when `group` has `channels` channels: what prices a cut without making it."""
    changed: dict[int, Layer] = {}
    for place in (*group.producers, *group.pass_through):
        layer = changed.get(place.layer, graph.layers[place.layer])
        share = len(place.units)
        kept, gone = share * channels // group.channels, share - share * channels // group.channels
        if layer.op == "se" and place in group.producers:
            changed[place.layer] = layer._replace(squeeze_channels=kept)
        else:
            changed[place.layer] = layer._replace(out_shape=(layer.out_shape[0] - gone, *layer.out_shape[1:]))
    for index, layer in enumerate(graph.layers):
        source = layer.inputs[0]
        if source in changed and changed[source].out_shape != graph.layers[source].out_shape:
            own = changed.get(index, layer)
            before, after = layer.in_shape[0], changed[source].out_shape[0]
            depthwise = layer.op == "conv" and layer.groups == before == layer.out_shape[0]
            own = own._replace(in_shape=(after, *layer.in_shape[1:]), groups=after if depthwise else own.groups)
            changed[index] = own
    return changed


def cut(spec: NetworkSpec, group: ChannelGroup, channels: int, scores: Scores) -> Step:
    """`group`, one of `coupling(spec)`, at `channels` channels: those units stay that score highest, in their order.

    scores: one number for each of the group's units, `len(group.cells)`. Where cells differ (grouped convolutions,
    shuffles) each keeps its own best. Raises InvalidArgument where `narrow` does, and for other scores.
    """
    if len(scores) != len(group.cells):
        raise InvalidArgument(f"{group.name} has {len(group.cells)} units, one score each is needed, got {len(scores)}")
    graph, slim = lower(spec), narrow(spec, group, channels)
    slim_graph = lower(slim)
    origins = tuple(range(len(graph.layers)))
    if is_order_dependent(graph, group):
        return Step(slim, slim_graph, origins, _dealt_maps(spec, slim, group, scores))
    kept = kept_units(group, channels, scores)
    return Step(slim, slim_graph, origins, dict(kept_maps(graph, group, kept)))


def kept_units(group: ChannelGroup, channels: int, scores: Scores) -> set[int]:
    """The units of a group that score highest, for `channels` channels: the same share of each cell."""
    pools: dict[Cell, list[int]] = defaultdict(list)
    for unit, cell in enumerate(group.cells):
        pools[cell].append(unit)
    return {
        unit
        for pool in pools.values()
        for unit in sorted(pool, key=lambda unit: -scores[unit])[: len(pool) * channels // group.channels]
    }


def kept_maps(graph: Graph, group: ChannelGroup, kept: set[int]) -> Iterator[tuple[tuple[int, Side], list[int]]]:
    """(layer, side) and the channels that stay there: all but the group's units that are not kept."""
    inside = any(graph.layers[place.layer].op == "se" for place in group.producers)
    gone: dict[tuple[int, Side], set[int]] = defaultdict(set)
    sides: tuple[tuple[Side, tuple[Place, ...]], ...] = (
        ("out", (*group.producers, *group.pass_through)),
        ("in", group.consumers),
    )
    for side, places in sides:
        for place in places:
            lost = {at for unit, at in zip(place.units, place.positions, strict=True) if unit not in kept}
            gone[place.layer, "inside" if inside else side] |= lost
    for (index, side), lost in gone.items():
        layer = graph.layers[index]
        width = layer.squeeze_channels if inside else (layer.out_shape if side == "out" else layer.in_shape)[0]
        yield (index, side), [channel for channel in range(width) if channel not in lost]


def _dealt_maps(spec: NetworkSpec, slim: NetworkSpec, group: ChannelGroup, scores: Scores) -> Maps:
    """What is dealt out by position: the slim network's own units say who keeps whose company."""
    wider = {each.name: each for each in coupling(spec)}
    hosts = {
        each.name: _hosts(wider[each.name], each, scores if each.name == group.name else None)
        for each in coupling(slim)
    }
    maps = unit_maps(spec, slim, hosts=hosts)
    assert maps is not None  # narrow would have refused
    return maps


def _hosts(wide: ChannelGroup, slim: ChannelGroup, scores: Scores | None) -> list[int]:
    """For each unit of the slim group one of the wide group's in the same cell: the best ones, in their order."""
    pools: dict[Cell, list[int]] = defaultdict(list)
    for unit, cell in enumerate(wide.cells):
        pools[cell].append(unit)
    if scores is not None:
        needed = Counter(slim.cells)
        pools = {
            cell: sorted(sorted(pool, key=lambda unit: -scores[unit])[: needed[cell]]) for cell, pool in pools.items()
        }
    places = {cell: iter(pool) for cell, pool in pools.items()}
    return [next(places[cell]) for cell in slim.cells]


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
    """(block's name, its step) for every removable block whose output has the shape of its input and that is not alone
    in its stage: the network without it. Its input takes its place, as it does in a residual sum with nothing to add.
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
    slim = replace(spec, stages=tuple(stages))
    graph, slim_graph = lower(spec), lower(slim)
    by_name = {layer.name: index for index, layer in enumerate(graph.layers)}
    origins = []
    for layer in slim_graph.layers:
        stage_name, place, *rest = layer.name.split(".", 2)
        origins.append(by_name[".".join((names[f"{stage_name}.{place}"], *rest))])
    return Step(slim, slim_graph, tuple(origins), {})
