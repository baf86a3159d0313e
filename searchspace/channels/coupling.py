"""Channel coupling: which channel counts of a network move together, and which of them can be narrowed.

Single channels are followed through the Graph. A convolution or linear layer makes new ones; depthwise convolutions,
SE, pooling, sums, concatenations, slices and shuffles hand them on; a residual sum makes two channels one. Channels
that pass the same layers are one group. So are all those that a slice, a shuffle or a grouped convolution takes by
position: they are narrowed in proportion.
"""

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from math import gcd
from operator import itemgetter
from typing import NamedTuple

from searchspace.errors import InvalidArgument
from searchspace.graph import NETWORK_INPUT, Graph, Layer, lower
from searchspace.spec import NetworkSpec

Numbers = tuple[int, ...]
_INPUT, _CLASSES = "it holds the network's input", "it holds the network's classes"
Cell = tuple[Numbers, Numbers]


class Place(NamedTuple):
    """Where a layer has units of a group: `units[k]` is channel `positions[k]` of its output (producers, pass_through)
    or of
    its input (consumers); for squeezed channels, of the inside of the SE block."""

    layer: int
    units: Numbers
    positions: Numbers


class Width(NamedTuple):
    """`field` of block row `block` (an index in `NetworkSpec.blocks`) counts `channels` of a group's channels."""

    block: int
    field: str
    channels: int


class ChannelGroup(NamedTuple):
    """Channels that stay or go together.

    name: of the layer that makes the first of them; "input" for the network's input.
    channels: the count that `narrow` changes, that of the group's widest layer.
    counts: the smaller counts that rows and grouped convolutions allow; empty for a fixed group. Where a slice or a
        shuffle is among the pass_through, `narrow` refuses those for which no choice of channels would do.
    fixed: "" for a free group, else what stands in the way.
    widths: the row fields that count the group.
    producers: convolutions and linear layers that put it out: rows of weights, batch norms and biases.
    pass_through: layers that hand it on, one to one; depthwise convolutions and SE blocks have weights for each
    channel.
    consumers: convolutions and linear layers whose weights have a column for each.
    cells: of each unit, the layers that put it out and its part in each grouped convolution. A unit is what can go
        alone: a channel with all that it is summed with. There are `channels` of them, and more in a ShuffleNetV2
        stage, where each block makes its own. A narrower network has, of each cell, so many units or fewer: it can
        take over as many of the wider network's, each to the places of the unit that it becomes.
    """

    name: str
    channels: int
    counts: range
    fixed: str
    widths: tuple[Width, ...]
    producers: tuple[Place, ...]
    pass_through: tuple[Place, ...]
    consumers: tuple[Place, ...]
    cells: tuple[Cell, ...]


def coupling(spec: NetworkSpec) -> tuple[ChannelGroup, ...]:
    """All channel groups of a network in the order of their first layers.

    Every output channel of every layer is in exactly one of them. The squeezed channels of an SE block, which no
    layer puts out, are a group with the block's name.
    """
    groups = _groups(spec)
    stuck = _stuck(spec, groups)
    reason = "at every smaller count its layers would deal out others than now"
    return tuple(group._replace(counts=range(0), fixed=reason) if group.name in stuck else group for group in groups)


def in_the_way(groups: Iterable[ChannelGroup]) -> dict[str, str]:
    """{group: why it is fixed} of those that are; the network's input and classes, which always are, apart."""
    return {group.name: group.fixed for group in groups if group.fixed not in ("", _INPUT, _CLASSES)}


def narrow(spec: NetworkSpec, group: ChannelGroup | str, channels: int) -> NetworkSpec:
    """The network with `group`, one of `coupling(spec)` or its name, at `channels` channels; all others stay.

    Raises InvalidArgument for an unknown or fixed group, a count that is not in its `counts`, or one for which no
    choice of its channels would do (see `ChannelGroup.cells`).
    """
    if isinstance(group, str):
        group = named(coupling(spec), group)
    check_count(group, channels)
    fitting = next(accepted_counts(spec, group, channels), None)
    if fitting != channels:
        raise InvalidArgument(
            f"{group.name} cannot have {channels} channels, at which its layers would deal out others than now; "
            f"the next smaller count that can be kept: {fitting or 'none'}"
        )
    return _with_count(spec, group, channels)


def accepted_counts(spec: NetworkSpec, group: ChannelGroup, most: int) -> Iterator[int]:
    """The counts of a group, one of `coupling(spec)`, that `narrow` accepts, from `most` channels down."""
    dealt = is_order_dependent(lower(spec), group)
    for channels in reversed(group.counts):
        if channels <= most and (not dealt or _fits(spec, group, channels)):
            yield channels


def check_count(group: ChannelGroup, channels: int) -> None:
    """Raises InvalidArgument for a fixed group, or a count that is not in its `counts`."""
    if group.fixed:
        raise InvalidArgument(f"{group.name} cannot be narrowed, {group.fixed}: choose a group that is not fixed")
    counts = group.counts
    if type(channels) is not int or channels not in counts:
        steps = f" in steps of {counts.step}" if counts.step > 1 else ""
        raise InvalidArgument(
            f"{group.name} has {group.channels} channels and can have {counts[0]} to {counts[-1]}{steps}, "
            f"got {channels!r}"
        )


def named(groups: Sequence[ChannelGroup], name: str) -> ChannelGroup:
    """The group of that name. Raises InvalidArgument where there is none."""
    by_name = {group.name: group for group in groups}
    if name not in by_name:
        near = difflib.get_close_matches(name, by_name, n=3, cutoff=0.0)
        raise InvalidArgument(f"there is no channel group {name!r}; the nearest are {', '.join(near)}")
    return by_name[name]


def _with_count(spec: NetworkSpec, group: ChannelGroup, channels: int) -> NetworkSpec:
    rows = list(spec.blocks)
    for block, field, share in group.widths:
        gone = share - share * channels // group.channels
        rows[block] = replace(rows[block], **{field: getattr(rows[block], field) - gone})
    left = iter(rows)
    stages = tuple(replace(stage, blocks=tuple(next(left) for _ in stage.blocks)) for stage in spec.stages)
    return replace(spec, stages=stages)


def is_order_dependent(graph: Graph, group: ChannelGroup) -> bool:
    """Whether a slice or a shuffle takes channels of the group by position."""
    return any(graph.layers[place.layer].op in ("slice", "shuffle") for place in group.pass_through)


def _keeps(group: ChannelGroup, narrower: ChannelGroup | None) -> bool:
    """Whether every unit of the narrower group can be one of the wider, in the same layers."""
    return narrower is not None and Counter(narrower.cells) <= Counter(group.cells)


def _fits(spec: NetworkSpec, group: ChannelGroup, channels: int) -> bool:
    return _keeps(group, named(_groups(_with_count(spec, group, channels)), group.name))


def _stuck(spec: NetworkSpec, groups: tuple[ChannelGroup, ...]) -> set[str]:
    """The groups that are dealt out and of which no count fits: all are tried at once, the least counts first."""
    graph = lower(spec)
    waiting = [group for group in groups if group.counts and is_order_dependent(graph, group)]
    stuck: set[str] = set()
    tried = 0
    while waiting:
        narrower = spec
        for group in waiting:
            narrower = _with_count(narrower, group, group.counts[tried])
        found = {group.name: group for group in _groups(narrower)}
        tried += 1
        waiting = [group for group in waiting if not _keeps(group, found.get(group.name))]
        stuck |= {group.name for group in waiting if len(group.counts) == tried}
        waiting = [group for group in waiting if len(group.counts) > tried]
    return stuck


class Roles(NamedTuple):
    """What a Graph alone does not say of its layers.

    depthwise: names of the convolutions that hand channels on one to one. convs: names of those that are not
    depthwise, but would be with as many channels in and out as groups. fields: by layer name, the row fields (block,
    field) that count its channels; empty for a network without rows.
    """

    depthwise: Set[str]
    convs: Set[str]
    fields: Mapping[str, Sequence[tuple[int, str]]]

    def makes(self, layer: Layer) -> bool:
        """Whether the layer puts out channels of its own."""
        return layer.op == "linear" or (layer.op == "conv" and layer.name not in self.depthwise)

    def parts(self, layer: Layer) -> int:
        """Equal runs of channels that the layer tells apart: groups of a shuffle or a grouped convolution, else 1."""
        return layer.groups if layer.op == "shuffle" or self.makes(layer) else 1


def _roles(spec: NetworkSpec) -> Roles:
    """What the rows of a network say of its layers."""
    all_depthwise: set[str] = set()
    convs: set[str] = set()
    fields: dict[str, list[tuple[int, str]]] = {}
    for index, (where, in_channels, block) in enumerate(spec.walk()):
        counts, depthwise, dense = block.channels(in_channels)
        all_depthwise.update(where + ending for ending in depthwise)
        convs.update(where + ending for ending in dense)
        for field, ending in counts.items():
            fields.setdefault(where + ending, []).append((index, field))
    return Roles(all_depthwise, convs, fields)


def _follow(graph: Graph, roles: Roles) -> dict[int, list[int]]:
    """The output channels of every layer and of the image, as numbers: equal numbers are one channel, smaller ones
    are older, the image's are the first. Layers that hand on the same channels may share a list."""
    parent = list(range(graph.in_shape[0]))
    outputs = {NETWORK_INPUT: parent[:]}
    for index, layer in enumerate(graph.layers):
        sources = [outputs[source] for source in layer.inputs]
        line = sources[-1]
        if roles.makes(layer):
            line = list(range(len(parent), len(parent) + layer.out_shape[0]))
            parent += line
        elif layer.op == "add":
            _unite(parent, *sources)
        elif layer.op == "concat":
            line = [channel for source in sources for channel in source]
        elif layer.op == "slice":
            line = line[layer.start : layer.start + layer.out_shape[0]]
        elif layer.op == "shuffle":
            part = len(line) // layer.groups
            line = [channel for first in range(part) for channel in line[first::part]]
        outputs[index] = line
    for channel, older in enumerate(parent):
        parent[channel] = parent[older]
    lines = {id(line): [parent[channel] for channel in line] for line in outputs.values()}
    return {index: lines[id(line)] for index, line in outputs.items()}


def _unite(parent: list[int], one: list[int], other: list[int]) -> None:
    for a, b in zip(one, other, strict=True):
        while parent[a] != a:
            a = parent[a]
        while parent[b] != b:
            b = parent[b]
        parent[max(a, b)] = min(a, b)


def _ordered(graph: Graph, roles: Roles, lines: dict[int, list[int]]) -> Iterator[list[int]]:
    """The lines of channels whose positions count."""
    for index, layer in enumerate(graph.layers):
        if layer.op == "slice" or roles.parts(layer) > 1:
            yield lines[layer.inputs[0]]
        if layer.op == "conv" and roles.parts(layer) > 1:
            yield lines[index]


def _families(graph: Graph, roles: Roles, lines: dict[int, list[int]]) -> list[list[int]]:
    """The channels of each group, oldest first.

    A channel's kind is the numbers of the lines that have it; kinds side by side in an ordered line are one group.
    """
    kinds: dict[int, Numbers] = {}
    for number, line in enumerate({id(line): line for line in lines.values()}.values()):
        if kinds.keys().isdisjoint(line):
            kinds.update(dict.fromkeys(line, (number,)))
        else:
            kinds.update([(channel, (*kinds.get(channel, ()), number)) for channel in line])
    leaders = {kind: kind for kind in dict.fromkeys(kinds.values())}
    for line in _ordered(graph, roles, lines):
        tied = {leaders[kinds[channel]] for channel in line}
        if len(tied) > 1:
            first = min(tied)
            leaders = {kind: first if leader in tied else leader for kind, leader in leaders.items()}
    families: dict[Numbers, list[int]] = {leader: [] for leader in leaders.values()}
    for channel, kind in sorted(kinds.items()):
        families[leaders[kind]].append(channel)
    return list(families.values())


def _groups(spec: NetworkSpec) -> tuple[ChannelGroup, ...]:
    return graph_groups(lower(spec), _roles(spec))


def graph_groups(graph: Graph, roles: Roles) -> tuple[ChannelGroup, ...]:
    """All groups of a graph, not yet fixed where channels that are dealt out have no smaller count that fits."""
    lines = _follow(graph, roles)
    drafts = [_Draft(graph, roles, channels) for channels in _families(graph, roles, lines)]
    owners = {channel: draft for draft in drafts for channel in draft.units}
    shares = {id(line): _shares(line, owners) for line in lines.values()}
    found = []
    for index, layer in enumerate(graph.layers):
        makes = roles.makes(layer)
        for draft, units, positions in shares[id(lines[index])]:
            (draft.producers if makes else draft.pass_through).append(Place(index, units, positions))
        if makes:
            for draft, units, positions in shares[id(lines[layer.inputs[0]])]:
                draft.consumers.append(Place(index, units, positions))
        if layer.op == "se":
            found.append((index, _squeezed(index, layer, roles)))
    found += [(draft.first, draft.group()) for draft in drafts]
    return tuple(group for _, group in sorted(found, key=itemgetter(0)))


def _shares(line: list[int], owners: "dict[int, _Draft]") -> "list[tuple[_Draft, Numbers, Numbers]]":
    """(group, its units in the line, their positions in it)."""
    by_age = sorted(range(len(line)), key=line.__getitem__)
    drafts = {*map(owners.__getitem__, line)}
    found = []
    for draft in drafts:
        positions = by_age if len(drafts) == 1 else [at for at in by_age if line[at] in draft.units]
        found.append((draft, tuple([draft.units[line[at]] for at in positions]), tuple(positions)))
    return found


def _squeezed(index: int, layer: Layer, roles: Roles) -> ChannelGroup:
    """The channels inside an SE block."""
    count = layer.squeeze_channels
    place = Place(index, tuple(range(count)), tuple(range(count)))
    widths = tuple(Width(block, field, count) for block, field in roles.fields.get(layer.name, ()))
    cell = (index,), ()
    fixed = _too_few(count, 1, 1)
    return ChannelGroup(layer.name, count, range(1, count), fixed, widths, (place,), (), (place,), (cell,) * count)


def _too_few(count: int, step: int, least: int) -> str:
    """Why a group of `count` channels that goes by steps, not below `least`, is fixed; "" if it is not."""
    if count > least:
        return ""
    if count == 1:
        return "it has only one channel"
    return f"its {count} channels go in steps of {step}" if least == step else f"its layers need {count} channels"


class _Draft:
    """A group in the making: its channels' units, and where they are."""

    def __init__(self, graph: Graph, roles: Roles, channels: list[int]) -> None:
        self.layers, self.roles = graph.layers, roles
        self.units = {channel: unit for unit, channel in enumerate(channels)}
        self.in_image = channels[0] < graph.in_shape[0]
        self.producers: list[Place] = []
        self.pass_through: list[Place] = []
        self.consumers: list[Place] = []

    @property
    def first(self) -> int:
        """The layer that makes the first channel."""
        return NETWORK_INPUT if self.in_image else self.producers[0].layer

    def group(self) -> ChannelGroup:
        """The group, once all places are known."""
        everywhere = (*self.producers, *self.pass_through, *self.consumers)
        count = max(len(place.units) for place in everywhere)
        runs = [len(place.units) // self.roles.parts(self.layers[place.layer]) for place in everywhere]
        step = count // gcd(*runs)
        least = self._least(count, step)
        fixed = self._ends() or _too_few(count, step, least)
        return ChannelGroup(
            name="input" if self.in_image else self.layers[self.first].name,
            channels=count,
            counts=range(0) if fixed else range(least, count, step),
            fixed=fixed,
            widths=tuple(self._widths()),
            producers=tuple(self.producers),
            pass_through=tuple(self.pass_through),
            consumers=tuple(self.consumers),
            cells=self._cells(),
        )

    def _ends(self) -> str:
        if self.in_image:
            return _INPUT
        last = len(self.layers) - 1
        at_end = any(place.layer == last for place in (*self.producers, *self.pass_through))
        return _CLASSES if at_end else ""

    def _least(self, count: int, step: int) -> int:
        """The least multiple of `step` at which no ConvBN that is none now is a depthwise one."""
        least = step
        places = [(place, False) for place in self.producers] + [(place, True) for place in self.consumers]
        for place, inward in places:
            layer = self.layers[place.layer]
            width, other = layer.out_shape[0], layer.in_shape[0]
            if inward:
                width, other = other, width
            if layer.name in self.roles.convs and other == layer.groups:
                needed = other + 1 - (width - len(place.units))
                least = max(least, -(-needed * count // len(place.units)))
        return -(-least // step) * step

    def _widths(self) -> Iterator[Width]:
        for place in (*self.producers, *self.pass_through):
            layer = self.layers[place.layer]
            if layer.op != "se":
                for block, field in self.roles.fields.get(layer.name, ()):
                    yield Width(block, field, len(place.units))

    def _cells(self) -> tuple[Cell, ...]:
        size = len(self.units)
        puts = sorted((*self.producers, *self.pass_through))
        layers: list[Numbers] = [tuple(place.layer for place in puts)] * size
        if any(len(place.units) < size for place in puts):
            layers = [()] * size
            for place in puts:
                for unit in place.units:
                    layers[unit] += (place.layer,)
        parts: list[Numbers] = [()] * size
        for place in (*self.producers, *self.consumers):
            groups = self.roles.parts(self.layers[place.layer])
            if groups > 1:
                for unit, position in zip(place.units, place.positions, strict=True):
                    parts[unit] += (position * groups // len(place.units),)
        return tuple(zip(layers, parts, strict=True))
