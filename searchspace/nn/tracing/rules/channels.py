"""Calls that compute nothing but move channels: sums, concatenations, shuffles, slices, other shapes of the same."""

from typing import Any

import torch

from searchspace.nn import layers as ours
from searchspace.nn.tracing.builder import LayerBuilder, Value
from searchspace.nn.tracing.calls import Call


def same_values(builder: LayerBuilder, call: Call) -> None:
    """No layer: dropout in eval mode, or another shape with the channels in the same order."""
    builder.hand_on(call, builder.read(call, call.arguments["x"]))
    value = builder.read(call, call.node)  # refuses another order
    sizes = call.node.args[1:] if call.node.target in ("view", "reshape", torch.reshape) else ()
    for size in (number for each in sizes for number in (each if isinstance(each, (tuple, list)) else (each,))):
        if isinstance(size, int) and size > 1:
            builder.hard_wired[value.layer] = call.node.name


def expand(builder: LayerBuilder, call: Call) -> None:
    """No layer: one value a channel, for each of its pixels."""
    builder.hand_on(call, builder.read(call, call.arguments["x"]))


def add(builder: LayerBuilder, call: Call) -> None:
    """An "add" layer."""
    if "alpha" in call.arguments:
        call.refuse("a sum takes both as they are, without alpha")
    one, two = (builder.read(call, call.arguments.get(name)) for name in ("x", "y"))
    shape, other = builder.shape(one), builder.shape(two)
    if shape != other:
        call.refuse(f"a sum needs two of one shape, got {shape} and {other}")
    builder.append(call, "add", one, two)


def concat(builder: LayerBuilder, call: Call) -> None:
    """A "concat" layer."""
    values = [builder.read_map(call, source)[0] for source in call.arguments["tensors"]]
    _check_dim(call, call.result, "concatenated")
    builder.append(call, "concat", *values, out_shape=call.out_shape)


def shuffle(builder: LayerBuilder, call: Call) -> None:
    """A "shuffle" layer."""
    builder.append(call, "shuffle", builder.read(call, call.arguments["x"]), groups=call.arguments["groups"])


def split(builder: LayerBuilder, call: Call) -> None:
    """No layer yet: each piece that is read becomes a "slice"."""
    source = call.arguments["x"]
    value, _ = builder.read_map(call, source)
    _check_dim(call, builder.calls.results[source], "split")
    sizes = [piece.shape[1] for piece in call.result]
    builder.values[call.node] = Value(value.layer, False)
    builder.pieces[call.node] = [(sum(sizes[:place]), size) for place, size in enumerate(sizes)]


def item(builder: LayerBuilder, call: Call) -> None:
    """A "slice": a piece of a split, or channels in brackets."""
    source, index = call.arguments["x"], call.arguments["index"]
    if source in builder.pieces and isinstance(index, int):
        _append_slice(builder, call, builder.values[source], *builder.pieces[source][index])
        return
    value, shape = builder.read_map(call, source)
    keys = index if isinstance(index, tuple) else (index,)
    whole = all(key in (slice(None), Ellipsis) for place, key in enumerate(keys) if place != 1)
    if len(keys) < 2 or not whole or not isinstance(keys[1], slice) or Ellipsis in keys[:1]:
        call.refuse("only channels can be taken out, as in x[:, :32]")
    start, stop, step = keys[1].indices(shape[0])
    if step != 1:
        call.refuse(f"channels must be taken one after the other, got every {step}.")
    _append_slice(builder, call, value, start, stop - start)


def narrow(builder: LayerBuilder, call: Call) -> None:
    """A "slice"."""
    arguments = call.arguments
    value, shape = builder.read_map(call, arguments["x"])
    if isinstance(call.module, ours.Slice):
        _append_slice(builder, call, value, call.module.start, call.module.channels)
        return
    _check_dim(call, call.result, "taken out")
    _append_slice(builder, call, value, arguments["start"] % shape[0], arguments["length"])


def _check_dim(call: Call, tensor: Any, what: str) -> None:
    dim = call.arguments.get("dim", 0)
    if dim not in (1, 1 - tensor.ndim):
        call.refuse(f"only channels, dim 1, can be {what}, got {dim}")


def _append_slice(builder: LayerBuilder, call: Call, value: Value, start: int, channels: int) -> None:
    builder.append(call, "slice", value, out_shape=(channels, *builder.shape(value)[1:]), start=start)
