"""Pooling, and the windows of pooling and convolutions."""

from dataclasses import replace
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx

from searchspace.graph import Shape
from searchspace.nn.tracing.arrangement import BATCH
from searchspace.nn.tracing.builder import LayerBuilder, Value
from searchspace.nn.tracing.calls import Call
from searchspace.nn.tracing.rules.pointwise import both
from searchspace.rounding import conv_out


class Window(NamedTuple):
    """A window as a Layer has it: the larger of its two sides, its stride, one of PADDINGS or "same", and its values.

    `padding` is the nearest word for what is padded; `taps` is 0 for a square window.
    """

    kernel: int
    stride: int
    padding: str
    taps: int


def window(
    call: Call, shape: Shape, *, kernel: Any, stride: Any, padding: Any, dilation: Any, same: bool = False
) -> Window:
    """The window of a call that reads a map of `shape`."""
    kernels, strides, paddings = (_pair(side) for side in (kernel, stride, padding))
    size, step = max(kernels), max(strides)
    half = all(k % 2 == 1 and p in ((k - 1) // 2, "same") for k, p in zip(kernels, paddings, strict=True))
    rule = "same" if same else "half" if half else "ceil" if call.arguments.get("ceil_mode") else "valid"
    if not half and any(pixels not in (0, "valid") for pixels in paddings):
        rule = "half"
    plain = kernels[0] == kernels[1] and _pair(dilation) == (1, 1) and strides[0] == strides[1]
    fits = plain and tuple(conv_out(pixel, step, kernel=size, padding=rule) for pixel in shape[1:])
    if fits != call.out_shape[1:] and rule in ("ceil", "same"):
        rule = "valid"
    return Window(size, step, rule, 0 if kernels[0] == kernels[1] else kernels[0] * kernels[1])


def _pair(side: Any) -> tuple[Any, Any]:
    if isinstance(side, (tuple, list)):
        return (side[0], side[-1])
    return (side, side)


def window_pool(builder: LayerBuilder, call: Call) -> None:
    """A "maxpool" or "avgpool" layer; an average over the whole map is a "pool" layer."""
    arguments = call.arguments
    kernel, padding = arguments["kernel_size"], arguments.get("padding", 0)
    value, shape = builder.read_map(call, arguments["x"])
    whole = call.out_shape[1:] == (1, 1) and kernel in (shape[1], tuple(shape[1:]))
    if call.kind == "avgpool" and whole and not padding:
        builder.append(call, "pool", value, out_shape=call.out_shape)
        return
    stride, dilation = arguments.get("stride") or kernel, arguments.get("dilation", 1)
    if call.kind == "maxpool" and arguments.get("return_indices"):
        call.refuse("the places of the largest values are no map")
    found = window(call, shape, kernel=kernel, stride=stride, padding=padding, dilation=dilation)
    builder.append(
        call,
        call.kind,
        value,
        out_shape=call.out_shape,
        kernel=found.kernel,
        stride=found.stride,
        padding=found.padding,
    )


def global_pool(builder: LayerBuilder, call: Call) -> None:
    """A "pool" layer; adaptive pooling to as many pixels as there are changes nothing, to others is a "resample"."""
    value, shape = builder.read_map(call, call.arguments["x"])
    if call.out_shape == shape and shape[1:] != (1, 1):
        builder.hand_on(call, value)
    else:
        op = "pool" if call.out_shape[1:] == (1, 1) else "resample"
        builder.append(call, op, value, out_shape=call.out_shape)


def resample(builder: LayerBuilder, call: Call) -> None:
    """A "resample" layer: other pixels of the same channels."""
    value, shape = builder.read_map(call, call.arguments["x"])
    if call.out_shape[0] != shape[0]:
        call.refuse(f"it makes {call.out_shape[0]} channels of {shape[0]}: it may change pixels only")
    builder.append(call, "resample", value, out_shape=call.out_shape)


def reduce(builder: LayerBuilder, call: Call) -> None:
    """A mean, sum or another number of all pixels or of some; over channels, of which there is a new one then."""
    source, dims = call.arguments["x"], call.arguments.get("dim")
    value, axis = builder.read_channels(call, source)
    ndim = builder.calls.results[source].ndim
    given = dims if isinstance(dims, (tuple, list)) else range(ndim) if dims is None else (dims,)
    over = {dim % ndim for dim in given}
    if 0 in over:
        call.refuse(f"it takes one number of several images: name the axes of pixels, got {dims}")
    if axis in over:
        _over_channels(builder, call, value, axis)
        return
    left = [place for place in range(ndim) if place not in over]
    at = axis if call.result.ndim == ndim else left.index(axis)
    sizes = [size for place, size in enumerate(call.result.shape) if place not in (0, at)]
    height, width = sizes if len(sizes) == 2 else (prod(sizes), 1)
    is_mean = getattr(call.node.target, "__name__", call.node.target) == "mean"
    op = "pool" if (height, width) == (1, 1) and is_mean else "resample"
    builder.append(call, op, value, axis=at, out_shape=(call.result.shape[at], height, width))


def _over_channels(builder: LayerBuilder, call: Call, value: Value, axis: int) -> None:
    """A "reduce" layer, which has one new channel; those it reads cannot change in number."""
    sizes = list(call.result.shape[1:])
    if call.result.ndim != builder.calls.results[call.arguments["x"]].ndim:
        sizes.insert(axis - 1, 1)  # the axis is left out: one channel all the same
    pixels = [size for place, size in enumerate(sizes, 1) if place != axis]
    height, width = pixels if len(pixels) == 2 else (prod(pixels), 1)
    layer = builder.append_new(call, "reduce", value, shape=(1, height, width))
    builder.hold(layer, "in", f"node {call.node.name} takes all of them together")


def extreme(builder: LayerBuilder, call: Call) -> None:
    """The larger or smaller of two maps, or of all channels or pixels of one, with its place."""
    second = call.arguments.get("dim", call.arguments.get("y"))
    if isinstance(second, fx.Node):
        both(builder, replace(call, kind="mul", arguments={"x": call.arguments["x"], "y": second}))
    elif isinstance(call.result, Tensor):
        call.refuse("it takes one number of several images: name an axis")
    else:
        reduce(builder, replace(call, result=call.result[0]))
        value = builder.values[call.node]
        largest = type(call.result)((builder.numbers(value), torch.empty(0)))  # its `values` too
        builder.values[call.node] = value._replace(found=largest)


def mixed(builder: LayerBuilder, call: Call) -> None:
    """A "reduce" layer for a function of whole maps: matrix products, attention, distances, sampling."""
    nodes = [node for node in call.node.all_input_nodes if isinstance(builder.calls.results[node], Tensor)]
    values = [builder.read(call, node) for node in nodes if node not in builder.constants]
    if any(builder.constants[node].sources for node in nodes if node in builder.constants):
        call.refuse("it reads a parameter or buffer: a convolution or a linear layer would say what it learns")
    if len(call.result) != BATCH:
        call.refuse("it mixes images: their axis must stay the first")
    seen = call.result.shape if call.result.ndim > 1 else (BATCH, 1)
    why = f"node {call.node.name} takes all of them together"
    taps = _taps(call, builder.calls.results[nodes[0]])
    value = builder.mix(call.node, values, torch.Size(seen), 1, why, taps=taps)
    if call.result.ndim == 1:
        value = value._replace(found=builder.numbers(value).reshape(BATCH))
    builder.values[call.node] = value


def _taps(call: Call, first: Tensor) -> int:
    """Multiply-adds of one value; attention has a product of queries and keys, and one with values."""
    name = getattr(call.node.target, "__name__", call.node.target)
    if name == "scaled_dot_product_attention":
        return 2 * int(first.shape[-2])
    return int(first.shape[-1]) if name in ("matmul", "bmm") else 0
