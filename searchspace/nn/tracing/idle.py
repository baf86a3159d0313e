"""Parameters that a module does not use in eval mode: never at all, or in training mode, such as auxiliary heads."""

from collections.abc import Sequence

from torch import nn

from searchspace.channels.follow import CONVOLUTIONS, Roles
from searchspace.channels.grouping import graph_groups
from searchspace.errors import UnsupportedModule
from searchspace.graph import Graph
from searchspace.nn.tracing.builder import LayerBuilder, Parts
from searchspace.nn.tracing.graph import read_module


def roles_of(graph: Graph, builder: LayerBuilder) -> Roles:
    """Convolutions of a traced module are depthwise where they could be."""
    convs = {layer.name: layer for layer in graph.layers if layer.op in CONVOLUTIONS}
    depthwise = {name for name, layer in convs.items() if layer.groups == layer.in_shape[0] == layer.out_shape[0]}
    return Roles(depthwise, convs.keys() - depthwise, {}, frozenset(builder.outputs))


def hold_for_training(module: nn.Module, in_shapes: Sequence[tuple[int, ...]], builder: LayerBuilder) -> None:
    """Hold the channels that only training mode hands to idle parameters: nothing says how those should be cut.

    Raises UnsupportedModule where the module cannot be traced in training mode.
    """
    if not builder.idle:
        return
    try:
        graph, training = read_module(module, in_shapes, training=True)
    except UnsupportedModule as error:
        raise UnsupportedModule(
            f"{_few(builder.idle)} has parameters that are not used in eval mode, and what training mode does with "
            f"them cannot be followed: {error}; or remove what is not used"
        ) from error
    late = {name for name in builder.idle if name not in training.idle}
    if not late:
        return
    readers = {place for place, parts in enumerate(training.parts) if not late.isdisjoint(owners(parts))}
    held = set()
    for group in graph_groups(graph, roles_of(graph, training)):
        if any(place.layer in readers for place in (*group.consumers, *group.pass_through)):
            held |= {name for place in group.producers for name in training.parts[place.layer].weighted}
    why = f"{_few(sorted(late))} reads them, in training mode alone"
    for layer, parts in enumerate(builder.parts):
        if not held.isdisjoint(parts.weighted):
            builder.hold(layer, "out", why)


def owners(parts: Parts) -> list[str]:
    """The modules whose parameters a layer has."""
    norm = [parts.norm] if parts.norm else []
    return [*parts.weighted, *norm, *(name.rpartition(".")[0] for name, _ in parts.vectors)]


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
