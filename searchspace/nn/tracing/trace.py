"""`trace`: a user's own torch module as a network that has costs and channel groups, and whose channels can be cut."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from searchspace.channels.follow import Roles
from searchspace.channels.grouping import graph_groups
from searchspace.channels.groups import ChannelGroup, Place, check_count, is_order_dependent, named
from searchspace.channels.maps import Maps, Scores, sides
from searchspace.channels.steps import kept_maps, kept_units
from searchspace.errors import InvalidArgument, UnsupportedModule
from searchspace.graph import Graph, Layer, Shape
from searchspace.nn.copies import copied
from searchspace.nn.cuttable import check_kind
from searchspace.nn.module_macs import check_image
from searchspace.nn.tracing.builder import LayerBuilder, Parts
from searchspace.nn.tracing.calls import count_inputs
from searchspace.nn.tracing.graph import read_module
from searchspace.nn.tracing.idle import hold_for_training, owners, roles_of
from searchspace.nn.tracing.matching import Match, narrowed
from searchspace.nn.tracing.slices import keep_maps


@dataclass(frozen=True, eq=False)
class TracedNetwork:
    """A user's module and what it is as a Graph.

    Attributes:
        module: the user's own, not a copy: train it in place. Only `cut` makes another.
        graph: its layers at the resolution it was traced at, for `searchspace.cost` and latency tables.
    """

    module: nn.Module
    graph: Graph
    _parts: Sequence[Parts] = field(repr=False)
    _roles: Roles = field(repr=False)
    _groups: tuple[ChannelGroup, ...] = field(repr=False)
    _in_shapes: tuple[tuple[int, ...], ...] = field(repr=False)

    @property
    def outputs(self) -> tuple[Shape, ...]:
        """(channels, height, width) of each output."""
        return tuple(self.graph.layers[layer].out_shape for layer in sorted(self._roles.outputs) if layer >= 0)

    @property
    def inputs(self) -> tuple[Shape, ...]:
        """(channels, height, width) of each input."""
        others = (layer.out_shape for layer in self.graph.layers if layer.op == "input")
        return (self.graph.in_shape, *others)

    def groups(self) -> tuple[ChannelGroup, ...]:
        """Which channels move together, as `coupling` says of a NetworkSpec; `widths` are empty.

        Fixed, beside the inputs and the classes: channels that a slice takes by a number in the code, that layers of
        different kinds share weights for, that are taken all together (a mean over channels), or whose number is
        written into the code (`x.view(-1, 512)`). Layers of one kind that share a weight are cut together and stay
        tied.
        """
        return self._groups

    def narrowed_graph(self, group: str, channels: int) -> Graph:
        """The Graph with a group at `channels` channels, on paper.

        Raises InvalidArgument for an unknown or fixed group, and for a count that is not in its `counts`.
        """
        found = named(self._groups, group)
        check_count(found, channels)
        return narrowed(self.graph, found, channels)

    def groups_of(self, graph: Graph) -> tuple[ChannelGroup, ...]:
        """The groups of a network that is narrower on paper (`narrowed_graph`): what is fixed here is fixed there."""
        fixed = {group.name: group.fixed for group in self._groups}
        found = graph_groups(graph, self._roles)
        return tuple(_with_reason(graph, group, group.fixed or fixed.get(group.name, "")) for group in found)

    def choose(self, group: str, most: int, scores: Scores) -> list[int] | None:
        """The units of a group that stay, for `most` channels: those that score highest among those that can.

        `scores` has one number for each of the group's units. Where a chunk or a shuffle allows no choice at this
        count, it is one for the next smaller count; None if there is none. Raises InvalidArgument as `narrowed_graph`
        does.
        """
        found = named(self._groups, group)
        check_count(found, most)
        if not is_order_dependent(self.graph, found):
            return sorted(kept_units(found, most, scores))
        for channels in reversed(found.counts[: found.counts.index(most) + 1]):
            kept = Match(self.graph, self._roles, found, channels, scores).kept
            if kept is not None:
                return sorted(kept)
        return None

    def modules_of(self, layer: int) -> tuple[str, ...]:
        """Names of the modules whose weights a layer of the graph has, none for an addition.

        A convolution or linear layer comes before its batch norm, the layer of an SE block that squeezes before the
        one that expands.
        """
        parts = self._parts[layer]
        return (*parts.weighted, parts.norm) if parts.norm else parts.weighted

    def origins(self, group: str, keep: Sequence[int]) -> list[int]:
        """For each unit that a group has after `cut`, which of its units it is now."""
        found = named(self._groups, group)
        if not is_order_dependent(self.graph, found):
            return sorted({*keep})
        channels = _check_units(self.graph, self._roles, found, {*keep})
        return [*self._match(self.graph, found, channels, {*keep})[1]]

    def cut(self, group: str, keep: Sequence[int]) -> "TracedNetwork":
        """A copy of the module with some units of a group only, traced anew; its graph is `narrowed_graph`'s.

        `keep` are the units that stay, indices in `ChannelGroup.cells`; their order does not count. Outputs stay
        as they are where nothing reads the others (their columns of weights are 0). Raises InvalidArgument as
        `narrowed_graph` does, and for units that a grouped convolution or a shuffle could not keep (`choose` says which
        it could).

        A norm over channels is a `CountingNorm` in the copy: it counts channels that are gone as zeros.
        """
        return self.cut_all({group: keep})

    def cut_all(self, keep: Mapping[str, Sequence[int]]) -> "TracedNetwork":
        """As `cut`, for several groups at once, by name."""
        module, graph = copied(self.module), self.graph
        groups = {name: named(self._groups, name) for name in keep}
        counts = {name: _check_units(self.graph, self._roles, group, {*keep[name]}) for name, group in groups.items()}
        kept: Maps = {}
        ordered = [name for name, group in groups.items() if is_order_dependent(graph, group)]
        for name, group in groups.items():
            if name not in ordered:
                for at, channels in kept_maps(self.graph, group, {*keep[name]}):
                    kept[at] = sorted({*kept[at]}.intersection(channels)) if at in kept else channels
                graph = narrowed(graph, group, counts[name])
        keep_maps(module, self.graph, self._parts, kept)
        for name in ordered:
            group = named(graph_groups(graph, self._roles), name)
            keep_maps(module, graph, self._parts, self._match(graph, group, counts[name], {*keep[name]})[0])
            graph = narrowed(graph, group, counts[name])
        traced = trace_shapes(module, self._in_shapes)
        if traced.graph != graph:
            raise UnsupportedModule(
                f"{', '.join(keep)} cannot be cut to fewer channels: the module's code does something else then than "
                "it does now; take the numbers of channels in its code from shapes"
            )
        return traced

    def _match(self, graph: Graph, group: ChannelGroup, channels: int, units: set[int]) -> tuple[Maps, Sequence[int]]:
        """Of an order-dependent group, in their new order: the channels of each layer and side, the units."""
        scores = [float(unit in units) for unit in range(len(group.cells))]
        match = Match(graph, self._roles, group, channels, scores)
        if match.kept is None or {*match.kept} != units:
            raise InvalidArgument(
                f"{group.name} goes through a chunk or a shuffle, which would mix other channels than now if these "
                f"{len(units)} units stayed: take those that TracedNetwork.choose gives"
            )
        return match.maps(), match.kept


def trace(module: nn.Module, *, in_channels: int | Sequence[int] = 3, resolution: int) -> TracedNetwork:
    """A module as a network: in eval mode, for square images of `resolution` pixels.

    `in_channels`: of each image, if the module takes several; one number stands for all of them. What can be read, as
    modules or functions, is `searchspace.nn.tracing.kinds.SUPPORTED`. Raises UnsupportedModule for anything else, which
    names the node that stands in the way, and InvalidArgument for numbers below 1.
    """
    for count in (in_channels,) if isinstance(in_channels, int) else in_channels:
        check_image(in_channels=count, resolution=resolution)
    counts = [in_channels] * count_inputs(module) if isinstance(in_channels, int) else in_channels
    return trace_shapes(module, [(count, resolution, resolution) for count in counts])


def trace_shapes(module: nn.Module, in_shapes: Sequence[tuple[int, ...]]) -> TracedNetwork:
    """As `trace`, for inputs of these shapes without the batch: (channels, height, width), or (features,)."""
    check_kind(module)
    for shape in in_shapes:
        if len(shape) not in (1, 3):
            raise InvalidArgument(
                f"inputs must be images or vectors, (channels, height, width) or (features,), got {shape}"
            )
    graph, builder = read_module(module, in_shapes)
    hold_for_training(module, in_shapes, builder)
    roles = roles_of(graph, builder)
    found = graph_groups(graph, roles)
    groups = tuple(_with_reason(graph, group, group.fixed or _reason(builder, group)) for group in found)
    return TracedNetwork(module, graph, builder.parts, roles, groups, tuple(in_shapes))


def _with_reason(graph: Graph, group: ChannelGroup, reason: str) -> ChannelGroup:
    return group._replace(fixed=reason, counts=range(0)) if reason else _with_shuffles(graph, group)


def _with_shuffles(graph: Graph, group: ChannelGroup) -> ChannelGroup:
    """The group without counts at which a shuffle has one channel of each part: it would not be one any more."""
    shuffles = [place for place in group.pass_through if graph.layers[place.layer].op == "shuffle"]
    least = max((2 * graph.layers[at.layer].groups * group.channels // len(at.units) for at in shuffles), default=0)
    counts = group.counts
    counts = range(max(counts.start, -(-least // counts.step) * counts.step), counts.stop, counts.step)
    return group._replace(counts=counts, fixed="" if counts else f"its shuffle needs {least} channels")


def _places(group: ChannelGroup) -> tuple[Place, ...]:
    return (*group.producers, *group.pass_through, *group.consumers)


def _reason(builder: LayerBuilder, group: ChannelGroup) -> str:
    """What stands in the way of narrowing a group of a traced module; "" for nothing."""
    for place in _places(group):
        if twice := builder.calls.unlike.intersection(owners(builder.parts[place.layer])):
            who = min(twice) or "the module"
            return f"{who} shares a parameter with another module, and cannot be cut together with it"
    reasons = [builder.held.get((place.layer, side), "") for side, place in sides(group)]
    return next(filter(None, reasons), "")


def _check_units(graph: Graph, roles: Roles, group: ChannelGroup, units: set[int]) -> int:
    """How many channels the group has with these units. Raises InvalidArgument for units that cannot be kept."""
    unknown = units - set(range(len(group.cells)))
    if unknown:
        raise InvalidArgument(f"{group.name} has units 0 to {len(group.cells) - 1}, got {min(unknown)}")
    widest = max(_places(group), key=lambda place: len(place.units))
    channels = sum(unit in units for unit in widest.units)
    check_count(group, channels)
    for place in _places(group):
        layer, size = graph.layers[place.layer], len(place.units)
        stay = [position for unit, position in zip(place.units, place.positions, strict=True) if unit in units]
        _check_equal(group, layer, len(stay), size * channels / group.channels)
        parts = 1 if layer.op == "shuffle" else roles.parts(layer)
        for part in range(parts if parts > 1 else 0):
            kept = [position for position in stay if position // (size // parts) == part]
            _check_equal(group, layer, len(kept), len(stay) / parts)
    return channels


def _check_equal(group: ChannelGroup, layer: Layer, found: int, needed: float) -> None:
    if found != needed:
        raise InvalidArgument(
            f"{layer.name} takes channels of {group.name} in equal parts, and these units would leave one with {found} "
            f"where {needed:g} are needed: keep equally many units of each of `ChannelGroup.cells`"
        )
