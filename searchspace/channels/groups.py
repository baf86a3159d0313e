"""ChannelGroup: channels of a network that stay or go together."""

import difflib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from searchspace.errors import InvalidArgument
from searchspace.graph import Graph

Numbers = tuple[int, ...]
Cell = tuple[Numbers, Numbers]
HOLDS_INPUT, HOLDS_CLASSES = "it holds the network's input", "it holds the network's classes"


class Place(NamedTuple):
    """Where a layer has units of a group: `units[k]` is channel `positions[k]`.

    Of the layer's output for producers and pass_through, of its input for consumers; for squeezed channels, of the
    inside of the SE block.
    """

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

    A unit is what can go alone: a channel with all that it is summed with. There are `channels` of them, and more in a
    ShuffleNetV2 stage, where each block makes its own.

    Attributes:
        name: Of the layer that makes the first of them; "input" for the network's input.
        channels: The count that `narrow` changes, that of the group's widest layer.
        counts: The smaller counts that rows and grouped convolutions allow; empty for a fixed group. Where a slice or
            a shuffle passes the group on, `narrow` refuses those for which no choice of channels would do.
        fixed: "" for a free group, else what stands in the way.
        widths: The row fields that count the group.
        producers: Convolutions and linear layers that put it out: rows of weights, batch norms and biases.
        pass_through: Layers that hand it on, one to one. Depthwise convolutions and SE blocks among them have weights
            for each channel.
        consumers: Convolutions and linear layers whose weights have a column for each.
        cells: Of each unit, the layers that put it out and its part in each grouped convolution. A narrower network has
            of each cell at most as many units as now, so each of its units can take over one of the same cell.
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

    @property
    def outputs(self) -> tuple[Place, ...]:
        """Where it is put out: producers and pass_through."""
        return (*self.producers, *self.pass_through)


def is_order_dependent(graph: Graph, group: ChannelGroup) -> bool:
    """Whether a slice or a shuffle takes channels of the group by position."""
    return any(graph.layers[place.layer].op in ("slice", "shuffle") for place in group.pass_through)


def in_the_way(groups: Iterable[ChannelGroup]) -> dict[str, str]:
    """{group: why it is fixed} of those that are; the network's input and classes, which always are, apart."""
    return {group.name: group.fixed for group in groups if group.fixed not in ("", HOLDS_INPUT, HOLDS_CLASSES)}


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
