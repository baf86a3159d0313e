"""`trace`: a user's own torch module as a network that has costs and channel groups, and whose channels can be cut."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import nn

from searchspace.channels.follow import Roles
from searchspace.channels.grouping import graph_groups
from searchspace.channels.groups import ChannelGroup, Place, check_count, is_order_dependent, named
from searchspace.channels.steps import kept_maps, narrowed_layers
from searchspace.errors import InvalidArgument, UnsupportedModule
from searchspace.graph import Graph, Layer
from searchspace.nn.module_macs import check_image
from searchspace.nn.tracing.builder import LayerBuilder, Parts
from searchspace.nn.tracing.graph import read_module
from searchspace.nn.tracing.slices import keep_channels


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

    def groups(self) -> tuple[ChannelGroup, ...]:
        """Which channels move together, as `coupling` says of a NetworkSpec; `widths` are empty.

        Fixed, beside the input and the classes: channels that a slice or a shuffle takes by position, that a module
        used more than once makes or reads, or whose number is written into the code (`x.view(-1, 512)`).
        """
        return self._groups

    def narrowed_graph(self, group: str, channels: int) -> Graph:
        """The Graph with a group at `channels` channels, on paper.

        Raises InvalidArgument for an unknown or fixed group, and for a count that is not in its `counts`.
        """
        found = named(self._groups, group)
        check_count(found, channels)
        changed = narrowed_layers(self.graph, found, channels)
        return self.graph._replace(layers=tuple(changed.get(at, layer) for at, layer in enumerate(self.graph.layers)))

    def modules_of(self, layer: int) -> tuple[str, ...]:
        """Names of the modules whose weights a layer of the graph has, none for an addition.

        A convolution or linear layer comes before its batch norm, the layer of an SE block that squeezes before the
        one that expands.
        """
        parts = self._parts[layer]
        return (*parts.weighted, parts.norm) if parts.norm else parts.weighted

    def cut(self, group: str, keep: Sequence[int]) -> "TracedNetwork":
        """A copy of the module with some units of a group only, traced anew; its graph is `narrowed_graph`'s.

        `keep` are the units that stay, indices in `ChannelGroup.cells`; their order does not count. Outputs stay
        as they are where nothing reads the others (their columns of weights are 0). Raises InvalidArgument as
        `narrowed_graph` does, and for units that a grouped convolution could not keep (it needs equally many of each
        of its groups).
        """
        found = named(self._groups, group)
        units = set(keep)
        channels = _check_units(self.graph, self._roles, found, units)
        expected = self.narrowed_graph(group, channels)
        kept = dict(kept_maps(self.graph, found, units))
        module = copy.deepcopy(self.module)
        for index, layer in enumerate(self.graph.layers):
            outs, ins, inside = kept.get((index, "out")), kept.get((index, "in")), kept.get((index, "inside"))
            pixels = layer.in_shape[1] * layer.in_shape[2] if layer.op == "linear" else 1
            sides = ((inside, outs), (outs, inside)) if layer.op == "se" else ((outs, ins), (outs, None))
            for name, (rows, columns) in zip(self.modules_of(index), sides, strict=False):
                keep_channels(module.get_submodule(name), rows, columns, pixels=pixels)
        channels_in, resolution, _ = self.graph.in_shape
        traced = trace(module, in_channels=channels_in, resolution=resolution)
        if traced.graph != expected:
            raise UnsupportedModule(
                f"{group} cannot be cut to {channels} channels: the module's code does something else then than it "
                "does now; take the numbers of channels in its code from shapes"
            )
        return traced


def trace(module: nn.Module, *, in_channels: int = 3, resolution: int) -> TracedNetwork:
    """A module as a network: in eval mode, for square images of `resolution` pixels.

    What can be read, as modules or functions, is `searchspace.nn.tracing.calls.SUPPORTED`; convolutions have square
    kernels and are padded by nothing or half the kernel. Raises UnsupportedModule for anything else, which names the
    node that stands in the way, and InvalidArgument for numbers below 1.
    """
    check_image(in_channels=in_channels, resolution=resolution)
    graph, builder = read_module(module, in_channels=in_channels, resolution=resolution)
    convs = {layer.name: layer for layer in graph.layers if layer.op == "conv"}
    depthwise = {name for name, layer in convs.items() if layer.groups == layer.in_shape[0] == layer.out_shape[0]}
    roles = Roles(depthwise, convs.keys() - depthwise, {})
    groups = []
    for group in graph_groups(graph, roles):
        reason = group.fixed or _reason(graph, builder, group)
        groups.append(group._replace(fixed=reason, counts=range(0)) if reason else group)
    return TracedNetwork(module, graph, builder.parts, roles, tuple(groups))


def _places(group: ChannelGroup) -> tuple[Place, ...]:
    return (*group.producers, *group.pass_through, *group.consumers)


def _reason(graph: Graph, builder: LayerBuilder, group: ChannelGroup) -> str:
    """What stands in the way of narrowing a group of a traced module; "" for nothing."""
    if is_order_dependent(graph, group):
        layers = (graph.layers[place.layer] for place in group.pass_through)
        name = next(layer.name for layer in layers if layer.op in ("slice", "shuffle"))
        return f"{name} takes its channels by position"
    for place in _places(group):
        parts = builder.parts[place.layer]
        if twice := builder.calls.shared.intersection((*parts.weighted, parts.norm)):
            return f"{min(twice)} is used more than once"
    for place in (*group.producers, *group.pass_through):
        if place.layer in builder.hard_wired:
            return f"their number is written into the code at node {builder.hard_wired[place.layer]}"
    return ""


def _check_units(graph: Graph, roles: Roles, group: ChannelGroup, units: set[int]) -> int:
    """How many channels the group has with these units. Raises InvalidArgument for units that cannot be kept."""
    unknown = units - set(range(len(group.cells)))
    if unknown:
        raise InvalidArgument(f"{group.name} has units 0 to {len(group.cells) - 1}, got {min(unknown)}")
    widest = max(_places(group), key=lambda place: len(place.units))
    channels = len(units.intersection(widest.units))
    check_count(group, channels)
    for place in _places(group):
        layer = graph.layers[place.layer]
        at = dict(zip(place.units, place.positions, strict=True))
        stay = [position for unit, position in at.items() if unit in units]
        _check_equal(group, layer, len(stay), len(at) * channels / group.channels)
        parts = roles.parts(layer)
        for part in range(parts if parts > 1 else 0):
            kept = [position for position in stay if position // (len(at) // parts) == part]
            _check_equal(group, layer, len(kept), len(stay) / parts)
    return channels


def _check_equal(group: ChannelGroup, layer: Layer, found: int, needed: float) -> None:
    if found != needed:
        raise InvalidArgument(
            f"{layer.name} takes channels of {group.name} in equal parts, and these units would leave one with {found} "
            f"where {needed:g} are needed: keep equally many units of each of `ChannelGroup.cells`"
        )
