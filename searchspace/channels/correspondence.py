"""Which channels of one network the channels of any other one can be, group by group.

Channels that are summed in both networks stay together. Where the other network has more of a group than is needed,
the best stay; where it has fewer, the rest is new.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence

from searchspace.channels.coupling import coupling
from searchspace.channels.groups import ChannelGroup, Place
from searchspace.channels.maps import Maps, Scores, Side, best, by_unit, sides, unit_origins
from searchspace.graph import lower
from searchspace.spec import NetworkSpec

NEW = -1
Score = Callable[[ChannelGroup], Scores]
_At = dict[tuple[int, Side], list[tuple[ChannelGroup, Place]]]


class Correspondence:
    """The channels of a network's layers as channels of `parent`'s, where `origins` says which layer is which.

    Attributes:
        maps: {(layer, side): for each channel there the parent's at the same side of its layer's origin, or NEW};
            "inside" are squeezed channels.
        unread: Layers whose input has nothing to do with what their origin reads.
        by_position: Whether some channels could not keep their groups and were matched by their numbers.
    """

    def __init__(self, parent: NetworkSpec, spec: NetworkSpec, origins: Sequence[int | None], score: Score) -> None:
        self.origins, self._score = origins, score
        self.maps: Maps = {}
        self.unread: set[int] = set()
        self.by_position = False
        self._groups = coupling(spec)
        self._parent_layers, self._layers = lower(parent).layers, lower(spec).layers
        self._same_layers = [(a.name, a.op, a.inputs) for a in self._parent_layers] == [
            (b.name, b.op, b.inputs) for b in self._layers
        ]
        self._theirs = _places(coupling(parent), [layer.op == "se" for layer in self._parent_layers])
        self._ours = _places(self._groups, [layer.op == "se" for layer in self._layers])
        self._units: dict[tuple[str, str], list[int] | None] = {}
        made = self._made()
        for (layer, side), placed in self._ours.items():
            if origins[layer] is not None:
                self.maps[layer, side] = self._map(layer, side, placed, made)

    def routes(self, outs: tuple[int, Side], ins: tuple[int, Side]) -> list[int] | None:
        """For each channel of `outs` the channel of `ins` that is the same channel of the parent, else NEW.

        None where the two have nothing in common.
        """
        (out_group, out_place), (in_group, in_place) = self._ours[outs][0], self._ours[ins][0]
        for theirs in {other for name, other in self._units if name == out_group.name}:
            mine, from_units = self._units[out_group.name, theirs], self._units.get((in_group.name, theirs))
            if mine is not None and from_units is not None:
                at = {from_units[u]: p for u, p in zip(in_place.units, in_place.positions, strict=True)}
                at.pop(NEW, None)
                routes = dict(zip(out_place.positions, (at.get(mine[u], NEW) for u in out_place.units), strict=True))
                return [routes[position] for position in range(len(routes))]
        return None

    def _made(self) -> dict[str, set[str]]:
        """{group: the parent's groups that its channels come from}."""
        made: dict[str, set[str]] = defaultdict(set)
        for (layer, side), placed in self._ours.items():
            origin = self.origins[layer]
            if origin is not None and side != "in":
                for group, _ in placed:
                    made[group.name] |= {theirs.name for theirs, _ in self._theirs[origin, side]}
        return made

    def _map(
        self, layer: int, side: Side, placed: list[tuple[ChannelGroup, Place]], made: dict[str, set[str]]
    ) -> list[int]:
        origin = self.origins[layer]
        assert origin is not None
        theirs = self._theirs[origin, side]
        width = sum(len(place.positions) for _, place in placed)
        if len(placed) == len(theirs):
            found: dict[int, int] = {}
            for (group, place), (other, other_place) in zip(placed, theirs, strict=True):
                known = made.get(group.name)
                if side == "in" and known and other.name not in known:
                    self.unread.add(layer)
                    return [NEW] * width
                units = self._units_of(group, other)
                at, own = by_unit(other_place), by_unit(place)
                if units is None or any(
                    units[unit] != NEW and len(at.get(units[unit], ())) != len(own[unit]) for unit in own
                ):
                    break
                for unit, positions in own.items():
                    found |= zip(positions, at.get(units[unit], [NEW] * len(positions)), strict=True)
            else:
                return [found[position] for position in range(width)]
        self.by_position = True
        size = sum(len(place.positions) for _, place in theirs)
        return [position if position < size else NEW for position in range(width)]

    def _units_of(self, group: ChannelGroup, theirs: ChannelGroup) -> list[int] | None:
        """For each unit of a group the unit of the parent's group, or NEW; None where cells forbid it."""
        key = group.name, theirs.name
        if key not in self._units:
            self._units[key] = self._chosen(group, theirs)
        return self._units[key]

    def _chosen(self, group: ChannelGroup, theirs: ChannelGroup) -> list[int] | None:
        ours, others = len(group.cells), len(theirs.cells)
        alike = len(set(group.cells)) == len(set(theirs.cells)) == 1
        if alike:
            if ours >= others:
                return [*range(others), *[NEW] * (ours - others)]
            return sorted(best(range(others), self._score(theirs))[:ours])
        if not self._same_layers or group.name != theirs.name:
            return None
        if ours <= others:
            return unit_origins(theirs, group, self._score(theirs) if ours < others else None)
        back = unit_origins(group, theirs)
        if back is None:
            return None
        found = [NEW] * ours
        for unit, at in enumerate(back):
            found[at] = unit
        return found


def _places(groups: Sequence[ChannelGroup], squeezes: Sequence[bool]) -> _At:
    """Where each side of each layer has channels of which groups."""
    found: _At = defaultdict(list)
    for group in groups:
        inside = any(squeezes[place.layer] for place in group.producers)
        for side, place in sides(group):
            key: tuple[int, Side] = (place.layer, "inside" if inside else side)
            if not inside or not found[key]:
                found[key].append((group, place))
    return dict(found)
