"""Where the channels of a network stand in a wider one of the same layers, so that weights can move between the two."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

from searchspace.channels.coupling import coupling
from searchspace.channels.groups import Cell, ChannelGroup, Place
from searchspace.graph import lower
from searchspace.spec import NetworkSpec

Side = Literal["out", "in", "inside"]
Maps = dict[tuple[int, Side], list[int]]
"""{(layer, side): for each channel of the narrower network there, the wider one's}; "inside" are squeezed channels."""
Scores = Sequence[float]


def unit_maps(
    wider: NetworkSpec, narrower: NetworkSpec, *, origins: Mapping[str, Sequence[int]] | None = None
) -> Maps | None:
    """Where each channel of the narrower network stands in the wider one.

    Channels that are summed, shuffled or grouped together in the narrower network are so in the wider one. `origins`
    says, by group, which unit of the wider network each unit of the narrower one is; left out, it is the first free one
    of the same cell. None where the two have other layers, or where other channels of the narrower network meet in a
    shuffle or a grouped convolution than could meet in the wider one.
    """
    layers, others = lower(narrower).layers, lower(wider).layers
    if [(a.name, a.op, a.inputs) for a in layers] != [(b.name, b.op, b.inputs) for b in others]:
        return None
    narrow_groups, wide_groups = ({group.name: group for group in coupling(spec)} for spec in (narrower, wider))
    if narrow_groups.keys() != wide_groups.keys():
        return None
    found: dict[tuple[int, Side], dict[int, int]] = defaultdict(dict)
    for name, group in narrow_groups.items():
        wide_group = wide_groups[name]
        kept = origins[name] if origins is not None else unit_origins(wide_group, group)
        if kept is None:
            return None
        inside = any(layers[place.layer].op == "se" for place in group.producers)
        for (side, place), (_, wide_place) in zip(sides(group), sides(wide_group), strict=True):
            at = by_unit(wide_place)
            to = found[place.layer, "inside" if inside else side]
            for unit, positions in by_unit(place).items():
                if len(at.get(kept[unit], ())) != len(positions):
                    return None
                to.update(zip(positions, at[kept[unit]], strict=True))
    return {key: [channels[at] for at in range(len(channels))] for key, channels in found.items()}


def by_unit(place: Place) -> dict[int, list[int]]:
    """{unit: its positions}: several where a concatenation repeats channels."""
    found: dict[int, list[int]] = {}
    for unit, position in zip(place.units, place.positions, strict=True):
        found.setdefault(unit, []).append(position)
    return found


def sides(group: ChannelGroup) -> list[tuple[Side, Place]]:
    """The group's places, each with the side of its layer that has the channels."""
    return [*(("out", place) for place in group.outputs), *(("in", place) for place in group.consumers)]


def unit_origins(wider: ChannelGroup, narrower: ChannelGroup, scores: Scores | None = None) -> list[int] | None:
    """For each unit of the narrower group one of the wider group's in the same cell, in their order.

    The first ones are taken, or those that score highest. None where a cell has too few.
    """
    pools: dict[Cell, list[int]] = {cell: [] for cell in wider.cells}
    for unit, cell in enumerate(wider.cells):
        pools[cell].append(unit)
    needed = Counter(narrower.cells)
    if any(len(pools.get(cell, ())) < count for cell, count in needed.items()):
        return None
    if scores is not None:
        pools = {cell: sorted(best(pools[cell], scores)[:count]) for cell, count in needed.items()}
    rest = {cell: iter(pool) for cell, pool in pools.items()}
    return [next(rest[cell]) for cell in narrower.cells]


def best(units: Sequence[int], scores: Scores) -> list[int]:
    """The units, highest score first."""
    return sorted(units, key=lambda unit: -scores[unit])
