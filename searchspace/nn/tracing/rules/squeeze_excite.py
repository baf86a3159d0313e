"""Squeeze-and-excite: pooling, 1x1, activation, 1x1, gate and product are one layer."""

from posixpath import commonpath

from torch import Tensor

from searchspace.nn.tracing.builder import LayerBuilder, Parts, Value
from searchspace.nn.tracing.calls import Call, refuse

_GATES = ("sigmoid", "hard_sigmoid")


def product(builder: LayerBuilder, call: Call) -> None:
    """The last step of a squeeze-and-excite block, whose other layers are the last three; refuses any other product."""
    one, two = (builder.read(call, call.arguments.get(name), expanded=True) for name in ("x", "y"))
    for value, gate in ((one, two), (two, one)):
        first = gate.layer - 2
        if gate.fusible and first >= 0 and gate.layer == len(builder.layers) - 1 and _is_gate(builder, first, value):
            _check_unread(builder, call, first)
            _append_block(builder, call, value, first)
            return
    call.refuse(
        "a product must end a squeeze-and-excite block of what it scales: global pooling, 1x1, "
        "activation, 1x1, sigmoid or hard sigmoid, each read by the next alone"
    )


def _is_gate(builder: LayerBuilder, first: int, value: Value) -> bool:
    """Whether the layers from `first` on squeeze `value` to one gate a channel."""
    pool, reduce, expand = builder.layers[first:]
    chain = (pool.inputs, reduce.inputs, expand.inputs) == ((value.layer,), (first,), (first + 1,))
    plain = all(
        layer.op in ("conv", "linear")
        and (layer.kernel, layer.groups, layer.stride) == (1, 1, 1)
        and not parts.norm
        and builder.calls.shared.isdisjoint(parts.weighted)
        for layer, parts in zip((reduce, expand), builder.parts[first + 1 :], strict=True)
    )
    ends = pool.op == "pool" and expand.activation in _GATES and expand.out_shape[0] == builder.shape(value)[0]
    return chain and plain and ends and reduce.vectors == expand.vectors


def _check_unread(builder: LayerBuilder, call: Call, first: int) -> None:
    """Nothing but the block itself may read its inner layers."""
    for inner in [inner for inner, value in builder.values.items() if value.layer >= first]:
        for user in inner.users:
            is_tensor = isinstance(builder.calls.results[user], Tensor)
            if user is not call.node and user not in builder.values and is_tensor:
                refuse(user, f"it reads the inside of the squeeze-and-excite block that {call.node.name} ends")


def _append_block(builder: LayerBuilder, call: Call, value: Value, first: int) -> None:
    _, reduce, expand = builder.layers[first:]
    names = tuple(name for parts in builder.parts[first:] for name in parts.weighted)
    del builder.layers[first:], builder.parts[first:]
    for place in range(first, first + 3):
        if place in builder.hard_wired:
            builder.hard_wired[first] = builder.hard_wired.pop(place)
    name = commonpath([each.replace(".", "/") for each in names]).replace("/", ".") or call.node.name
    inside = {"squeeze_channels": reduce.out_shape[0], "activation": reduce.activation, "vectors": reduce.vectors}
    builder.append(call, "se", value, parts=Parts(names), name=name, weights=name, gate=expand.activation, **inside)
