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
    **{"add": pointwise.both, "mul": pointwise.both, "made": pointwise.made, "mixed": windows.mixed},
}


def read_module(
    module: nn.Module, in_shapes: Sequence[tuple[int, ...]], *, training: bool = False
) -> tuple[Graph, LayerBuilder]:
    """The Graph of `module` for inputs of these shapes, the batch apart, and what built it; by default in eval mode.

    Raises UnsupportedModule, naming the node that stands in the way.
    """
    channels, height, width = (*in_shapes[0], 1, 1)[:3]
    in_shape = (channels, height, width)
    calls = Calls(module, in_shapes, training=training)
    builder = LayerBuilder(calls, in_shape)
    needed = _needed(calls)
    for node in calls.nodes:
        call = calls.call(node)
        _check_in_place(calls, call)
        if node in needed:
            _add(builder, call)
    graph = Graph(type(module).__name__, in_shape, tuple(builder.layers))
    if not graph.layers:
        raise UnsupportedModule(f"the {graph.name} must have layers with parameters, got none: there is nothing to cut")
    builder.idle = _idle(builder, graph)
    return graph, builder


def _needed(calls: Calls) -> set[fx.Node]:
    """The nodes whose values an output depends on; for zeros or noise of a shape the shape is all that counts."""
    needed: set[fx.Node] = set()
    for node in reversed(calls.nodes):
        if node.op == "output" or any(user in needed and calls.call(user).kind != "made" for user in node.users):
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
        for each in _gathered(node):
            if isinstance(builder.calls.results[each], Tensor):
                builder.outputs.add(builder.read_whole(call, each).layer)
        if not builder.outputs:
            call.refuse("the module must give a tensor, or several of them")
        return
    if _is_record(node):
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


def _is_record(node: fx.Node) -> bool:
    """Whether it makes a named tuple or a dataclass."""
    return node.op == "call_function" and isinstance(node.target, type)


def _gathered(node: fx.Node) -> list[fx.Node]:
    """What a node gathers, however deeply: in tuples, dicts, named tuples, dataclasses."""
    given: list[fx.Node] = []
    fx.node.map_arg((node.args, node.kwargs), given.append)
    return [each for one in given for each in (_gathered(one) if _is_record(one) else [one])]


def _check_in_place(calls: Calls, call: Call) -> None:
    """Refuse what overwrites a value that is read again: a Graph has no word for it."""
    if call.works_in_place:
        place = calls.nodes[call.node]
        source = call.node.args[0] if call.node.args else None
        later = isinstance(source, fx.Node) and any(calls.nodes[user] > place for user in source.users)
        if not call.node.users or (later and call.kind in ("add", "mul")):
            call.refuse("it works in place, and others read what it overwrites: use its result instead")


def _idle(builder: LayerBuilder, graph: Graph) -> list[str]:
    """The modules with parameters that no layer uses. Raises UnsupportedModule where layers lack others."""
    module = builder.calls.module
    named = dict(module.named_parameters(remove_duplicate=False))
    names = [name for parts in builder.parts for name in (*parts.weighted, parts.norm)]
    names += [name for parts in builder.parts for name, _ in parts.vectors] + [layer.weights for layer in graph.layers]
    modules = {name: part for name, part in module.named_modules() if name}
    used = {id(each) for name in names if name in modules for each in modules[name].parameters()}
    used |= {id(named[name]) for name in names if name in named}
    idle = {id(each): (name, each.numel()) for name, each in named.items() if id(each) not in used}
    count = sum(parameter.numel() for parameter in module.parameters()) - sum(size for _, size in idle.values())
    # biases and norms beside a shared weight are counted as if they were shared
    found = costs(graph).params
    if not builder.calls.tied and found != count:
        raise UnsupportedModule(
            f"not all of the {graph.name} could be traced: its layers have {found} parameters where it has {count}; "
            "describe the network as a NetworkSpec"
        )
    return list(dict.fromkeys(name.rpartition(".")[0] or name for name, _ in idle.values()))
