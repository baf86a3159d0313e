"""Which channels stay where a slice or a shuffle takes them by position: those that it takes alike afterwards."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from searchspace.channels.follow import Roles
from searchspace.channels.grouping import graph_groups
from searchspace.channels.groups import ChannelGroup, Place, named
from searchspace.channels.maps import Maps, Scores, sides, unit_origins
from searchspace.channels.steps import narrowed_layers
from searchspace.graph import Graph


def narrowed(graph: Graph, group: ChannelGroup, channels: int) -> Graph:
    """The graph with a group at `channels` channels, on paper."""
    changed = narrowed_layers(graph, group, channels)
    return graph._replace(layers=tuple(changed.get(at, layer) for at, layer in enumerate(graph.layers)))


class Match:
    """A group of a network, and the same group with fewer channels, each unit of which is one of the first.

    Attributes:
        smaller: the narrower network.
        kept: for each unit of the narrower group the wider group's; None where none would do.
    """

    def __init__(self, graph: Graph, roles: Roles, group: ChannelGroup, channels: int, scores: Scores | None) -> None:
        self._graph, self._wider = graph, group
        self.smaller = narrowed(graph, group, channels)
        self._narrower = named(graph_groups(self.smaller, roles), group.name)
        fits = Counter(self._narrower.cells) <= Counter(group.cells)
        self.kept = unit_origins(group, self._narrower, scores) if fits else None

    def maps(self) -> Maps:
        """For each layer and side that changes, the channel of the wider network that each channel there is."""
        assert self.kept is not None
        found: Maps = {}
        for (side, place), (_, wide) in zip(sides(self._narrower), sides(self._wider), strict=True):
            before, after = self._graph.layers[place.layer], self.smaller.layers[place.layer]
            width, count = ((layer.out_shape if side == "out" else layer.in_shape)[0] for layer in (before, after))
            others = iter([at for at in range(width) if at not in set(wide.positions)])
            own = dict(zip(place.positions, self._origins(place, wide), strict=True))
            found[place.layer, side] = [own[at] if at in own else next(others) for at in range(count)]
        return found

    def _origins(self, place: Place, wide: Place) -> Sequence[int]:
        """For each position of the narrower place the wider place's; a unit that is there twice keeps its order."""
        assert self.kept is not None
        at: dict[int, list[int]] = defaultdict(list)
        for unit, position in sorted(zip(wide.units, wide.positions, strict=True), key=lambda each: each[1]):
            at[unit].append(position)
        found = dict.fromkeys(place.positions, 0)
        for unit, position in sorted(zip(place.units, place.positions, strict=True), key=lambda each: each[1]):
            found[position] = at[self.kept[unit]].pop(0)
        return [found[position] for position in place.positions]
