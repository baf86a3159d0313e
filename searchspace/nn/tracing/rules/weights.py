"""Convolutions, those that are transposed, and linear layers."""

from typing import Any

from torch import nn

from searchspace.graph import Shape
from searchspace.nn import layers as ours
from searchspace.nn.tracing.arrangement import is_flat
from searchspace.nn.tracing.builder import LayerBuilder, Parts
from searchspace.nn.tracing.calls import Call
from searchspace.nn.tracing.rules.windows import window


def convolution(builder: LayerBuilder, call: Call) -> None:
    """A "conv" or "conv_transpose" layer without batch norm and activation."""
    value, shape = builder.read_map(call, call.arguments["x"])
    name, conv = _weighted(builder, call)
    given = {field: call.arguments.get(field, getattr(conv, field)) for field in ("stride", "padding", "dilation")}
    if call.kind == "conv_transpose":
        given |= {"padding": 0}
    same = isinstance(conv, ours.SameConv2d)
    kernel, stride, padding, taps = window(call, shape, kernel=conv.kernel_size, same=same, **given)
    fields = {"name": name, "out_shape": call.out_shape, "norm": False, "groups": conv.groups}
    fields |= {"kernel": kernel, "stride": stride, "padding": padding, "taps": taps}
    builder.append(
        call, call.kind, value, parts=Parts((name,)), **_learnable(builder, call, name, conv, shape), **fields
    )


def linear(builder: LayerBuilder, call: Call) -> None:
    """A "linear" layer; behind the channels of several pixels, a "conv" layer with a kernel of 1."""
    source = call.arguments["x"]
    value = builder.read(call, source)
    name, part = _weighted(builder, call)
    fields: dict[str, Any] = {"name": name}
    if not isinstance(value.found, tuple) and is_flat(value.found, builder.shape(value)):
        fields |= _learnable(builder, call, name, part, builder.shape(value))
        builder.append(call, "linear", value, parts=Parts((name,)), out_shape=call.out_shape, **fields)
        return
    value, axis = builder.read_channels(call, source, axis=-1)
    if axis != call.result.ndim - 1:
        call.refuse(f"a linear layer reads the last axis, and the channels are on axis {axis}: flatten or permute them")
    fields |= _learnable(builder, call, name, part, builder.shape(value))
    if call.result.ndim == 2:
        builder.append(call, "linear", value, parts=Parts((name,)), out_shape=call.out_shape, **fields)
        return
    shape = (call.result.shape[-1], *builder.shape(value)[1:])
    builder.append(call, "conv", value, parts=Parts((name,)), axis=axis, out_shape=shape, norm=False, **fields)


def _learnable(builder: LayerBuilder, call: Call, name: str, part: Any, shape: Shape) -> dict[str, Any]:
    """The fields of a layer that say what it learns."""
    key = builder.calls.key(name, part.weight)
    other = next((layer for layer in builder.layers if layer.weights == key), None)
    reverse = other is not None and (other.op == "conv_transpose") != isinstance(part, nn.ConvTranspose2d)
    if other is not None and not reverse and other.in_shape[0] != shape[0]:
        call.refuse(f"it has the weights of {other.name}, which reads {other.in_shape[0]} channels where it {shape[0]}")
    return {"weights": key, "vectors": None if part.bias is not None else 0}


def _weighted(builder: LayerBuilder, call: Call) -> tuple[str, Any]:
    """The name and the module of a convolution or linear layer, which a function may use the weights of."""
    name = builder.calls.weights_of(call)
    module: Any = builder.calls.module.get_submodule(name) if name else None
    if not isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)) or "weight" not in module._parameters:
        call.refuse(
            "its weight is not simply the parameter of a Conv2d, ConvTranspose2d or Linear (a mask, weight_norm or a "
            "parametrization is taken off a copy by searchspace.nn.cuttable.cuttable)"
        )
    if call.module is None:
        arguments = call.arguments
        bias = arguments.get("bias")
        plain = getattr(bias, "target", None) == f"{name}.bias" if module.bias is not None else bias is None
        if not plain or ("groups" in arguments and arguments["groups"] != module.groups):
            call.refuse(f"it uses the weight of {name} in another way than {name} would")
    return name, module
