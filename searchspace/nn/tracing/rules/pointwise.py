"""Functions of single values, and sums and products: of two maps, of a map and numbers or parameters."""

import torch
from torch import fx, nn

from searchspace.graph import NETWORK_INPUT
from searchspace.nn.tracing.arrangement import BATCH, channel_and_pixel
from searchspace.nn.tracing.builder import Constant, LayerBuilder, Parts, Value
from searchspace.nn.tracing.calls import Call
from searchspace.nn.tracing.rules.squeeze_excite import ends_block

_TAKE_IN = ("conv", "conv_transpose", "linear", "add", "concat", "norm")


def activation(builder: LayerBuilder, call: Call) -> None:
    """The activation of the layer before, or a "norm" layer of its own."""
    value = builder.read_whole(call, call.arguments["x"])
    layer = None if value.layer == NETWORK_INPUT else builder.layers[value.layer]
    takes = layer and layer.activation == "identity" and layer.op in _TAKE_IN
    if takes and value.fusible:
        builder.fuse(call, value, activation=call.kind)
        return
    builder.append_alike(call, "norm", value, activation=call.kind, norm=False, vectors=0)


def both(builder: LayerBuilder, call: Call) -> None:
    """A sum or product of two: an "add" or "mul" layer, or a "norm" one where one side is a number or a parameter."""
    sides = [call.arguments.get(name) for name in ("x", "y")]
    values = [side for side in sides if isinstance(side, fx.Node) and side in builder.values]
    constants = [side for side in sides if isinstance(side, fx.Node) and side in builder.constants]
    if not values and constants:
        call.refuse("two parameters are combined: compute the result once, or make it a parameter")
    if len(values) == 2:
        _two_maps(builder, call, *values)
    elif len(values) == 1 and constants:
        with_constant(builder, call, values[0], builder.constants[constants[0]])
    elif len(values) == 1 and all(isinstance(side, (int, float, bool)) for side in sides if side not in values):
        value = builder.read_whole(call, values[0])
        builder.append_alike(call, "norm", value, norm=False, vectors=0)
    else:
        side = next((side for side in sides if side not in values), None)
        call.refuse(f"{side} is no output of a layer")


def _two_maps(builder: LayerBuilder, call: Call, one: fx.Node, two: fx.Node) -> None:
    values = tuple(builder.read(call, side) for side in (one, two))
    if not _go_together(builder, call, *values):
        values = tuple(builder.read_channels(call, side)[0] for side in (one, two))
    if not _go_together(builder, call, *values):
        shapes = [builder.shape(value) for value in values]
        call.refuse(f"channels must meet their own ones, or all of them a single one, got {shapes[0]} and {shapes[1]}")
    if call.kind == "mul" and ends_block(builder, call, *values):
        return
    whole = [_is_full(builder, call, value) for value in values]
    if not any(whole) and any(value.found is not None for value in values):
        values = tuple(builder.read_channels(call, side)[0] for side in (one, two))
        whole = [_is_full(builder, call, value) for value in values]
    if all(whole):
        builder.append_alike(call, call.kind, *values)
    elif any(whole):
        wide = whole.index(True)
        builder.append_alike(call, call.kind, values[wide], values[1 - wide])
    else:
        _spread_both(builder, call, *values)


def _is_full(builder: LayerBuilder, call: Call, value: Value) -> bool:
    """Whether each of the layer's values is there once, and so is each of the result's, which is arranged alike."""
    shape, found = builder.shape(value), builder.numbers(value)
    return found.shape == call.result.shape and found.numel() == BATCH * shape[0] * shape[1] * shape[2]


def _spread_both(builder: LayerBuilder, call: Call, one: Value, two: Value) -> None:
    """Such as (channels, height, 1) with (channels, 1, width): each side is spread over the other's axes."""
    if call.result.ndim != 4:
        call.refuse(
            f"two maps of which neither has the shape of the result must have four axes, got {call.result.ndim}"
        )
    wide, other = (one, two) if builder.shape(one)[0] >= builder.shape(two)[0] else (two, one)
    builder.append(call, call.kind, wide, other, out_shape=call.out_shape)


def _go_together(builder: LayerBuilder, call: Call, one: Value, two: Value) -> bool:
    """Whether channels meet their own channels, or all of them a single one."""
    if one.found is None and two.found is None and builder.shape(one) == builder.shape(two):
        return True
    if isinstance(one.found, tuple) or isinstance(two.found, tuple):
        return False
    size = call.result.shape
    try:
        spread = [builder.numbers(value).expand(size) for value in (one, two)]
    except RuntimeError:
        return False
    shapes = [builder.shape(value) for value in (one, two)]
    one_channel, two_channel = (channel_and_pixel(found, shape)[0] for found, shape in zip(spread, shapes, strict=True))
    return 1 in (shapes[0][0], shapes[1][0]) or torch.equal(one_channel, two_channel)


def with_constant(builder: LayerBuilder, call: Call, source: fx.Node, constant: Constant) -> None:
    """A "norm" layer: a map with a parameter or buffer of one value, or of one for each channel."""
    value = builder.read_whole(call, source)
    count = constant.values.numel()
    learnable = int(isinstance(constant.values, nn.Parameter))
    key = constant.name if learnable else ""
    if count == 1:
        builder.append_alike(call, "norm", value, weights=key, norm=False, vectors=0, scalars=learnable)
        return
    axis = channel_axis(builder, call, value, constant)
    parts = Parts(vectors=((constant.name, axis),))
    builder.append_alike(call, "norm", value, parts=parts, weights=key, norm=False, vectors=learnable)


def channel_axis(builder: LayerBuilder, call: Call, value: Value, constant: Constant) -> int:
    """The axis of a parameter that counts channels; refuses one that does not have one value for each channel."""
    shape = builder.shape(value)
    axis = next((axis for axis, size in enumerate(constant.values.shape) if size == shape[0]), None)
    channel, _ = channel_and_pixel(builder.numbers(value), shape)
    own = constant.found == channel  # of the shape of the result, as the two are spread over each other
    meets = constant.values.numel() == shape[0] and own.shape == channel.shape and bool(own.all())
    if axis is None or not meets:
        call.refuse(
            f"{constant.name} must have one value, or one for each of {shape[0]} channels, "
            f"got {tuple(constant.values.shape)}"
        )
    return axis
