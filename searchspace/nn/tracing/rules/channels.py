"""Concatenations: of channels, and along any other axis."""

from math import prod

from torch import fx

from searchspace.nn.tracing.builder import LayerBuilder, Value
from searchspace.nn.tracing.calls import Call
from searchspace.nn.tracing.rules.pointwise import with_constant


def concat(builder: LayerBuilder, call: Call) -> None:
    """A "concat" layer; along pixels the sum of maps that are padded with zeros, which is the same.

    A parameter along pixels, such as a class token, is added to that.
    """
    sources = list(call.arguments["tensors"])
    stacks = getattr(call.node.target, "__name__", "") == "stack"
    dim = call.arguments.get("dim", 0) % call.result.ndim
    maps = [source for source in sources if isinstance(source, fx.Node) and source in builder.values]
    if not maps:
        call.refuse("none of what it puts together is an output of a layer")
    if dim == 0:
        call.refuse("it puts images together along the axis of the batch: name another axis")
    axis = builder.read_channels(call, maps[0])[1]
    axis += stacks and dim <= axis
    if axis == dim and not stacks:
        _of_channels(builder, call, sources, dim)
    else:
        _of_pixels(builder, call, [source for source in sources if source not in builder.constants], axis)
        for constant in (builder.constants[source] for source in sources if source in builder.constants):
            spread = [each._replace(found=each.found.narrow(dim, 0, 1)) for each in constant.sources]
            with_constant(builder, call, call.node, constant._replace(sources=tuple(spread)))


def _of_channels(builder: LayerBuilder, call: Call, sources: list[fx.Node], dim: int) -> None:
    values = []
    for source in sources:
        if source in builder.constants:
            values.append(_made_map(builder, call, source, dim))
            continue
        value, axis = builder.read_channels(call, source)
        if axis != dim:
            call.refuse(f"only channels, axis {axis}, can be concatenated, got axis {dim}")
        values.append(value)
    shape = builder.shape(values[0])
    builder.append(call, "concat", *values, axis=dim, out_shape=(call.result.shape[dim], *shape[1:]))


def _made_map(builder: LayerBuilder, call: Call, source: fx.Node, dim: int) -> Value:
    """Channels that the code makes: as many as they are."""
    if builder.constants[source].sources:
        call.refuse(f"{source} is a parameter or buffer, which is no output of a layer: add it to one instead")
    shape = builder.calls.results[source].shape
    sizes = [size for place, size in enumerate(shape) if place not in (0, dim)]
    height, width = sizes if len(sizes) == 2 else (prod(sizes), 1)
    return builder.append_made(source, (shape[dim], height, width))


def _of_pixels(builder: LayerBuilder, call: Call, sources: list[fx.Node], axis: int) -> None:
    """Channels meet their own ones, as in a sum."""
    channels = call.result.shape[axis]
    sizes = [size for place, size in enumerate(call.result.shape) if place not in (0, axis)]
    height, width = sizes if len(sizes) == 2 else (prod(sizes), 1)
    found: Value | None = None
    for source in sources:
        value, _ = builder.read_channels(call, source)
        if builder.shape(value)[0] != channels:
            call.refuse(f"maps of {channels} and {builder.shape(value)[0]} channels are put together along pixels")
        layer = builder.append(call, "resample", value, axis=axis, out_shape=(channels, height, width))
        if found is not None:
            layer = builder.append(call, "add", found, builder.values[call.node], axis=axis)
        found = builder.values[call.node]._replace(layer=layer)
