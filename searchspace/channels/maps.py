"""Where the channels of a network stand in a wider one of the same layers, so that weights can move between the two."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

from searchspace.channels.coupling import ChannelGroup, coupling
from searchspace.graph import lower
from searchspace.spec import NetworkSpec

Side = Literal["out", "in", "inside"]
Maps = dict[tuple[int, Side], list[int]]


def unit_maps(wide: NetworkSpec, slim: NetworkSpec, *, hosts: Mapping[str, Sequence[int]] | None = None) -> Maps | None:
    """{(layer, "out" | "in" | "inside"): for each channel of the slim network there, the wide network's}; "inside" are
    an SE block's squeezed channels.

    Every channel keeps its company: what is summed, shuffled or grouped together with it in the slim network is so in
    the wide one (`coupling`). `hosts` says, by group, which unit of the wide network each unit of the slim one is; left
    out, it is the first free one of the same cell. None where the two have other layers, or other channels of the slim
    network meet in a shuffle or a grouped convolution than could meet in the wide one.
    """
    layers, others = lower(slim).layers, lower(wide).layers
    if [(a.name, a.op, a.inputs) for a in layers] != [(b.name, b.op, b.inputs) for b in others]:
        return None
    groups, wider = ({group.name: group for group in coupling(spec)} for spec in (slim, wide))
    if groups.keys() != wider.keys():
        return None
    found: dict[tuple[int, Side], dict[int, int]] = defaultdict(dict)
    for name, group in groups.items():
        kept = hosts[name] if hosts is not None else _hosts(wider[name], group)
        if kept is None:
            return None
        inside = any(layers[place.layer].op == "se" for place in group.producers)
        roles: tuple[tuple[Literal["producers", "pass_through", "consumers"], Side], ...] = (
            ("producers", "out"),
            ("pass_through", "out"),
            ("consumers", "in"),
        )
        for role, side in roles:
            for place, wide_place in zip(getattr(group, role), getattr(wider[name], role), strict=True):
                at = dict(zip(wide_place.units, wide_place.positions, strict=True))
                to = found[place.layer, "inside" if inside else side]
                for unit, position in zip(place.units, place.positions, strict=True):
                    if kept[unit] not in at:
                        return None
                    to[position] = at[kept[unit]]
    return {key: [channels[at] for at in range(len(channels))] for key, channels in found.items()}


def _hosts(wide: ChannelGroup, slim: ChannelGroup) -> list[int] | None:
    """For each unit of the slim group one of the wide group's in the same cell, the first ones first."""
    pools: dict[object, list[int]] = defaultdict(list)
    for unit in reversed(range(len(wide.cells))):
        pools[wide.cells[unit]].append(unit)
    hosts = [pools[cell].pop() if pools[cell] else None for cell in slim.cells]
    return None if None in hosts else [host for host in hosts if host is not None]
