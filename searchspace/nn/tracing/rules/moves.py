"""Calls that compute nothing but move values: views, permutations, slices, splits, shuffles, PixelShuffle."""

from typing import Any

import torch
from torch import Tensor, fx

from searchspace.graph import NETWORK_INPUT
from searchspace.nn import layers as ours
from searchspace.nn.tracing.arrangement import channel_and_pixel, find_moves, keeps_batch
from searchspace.nn.tracing.builder import Constant, LayerBuilder, Value
from searchspace.nn.tracing.calls import Call

_SHAPED = ("view", "reshape", "unflatten", "repeat", "tile")
_TAKES = ("split", "narrow", "tensor_split", "select", "roll", "getitem")


def same_values(builder: LayerBuilder, call: Call) -> None:
    """No layer: dropout in eval mode, copies, other number formats."""
    builder.hand_on(call, builder.read(call, call.arguments["x"]))


def move(builder: LayerBuilder, call: Call) -> None:
    """The same values elsewhere: a layer if channels or pixels of a map are others then, else only noted."""
    node = call.node
    source = node.args[0] if node.args else call.arguments.get("x")
    if isinstance(source, fx.Node) and source in builder.constants:
        _move_constant(builder, call, builder.constants[source])
        return
    moved = _moved(builder, call)
    value = builder.read(call, source)
    builder.hand_on(call, value._replace(found=moved))
    if isinstance(call.module, ours.Slice) or (isinstance(moved, tuple) and _is_written(call)):
        _hold(builder, value, f"{call.name}{_BY_POSITION}")
    if isinstance(moved, tuple):
        return
    if (name := _name(call)) in _SHAPED and _is_hard_wired(builder, call, value, moved):
        _hold(builder, value, f"their number is written into the code at node {node.name}")
    elif name in _TAKES and _is_written(call):
        _hold_taken(builder, call, value, moved)
    if moved.ndim == 4 and keeps_batch(moved, builder.shape(value)):
        _become_layer(builder, call, value, moved)


_BY_POSITION = " takes its channels by position"


def _name(call: Call) -> str:
    target = call.node.target
    return target if isinstance(target, str) else getattr(target, "__name__", "")


def _move_constant(builder: LayerBuilder, call: Call, constant: Constant) -> None:
    moved = [_moved(builder, call, source.found) for source in constant.sources]
    if all(isinstance(found, Tensor) for found in moved) and isinstance(call.result, Tensor):
        sources = [source._replace(found=found) for source, found in zip(constant.sources, moved, strict=True)]
        builder.constants[call.node] = constant._replace(sources=tuple(sources))


def _moved(builder: LayerBuilder, call: Call, constant: Tensor | None = None) -> Any:
    """What the call makes of the numbers that say where each value is, those of `constant` if it moves one."""

    def of_node(node: fx.Node) -> Any:
        if constant is not None and node is call.node.args[0]:
            return constant
        if node in builder.values:
            value = builder.values[node]
            return value.found if isinstance(value.found, tuple) else builder.numbers(value).contiguous()
        result = builder.calls.results[node]
        return torch.empty(1).expand(result.shape) if isinstance(result, Tensor) else result

    args, kwargs = fx.node.map_arg(call.node.args, of_node), fx.node.map_arg(call.node.kwargs, of_node)
    called = call.node.target if call.module is None else call.module
    try:
        found = getattr(args[0], called)(*args[1:], **kwargs) if isinstance(called, str) else called(*args, **kwargs)
    except Exception as error:
        call.refuse(f"it cannot be followed: {error}")
    return tuple(found) if isinstance(found, (tuple, list)) else found


def _become_layer(builder: LayerBuilder, call: Call, value: Value, moved: Tensor) -> None:
    """Slices and shuffles of maps are layers where they are made, whoever reads them."""
    channel, pixel = channel_and_pixel(moved[0], builder.shape(value))
    one_each = bool((channel == channel[:, :1, :1]).all())
    if one_each and moved.shape[2:] == builder.shape(value)[1:] and bool((pixel == pixel[:1]).all()):
        in_order = torch.equal(channel[:, 0, 0], torch.arange(builder.shape(value)[0]))
        if not in_order and find_moves(moved, builder.shape(value)):
            builder.read_channels(call, call.node)


def _is_written(call: Call) -> bool:
    """Whether numbers of channels stand in the code."""
    if call.module is not None or _name(call) in ("chunk", "unbind"):
        return False
    given = [*call.node.args[1:], *call.node.kwargs.values()]
    return any(_has_literal(each) for each in given[:1])


def _has_literal(given: object) -> bool:
    """Whether a size, sizes, or bounds of slices hold a number other than 0."""
    if isinstance(given, slice):
        return any(_has_literal(each) for each in (given.start, given.stop))
    if isinstance(given, (tuple, list)):
        return any(_has_literal(each) for each in given)
    return isinstance(given, int) and given != 0


def _hold_taken(builder: LayerBuilder, call: Call, value: Value, moved: Tensor) -> None:
    """Hold the channels of which some are taken by numbers in the code."""
    found = builder.calls.results.get(call.node.args[0]) if isinstance(call.node.args[0], fx.Node) else None
    if isinstance(found, Tensor) and keeps_batch(moved, builder.shape(value)):
        channel, _ = channel_and_pixel(moved[0], builder.shape(value))
        if int(channel.flatten().bincount().count_nonzero()) < builder.shape(value)[0]:
            _hold(builder, value, f"{call.name}{_BY_POSITION}")


def _is_hard_wired(builder: LayerBuilder, call: Call, value: Value, moved: Tensor) -> bool:
    """Whether every axis of the result that tells channels apart has a size that is written into the code."""
    sizes = [*call.node.args[1:], *call.node.kwargs.values()]
    if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)):
        sizes = list(sizes[0])
    if len(sizes) != moved.ndim or not keeps_batch(moved, builder.shape(value)):
        return False
    channel, _ = channel_and_pixel(moved, builder.shape(value))
    telling = [
        size for axis, size in enumerate(sizes) if axis > 0 and bool((channel != channel.narrow(axis, 0, 1)).any())
    ]
    return bool(telling) and all(isinstance(size, int) and size > 1 for size in telling)


def _hold(builder: LayerBuilder, value: Value, why: str) -> None:
    if value.layer != NETWORK_INPUT:
        builder.hold(value.layer, "out", why)
