"""Channel coupling: which channel counts of a network move together, and the network with fewer of them.

Each block says which fields of its row count which layers' channels (`Block.channels`); the rest is read from the
Graph. Groups that a slice, a shuffle or a grouped convolution takes by position are narrowed in proportion.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from searchspace.channels.follow import Roles
from searchspace.channels.grouping import graph_groups
from searchspace.channels.groups import ChannelGroup, check_count, is_order_dependent, named
from searchspace.errors import InvalidArgument
from searchspace.graph import lower
from searchspace.spec import NetworkSpec


def coupling(spec: NetworkSpec) -> tuple[ChannelGroup, ...]:
    """All channel groups of a network in the order of their first layers.

    Every output channel of every layer is in exactly one of them. The squeezed channels of an SE block, which no
    layer puts out, are a group with the block's name.
    """
    groups = _groups(spec)
    unfit = _without_fitting_count(spec, groups)
    reason = "at every smaller count a slice or a shuffle would take other channels than now"
    return tuple(group._replace(counts=range(0), fixed=reason) if group.name in unfit else group for group in groups)


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
            f"{group.name} cannot have {channels} channels, at which a slice or a shuffle would take other channels "
            f"than now; the next smaller count that can be kept: {fitting or 'none'}"
        )
    return _with_count(spec, group, channels)


def accepted_counts(spec: NetworkSpec, group: ChannelGroup, most: int) -> Iterator[int]:
    """The counts of a group, one of `coupling(spec)`, that `narrow` accepts, from `most` channels down."""
    by_position = is_order_dependent(lower(spec), group)
    for channels in reversed(group.counts):
        if channels <= most and (not by_position or _fits(spec, group, channels)):
            yield channels


def _groups(spec: NetworkSpec) -> tuple[ChannelGroup, ...]:
    all_depthwise: set[str] = set()
    convs: set[str] = set()
    fields: dict[str, list[tuple[int, str]]] = {}
    all_tied: dict[str, str | None] = {}
    for index, (where, in_channels, block) in enumerate(spec.walk()):
        counts, depthwise, dense, tied = block.channels(in_channels)
        all_depthwise.update(where + ending for ending in depthwise)
        convs.update(where + ending for ending in dense)
        for ending, other in tied.items():
            all_tied[where + ending] = None if other is None else where + other
        for field, ending in counts.items():
            fields.setdefault(where + ending, []).append((index, field))
    return graph_groups(lower(spec), Roles(all_depthwise, convs, fields, tied=all_tied))


def _with_count(spec: NetworkSpec, group: ChannelGroup, channels: int) -> NetworkSpec:
    rows = list(spec.blocks)
    for block, field, share in group.widths:
        gone = share - share * channels // group.channels
        rows[block] = replace(rows[block], **{field: getattr(rows[block], field) - gone})
    left = iter(rows)
    stages = tuple(replace(stage, blocks=tuple(next(left) for _ in stage.blocks)) for stage in spec.stages)
    return replace(spec, stages=stages)


def _keeps(group: ChannelGroup, narrower: ChannelGroup | None) -> bool:
    """Whether every unit of the narrower group can be one of the wider, in the same layers."""
    return narrower is not None and Counter(narrower.cells) <= Counter(group.cells)


def _fits(spec: NetworkSpec, group: ChannelGroup, channels: int) -> bool:
    return _keeps(group, named(_groups(_with_count(spec, group, channels)), group.name))


def _without_fitting_count(spec: NetworkSpec, groups: tuple[ChannelGroup, ...]) -> set[str]:
    """The order-dependent groups of which no smaller count fits: all are tried at once, the least counts first."""
    graph = lower(spec)
    waiting = [group for group in groups if group.counts and is_order_dependent(graph, group)]
    unfit: set[str] = set()
    tried = 0
    while waiting:
        narrower = spec
        for group in waiting:
            narrower = _with_count(narrower, group, group.counts[tried])
        found = {group.name: group for group in _groups(narrower)}
        tried += 1
        waiting = [group for group in waiting if not _keeps(group, found.get(group.name))]
        unfit |= {group.name for group in waiting if len(group.counts) == tried}
        waiting = [group for group in waiting if len(group.counts) > tried]
    return unfit
