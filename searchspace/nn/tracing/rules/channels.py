"""Concatenations."""

from searchspace.nn.tracing.builder import LayerBuilder
from searchspace.nn.tracing.calls import Call


def concat(builder: LayerBuilder, call: Call) -> None:
    """A "concat" layer."""
    dim = call.arguments.get("dim", 0) % call.result.ndim
    values = []
    for source in call.arguments["tensors"]:
        value, axis = builder.read_channels(call, source)
        if axis != dim:
            call.refuse(f"only channels, axis {axis}, can be concatenated, got axis {dim}")
        values.append(value)
    shape = builder.shape(values[0])
    builder.append(call, "concat", *values, axis=dim, out_shape=(call.result.shape[dim], *shape[1:]))
