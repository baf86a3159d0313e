"""Squeeze-and-excite: pooling, 1x1, activation, 1x1, gate and product are one layer."""

from posixpath import commonpath

from torch import Tensor

from searchspace.nn.tracing.builder import LayerBuilder, Parts, Value
from searchspace.nn.tracing.calls import Call

_GATES = ("sigmoid", "hard_sigmoid")


def ends_block(builder: LayerBuilder, call: Call, one: Value, two: Value) -> bool:
    """Whether a product is the last step of a squeeze-and-excite block, which is one layer then.

    The block's other layers are the last three, and nothing else reads them.
    """
    for value, gate in ((one, two), (two, one)):
        first = gate.layer - 2
        is_last = gate.fusible and first >= 0 and gate.layer == len(builder.layers) - 1
        is_gate = is_last and value.found is None and _is_gate(builder, first, value)
        if is_gate and _is_unread(builder, call, first):
            _append_block(builder, call, value, first)
            return True
    return False


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


def _is_unread(builder: LayerBuilder, call: Call, first: int) -> bool:
    """Whether nothing but the block itself reads its inner layers."""
    inner = [node for node, value in builder.values.items() if value.layer >= first]
    readers = {user for node in inner for user in node.users} - {call.node} - builder.values.keys()
    return not any(isinstance(builder.calls.results[user], Tensor) for user in readers)


def _append_block(builder: LayerBuilder, call: Call, value: Value, first: int) -> None:
    _, reduce, expand = builder.layers[first:]
    names = tuple(name for parts in builder.parts[first:] for name in parts.weighted)
    del builder.layers[first:], builder.parts[first:]
    for place, side in [key for key in builder.held if key[0] >= first]:
        why = builder.held.pop((place, side))
        builder.hold(first, side, why)
    name = commonpath([each.replace(".", "/") for each in names]).replace("/", ".") or call.node.name
    builder.append(
        call,
        "se",
        value,
        parts=Parts(names),
        name=name,
        weights=name,
        squeeze_channels=reduce.out_shape[0],
        activation=reduce.activation,
        gate=expand.activation,
        vectors=reduce.vectors,
    )
