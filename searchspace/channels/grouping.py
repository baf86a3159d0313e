"""The channel groups of a Graph: who makes, hands on and reads each, and the counts it can have."""

from collections.abc import Iterator
from math import gcd
from operator import itemgetter

from searchspace.channels.follow import Roles, families, follow
from searchspace.channels.groups import HOLDS_CLASSES, HOLDS_INPUT, Cell, ChannelGroup, Numbers, Place, Width
from searchspace.graph import NETWORK_INPUT, Graph, Layer


def graph_groups(graph: Graph, roles: Roles) -> tuple[ChannelGroup, ...]:
    """All groups of a graph in the order of their first layers.

    Not yet fixed are those that slices and shuffles take by position and that can be kept at no smaller count.
    """
    lines = follow(graph, roles)
    drafts = [_Draft(graph, roles, channels) for channels in families(graph, roles, lines)]
    owners = {channel: draft for draft in drafts for channel in draft.units}
    shares = {id(line): _shares(line, owners) for line in lines.values()}
    found = []
    for index, layer in enumerate(graph.layers):
        makes = roles.makes(layer)
        for draft, units, positions in shares[id(lines[index])]:
            (draft.producers if makes else draft.pass_through).append(Place(index, units, positions))
        if makes and layer.inputs:
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
        name = "input" if self.in_image else self.layers[self.first].name
        counts = range(0) if fixed else range(least, count, step)
        places = tuple(self.producers), tuple(self.pass_through), tuple(self.consumers)
        return ChannelGroup(name, count, counts, fixed, tuple(self._widths()), *places, self._cells())

    def _ends(self) -> str:
        if self.in_image or any(self.layers[place.layer].op == "input" for place in self.producers):
            return HOLDS_INPUT
        ends = {len(self.layers) - 1, *self.roles.outputs}
        at_end = any(place.layer in ends for place in (*self.producers, *self.pass_through))
        return HOLDS_CLASSES if at_end else ""

    def _least(self, count: int, step: int) -> int:
        """The least multiple of `step` at which no ConvBN that is none now is a depthwise one."""
        least = step
        places = [(place, False) for place in self.producers] + [(place, True) for place in self.consumers]
        for place, inward in places:
            layer = self.layers[place.layer]
            width, other = layer.out_shape[0], layer.in_shape[0]
            if inward:
                width, other = other, width
            if layer.name in self.roles.convs and (other == layer.groups or layer.name in self.roles.tied):
                needed = layer.groups + 1 - (width - len(place.units))
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
        if any(len(place.units) != size for place in puts):
            layers = [()] * size
            for place in puts:
                for unit in place.units:
                    layers[unit] += (place.layer,)
        parts: list[Numbers] = [()] * size
        norms = [place for place in self.pass_through if self.layers[place.layer].op == "norm"]
        for place in (*self.producers, *self.consumers, *norms):
            groups = self.roles.parts(self.layers[place.layer])
            if groups > 1:
                for unit, position in zip(place.units, place.positions, strict=True):
                    parts[unit] += (position * groups // len(place.units),)
        return tuple(zip(layers, parts, strict=True))
