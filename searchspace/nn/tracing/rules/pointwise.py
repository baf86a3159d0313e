"""Functions of single values, and sums and products: of two maps, of a map and numbers or parameters."""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, fx, nn

from searchspace.graph import NETWORK_INPUT
from searchspace.nn.tracing.arrangement import BATCH, channel_and_pixel
from searchspace.nn.tracing.builder import Constant, LayerBuilder, Parts, Source, Value
from searchspace.nn.tracing.calls import Call
from searchspace.nn.tracing.kinds import TELLING
from searchspace.nn.tracing.rules.squeeze_excite import ends_block

_TAKE_IN = ("conv", "conv_transpose", "linear", "add", "concat", "norm")


def activation(builder: LayerBuilder, call: Call) -> None:
    """The activation of the layer before, or a "norm" layer of its own."""
    if isinstance(call.arguments.get("y"), fx.Node):  # a power or a bound that is learnt
        both(builder, call)
        return
    value = builder.read_whole(call, call.arguments["x"])
    layer = None if value.layer == NETWORK_INPUT else builder.layers[value.layer]
    takes = layer and layer.activation == "identity" and layer.op in _TAKE_IN
    if takes and value.fusible:
        builder.fuse(call, value, activation=call.kind)
        return
    builder.append_alike(call, "norm", value, activation=call.kind, norm=False, vectors=0)


def both(builder: LayerBuilder, call: Call) -> None:
    """A sum or product of two or more: an "add" or "mul" layer, or a "norm" one beside a number or a parameter."""
    sides = [call.arguments[name] for name in ("x", "y", "z") if name in call.arguments]
    values = [side for side in sides if isinstance(side, fx.Node) and side in builder.values]
    constants = [side for side in sides if isinstance(side, fx.Node) and side in builder.constants]
    others = [side for side in sides if side not in values and side not in constants]
    if not all(isinstance(side, (int, float, bool)) for side in others) or not (values or constants):
        call.refuse(f"{next(iter(others), None)} is no output of a layer")
    if not values:
        builder.constants[call.node] = _combined(builder, call, [builder.constants[side] for side in constants])
        return
    first, *more = values
    if not more and not constants:
        builder.append_alike(call, "norm", builder.read_whole(call, first), norm=False, vectors=0)
    for other in more:
        _two_maps(builder, call, first, other)
        first = call.node
    for other in constants:
        constant = builder.constants[other]
        if constant.is_written and not _tells_channels(builder, call, first, other):
            constant = constant._replace(is_written=False)
        with_constant(builder, call, first, constant)
        first = call.node


def _across(channel: Tensor) -> list[int]:
    """The axes that channels are told apart on."""
    return [axis for axis in range(channel.ndim) if bool((channel != channel.narrow(axis, 0, 1)).any())]


def _tells_channels(builder: LayerBuilder, call: Call, source: fx.Node, constant: fx.Node) -> bool:
    """Whether a constant has more than one value along the channels of a map."""
    value = builder.read_whole(call, source)
    channel, _ = channel_and_pixel(builder.numbers(value), builder.shape(value))
    sizes = (*(1,) * channel.ndim, *builder.calls.results[constant].shape)[-channel.ndim :]
    return any(sizes[axis] > 1 for axis in _across(channel))


def _combined(builder: LayerBuilder, call: Call, constants: Sequence[Constant]) -> Constant:
    sources = [source for constant in constants for source in constant.sources]
    spread = [source._replace(found=source.found.expand(call.result.shape)) for source in sources]
    return Constant(tuple(spread), any(constant.is_written for constant in constants))


def made(builder: LayerBuilder, call: Call) -> None:
    """A tensor that the code makes: zeros, noise, or coordinates, whose values tell channels apart."""
    name = getattr(call.node.target, "__name__", call.node.target)
    builder.constants[call.node] = Constant(is_written=name in TELLING and call.result.numel() > 1)


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
    """A "norm" layer for each parameter or buffer that a map meets: by channel, by pixel, or a single value."""
    value = builder.read_whole(call, source)
    if builder.numbers(value).shape != call.result.shape:
        call.refuse(f"a map of {tuple(builder.numbers(value).shape[1:])} is spread over {tuple(call.result.shape[1:])}")
    for each in constant.sources:
        axis = _channel_axis(builder, call, value, each)
        _append_constant(builder, call, value, each, axis)
        value = builder.values[call.node]
    if not constant.sources:
        builder.append_alike(call, "norm", value, norm=False, vectors=0)
    if constant.is_written:
        why = f"node {call.node.name} has a value for each in the code: make them a buffer (register_buffer)"
        builder.hold(builder.values[call.node].layer, "out", why)


def _append_constant(builder: LayerBuilder, call: Call, value: Value, source: Source, axis: int | None) -> None:
    count, learnable = source.values.numel(), isinstance(source.values, nn.Parameter)
    fields: dict[str, Any] = {"norm": False, "vectors": 0}
    if axis is None:
        fields |= builder.single(source.name, count * learnable)
        builder.append_alike(call, "norm", value, **fields)
        return
    fields |= {"weights": source.name, "vectors": count // builder.shape(value)[0] * learnable}
    builder.append_alike(call, "norm", value, parts=Parts(vectors=((source.name, axis),)), **fields)


def _channel_axis(builder: LayerBuilder, call: Call, value: Value, source: Source) -> int | None:
    """The axis of a parameter that counts channels; None if each channel meets the same values."""
    shape = builder.shape(value)
    channel, _ = channel_and_pixel(builder.numbers(value), shape)
    found = source.found.expand(channel.shape)
    sizes = source.values.shape
    for axis in [axis for axis, size in enumerate(sizes) if size == shape[0] > 1]:
        if torch.equal(found // prod(sizes[axis + 1 :]) % sizes[axis], channel):
            return axis
    if not any(bool((found != found.narrow(axis, 0, 1)).any()) for axis in _across(channel)):
        return None
    call.refuse(
        f"{source.name} must have one value, or one for each of {shape[0]} channels, got {tuple(source.values.shape)}"
    )
