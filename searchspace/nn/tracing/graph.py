"""A user's torch module as a Graph: torch.fx gives the calls, a rule for each kind makes layers of them or refuses.

Batch norm and activation are fused into the layer before where nothing else reads it, pooling - 1x1 - activation -
1x1 - gate - product is one "se" layer, and what changes no value (dropout, flatten, view) is no layer.
"""

from collections.abc import Callable

from torch import Tensor, fx, nn

from searchspace.cost import costs
from searchspace.errors import UnsupportedModule
from searchspace.graph import NETWORK_INPUT, Graph
from searchspace.nn.activations import TORCH
from searchspace.nn.tracing.builder import LayerBuilder, Value
from searchspace.nn.tracing.calls import Call, Calls
from searchspace.nn.tracing.rules import channels, squeeze_excite, weights, windows

RULES: dict[str, Callable[[LayerBuilder, Call], None]] = {
    **dict.fromkeys(TORCH, weights.activation),
    "conv": weights.convolution,
    "linear": weights.linear,
    "norm": weights.batch_norm,
    "maxpool": windows.window_pool,
    "avgpool": windows.window_pool,
    "adaptive": windows.global_pool,
    "mean": windows.mean,
    "same": channels.same_values,
    "expand": channels.expand,
    "add": channels.add,
    "mul": squeeze_excite.product,
    "concat": channels.concat,
    "shuffle": channels.shuffle,
    "split": channels.split,
    "item": channels.item,
    "narrow": channels.narrow,
}


def read_module(module: nn.Module, *, in_channels: int, resolution: int) -> tuple[Graph, LayerBuilder]:
    """The Graph of `module` in eval mode for one image of (in_channels, resolution, resolution), and what built it.

    Raises UnsupportedModule, naming the node that stands in the way.
    """
    in_shape = (in_channels, resolution, resolution)
    calls = Calls(module, in_shape)
    builder = LayerBuilder(calls, in_shape)
    needed = _needed(calls)
    for node in calls.nodes:
        call = calls.call(node)
        _check_in_place(calls, call)
        if node in needed:
            _add(builder, call)
    graph = Graph(type(module).__name__, in_shape, tuple(builder.layers))
    _check_params(builder, graph)
    return graph, builder


def _needed(calls: Calls) -> set[fx.Node]:
    needed: set[fx.Node] = set()
    for node in reversed(calls.nodes):
        if node.op == "output" or needed.intersection(node.users):
            needed.add(node)
    return needed


def _add(builder: LayerBuilder, call: Call) -> None:
    node, result = call.node, call.result
    if node.op == "placeholder":
        if not builder.values:
            builder.values[node] = Value(NETWORK_INPUT, False)
        return
    if node.op == "output":
        if node.args[0] not in builder.values:
            call.refuse("the module must give one tensor")
        builder.read(call, node.args[0])
        return
    several = isinstance(result, (tuple, list)) and any(isinstance(each, Tensor) for each in result)
    if node.op == "get_attr" or not (isinstance(result, Tensor) or several):
        return  # refused where a layer would read it
    if call.kind not in RULES or (several and call.kind != "split"):
        call.refuse("a Graph has no layer for it")
    RULES[call.kind](builder, call)


def _check_in_place(calls: Calls, call: Call) -> None:
    """Refuse what overwrites a value that is read again: a Graph has no word for it."""
    if call.works_in_place:
        place = calls.nodes[call.node]
        source = call.node.args[0] if call.node.args else None
        later = isinstance(source, fx.Node) and any(calls.nodes[user] > place for user in source.users)
        if not call.node.users or (later and call.kind in ("add", "mul")):
            call.refuse("it works in place, and others read what it overwrites: use its result instead")


def _check_params(builder: LayerBuilder, graph: Graph) -> None:
    count = sum(parameter.numel() for parameter in builder.calls.module.parameters())
    if graph.layers and costs(graph).params == count:
        return
    used = {name for parts in builder.parts for name in (*parts.weighted, parts.norm)}
    idle = [name for name in dict.fromkeys(builder.calls.owner.values()) if name not in used]
    why = f"{', '.join(idle[:3]) or 'the module itself'} has parameters that the layers of its Graph do not use"
    raise UnsupportedModule(f"not all of the {graph.name} could be traced: {why}; remove what is not used")
