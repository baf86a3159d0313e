"""Convolutions and linear layers; batch norm and activation, in the layer before where nothing else reads it."""

from typing import Any

from torch import nn

from searchspace.graph import NETWORK_INPUT
from searchspace.nn import layers as ours
from searchspace.nn.tracing.builder import LayerBuilder, Parts
from searchspace.nn.tracing.calls import Call
from searchspace.nn.tracing.rules.windows import window


def convolution(builder: LayerBuilder, call: Call) -> None:
    """A "conv" layer without batch norm and activation."""
    value = builder.read(call, call.arguments["x"])
    name, conv = _weighted(builder, call)
    same = isinstance(conv, ours.SameConv2d)
    sides = {"kernel": conv.kernel_size, "stride": conv.stride, "padding": conv.padding, "dilation": conv.dilation}
    kernel, stride, padding = window(call, builder.shape(value), **sides, same=same)
    if conv.padding_mode != "zeros" and padding != "valid" and kernel > 1:
        call.refuse(f"its padding must be zeros, got {conv.padding_mode}")
    key, vectors = builder.calls.owner[id(conv.weight)], None if conv.bias is not None else 0
    fields = {"name": name, "weights": key, "out_shape": call.out_shape, "vectors": vectors, "norm": False}
    sides = {"kernel": kernel, "stride": stride, "padding": padding, "groups": conv.groups}
    builder.append(call, "conv", value, parts=Parts((name,)), **fields, **sides)


def linear(builder: LayerBuilder, call: Call) -> None:
    """A "linear" layer."""
    source = call.arguments["x"]
    value = builder.read(call, source)
    if builder.calls.results[source].ndim != 2:
        call.refuse("a linear layer must read flat values, (batch, features): flatten them first")
    name, part = _weighted(builder, call)
    key, vectors = builder.calls.owner[id(part.weight)], None if part.bias is not None else 0
    fields = {"name": name, "weights": key, "out_shape": call.out_shape, "vectors": vectors}
    builder.append(call, "linear", value, parts=Parts((name,)), **fields)


def _weighted(builder: LayerBuilder, call: Call) -> tuple[str, Any]:
    """The name and the module of a convolution or linear layer, which a function may use the weights of."""
    name = builder.calls.weights_of(call)
    module: Any = builder.calls.module.get_submodule(name) if name else None
    if not isinstance(module, (nn.Conv2d, nn.Linear)) or "weight" not in module._parameters:
        call.refuse("its weight is not simply the parameter of a Conv2d or Linear")
    if call.module is None:
        arguments = call.arguments
        bias = arguments.get("bias")
        plain = getattr(bias, "target", None) == f"{name}.bias" if module.bias is not None else bias is None
        for field in ("stride", "padding", "dilation", "groups"):
            plain = plain and (field not in arguments or arguments[field] == getattr(module, field))
        if not plain:
            call.refuse(f"it uses the weight of {name} in another way than {name} would")
    return name, module


def batch_norm(builder: LayerBuilder, call: Call) -> None:
    """The batch norm of the convolution or linear layer before, or a "norm" layer."""
    value, _ = builder.read_map(call, call.arguments["x"])
    name, norm = call.name, call.module
    if not norm.track_running_stats or norm.running_mean is None:
        call.refuse("a batch norm without running statistics cannot be folded")
    affine = 2 * bool(norm.affine)
    if value.fusible and name not in builder.calls.shared and _takes_norm(builder, value.layer):
        layer = builder.layers[value.layer]
        bias = 1 if layer.vectors is None else 0
        vectors = None if layer.op == "conv" and affine and not bias else affine + bias
        builder.parts[value.layer] = builder.parts[value.layer]._replace(norm=name)
        builder.fuse(call, value, norm=True, vectors=vectors)
        return
    key = builder.calls.owner[id(norm.weight)] if affine else name
    builder.append(call, "norm", value, parts=Parts(norm=name), weights=key, vectors=affine)


def _takes_norm(builder: LayerBuilder, index: int) -> bool:
    if index == NETWORK_INPUT:
        return False
    layer, parts = builder.layers[index], builder.parts[index]
    free = not parts.norm and layer.activation == "identity" and builder.calls.shared.isdisjoint(parts.weighted)
    return layer.op in ("conv", "linear") and free


def activation(builder: LayerBuilder, call: Call) -> None:
    """The activation of the layer before, or a "norm" layer of its own."""
    value = builder.read(call, call.arguments["x"])
    layer = None if value.layer == NETWORK_INPUT else builder.layers[value.layer]
    takes = layer and layer.activation == "identity" and layer.op in ("conv", "linear", "add", "concat", "norm")
    if takes and value.fusible:
        builder.fuse(call, value, activation=call.kind)
        return
    builder.append(call, "norm", value, activation=call.kind, norm=False, vectors=0)
