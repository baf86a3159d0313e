"""A user's torch module as a Graph: torch.fx gives the calls, a rule for each kind makes layers of them or refuses.

Batch norm and activation are fused into the layer before where nothing else reads it, pooling - 1x1 - activation -
1x1 - gate - product is one "se" layer, and what changes no value (dropout, flatten, view) is no layer.
"""

from collections.abc import Callable, Sequence

from torch import Tensor, fx, nn

from searchspace.cost import costs
from searchspace.errors import UnsupportedModule
from searchspace.graph import NETWORK_INPUT, Graph
from searchspace.nn.tracing.arrangement import as_seen
from searchspace.nn.tracing.builder import LayerBuilder, Value, constant_of
from searchspace.nn.tracing.calls import Call, Calls
from searchspace.nn.tracing.kinds import POINTWISE
from searchspace.nn.tracing.rules import channels, moves, norms, pointwise, weights, windows

RULES: dict[str, Callable[[LayerBuilder, Call], None]] = {
    **dict.fromkeys(POINTWISE, pointwise.activation),
    **{"conv": weights.convolution, "conv_transpose": weights.convolution, "linear": weights.linear},
    **{"norm": norms.batch_norm, "own_norm": norms.own_norm, "joint_norm": norms.joint_norm, "prelu": norms.prelu},
    **dict.fromkeys(("group_norm", "layer_norm", "rms_norm"), norms.function_norm),
    **{"softmax": norms.softmax, "normalize": norms.normalize},
    **{"maxpool": windows.window_pool, "avgpool": windows.window_pool, "adaptive": windows.global_pool},
    **{"resample": windows.resample, "reduce": windows.reduce, "extreme": windows.extreme},
    **{"same": moves.same_values, "move": moves.move, "concat": channels.concat},
    **{"add": pointwise.both, "mul": pointwise.both},
}


def read_module(module: nn.Module, in_shapes: Sequence[tuple[int, ...]]) -> tuple[Graph, LayerBuilder]:
    """The Graph of `module` in eval mode for inputs of these shapes, the batch apart, and what built it.

    Raises UnsupportedModule, naming the node that stands in the way.
    """
    channels, height, width = (*in_shapes[0], 1, 1)[:3]
    in_shape = (channels, height, width)
    calls = Calls(module, in_shapes)
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
            if not isinstance(result, Tensor):
                call.refuse("the first input of its forward must be a tensor: take images by a name, not by *args")
            builder.values[node] = Value(NETWORK_INPUT, False, as_seen(builder.in_shape, result))
        elif isinstance(result, Tensor):
            builder.append_new(call, "input", shape=call.out_shape)
        return
    if node.op == "output":
        given: list[fx.Node] = []
        fx.node.map_arg(node.args, given.append)
        for each in given:
            if isinstance(builder.calls.results[each], Tensor):
                builder.outputs.add(builder.read_whole(call, each).layer)
        if not builder.outputs:
            call.refuse("the module must give a tensor, or several of them")
        return
    several = isinstance(result, (tuple, list)) and any(isinstance(each, Tensor) for each in result)
    if node.op == "get_attr" or not (isinstance(result, Tensor) or several):
        if (constant := constant_of(builder, node)) is not None:
            builder.constants[node] = constant
        return  # else refused where a layer would read it
    if call.kind not in RULES or (several and call.kind not in ("move", "extreme")):
        call.refuse("a Graph has no layer for it")
    source = call.arguments.get("x")
    if isinstance(source, fx.Node) and source in builder.constants and call.kind in ("same", *POINTWISE):
        builder.constants[node] = builder.constants[source]
        return
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
    used |= {name.rpartition(".")[0] for parts in builder.parts for name, _ in parts.vectors}
    idle = [name for name in dict.fromkeys(builder.calls.owner.values()) if name not in used]
    if builder.calls.tied and not idle:  # biases and norms beside a shared weight are counted as if they were shared
        return
    why = f"{', '.join(idle[:3]) or 'the module itself'} has parameters that the layers of its Graph do not use"
    raise UnsupportedModule(f"not all of the {graph.name} could be traced: {why}; remove what is not used")
