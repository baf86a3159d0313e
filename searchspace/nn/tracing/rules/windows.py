"""Pooling, and the windows of pooling and convolutions."""

from typing import Any

from searchspace.graph import Shape
from searchspace.nn.tracing.builder import LayerBuilder
from searchspace.nn.tracing.calls import Call
from searchspace.rounding import conv_out


def window(
    call: Call, shape: Shape, *, kernel: Any, stride: Any, padding: Any, dilation: Any, same: bool = False
) -> tuple[int, int, str]:
    """(kernel, stride, one of PADDINGS or "same") of a square window; refuses any other."""
    sides = {}
    for name, side in {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}.items():
        pair = side if isinstance(side, (tuple, list)) else (side, side)
        if len(set(pair)) != 1:
            call.refuse(f"its {name} must be the same for height and width, got {tuple(pair)}")
        sides[name] = pair[0]
    size, step, pixels = sides["kernel"], sides["stride"], sides["padding"]
    if sides["dilation"] != 1 and size > 1:
        call.refuse(f"its dilation must be 1, got {sides['dilation']}")
    half = size % 2 == 1 and pixels in ((size - 1) // 2, "same")
    rule = "same" if same else "half" if half else "ceil" if call.arguments.get("ceil_mode") else "valid"
    if not same and not half and pixels not in (0, "valid"):
        call.refuse(f"a kernel of {size} must be padded by nothing or by half of it, got {pixels}")
    if tuple(conv_out(pixel, step, kernel=size, padding=rule) for pixel in shape[1:]) != call.out_shape[1:]:
        call.refuse(f"{shape} becomes {call.out_shape}, for which no padding stands")
    return size, step, rule


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
    size, stride, rule = window(call, shape, kernel=kernel, stride=stride, padding=padding, dilation=dilation)
    builder.append(call, call.kind, value, out_shape=call.out_shape, kernel=size, stride=stride, padding=rule)


def mean(builder: LayerBuilder, call: Call) -> None:
    """A mean over height and width: a "pool" layer."""
    source, dims = call.arguments["x"], call.arguments.get("dim")
    dims = dims if isinstance(dims, (tuple, list)) else (dims,)
    if builder.calls.results[source].ndim != 4 or {dim % 4 for dim in dims if isinstance(dim, int)} != {2, 3}:
        call.refuse(f"a mean must be over height and width, (2, 3), got {tuple(dims)}")
    global_pool(builder, call)


def global_pool(builder: LayerBuilder, call: Call) -> None:
    """A "pool" layer; adaptive pooling to as many pixels as there are changes nothing."""
    value, shape = builder.read_map(call, call.arguments["x"])
    if call.out_shape == shape and shape[1:] != (1, 1):
        builder.hand_on(call, value)
    elif call.out_shape[1:] != (1, 1):
        call.refuse(f"adaptive pooling must give one pixel or all of them, {shape} becomes {call.out_shape}")
    else:
        builder.append(call, "pool", value, out_shape=call.out_shape)
