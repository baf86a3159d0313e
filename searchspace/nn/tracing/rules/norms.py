"""Norms: batch norm, in the layer before where nothing else reads it, norms over channels, and PReLU."""

from torch import fx, nn

from searchspace.graph import NETWORK_INPUT
from searchspace.nn.tracing.builder import LayerBuilder, Parts
from searchspace.nn.tracing.calls import Call
from searchspace.nn.tracing.joint_norms import of_torch
from searchspace.nn.tracing.rules.pointwise import with_constant


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
    key = builder.calls.key(name, norm.weight)
    builder.append_alike(call, "norm", value, parts=Parts(norm=name), weights=key, vectors=affine)


def _takes_norm(builder: LayerBuilder, index: int) -> bool:
    if index == NETWORK_INPUT:
        return False
    layer, parts = builder.layers[index], builder.parts[index]
    free = not parts.norm and layer.activation == "identity" and builder.calls.shared.isdisjoint(parts.weighted)
    return layer.op in ("conv", "conv_transpose", "linear") and free


def own_norm(builder: LayerBuilder, call: Call) -> None:
    """A "norm" layer with statistics of each channel by itself: instance norm."""
    value, _ = builder.read_map(call, call.arguments["x"])
    affine = bool(call.module.affine)
    key = builder.calls.key(call.name, call.module.weight) if affine else ""
    builder.append_alike(call, "norm", value, parts=Parts(norm=call.name), weights=key, vectors=2 * affine)


def joint_norm(builder: LayerBuilder, call: Call) -> None:
    """A "norm" layer with statistics over all channels, or over equal runs of them."""
    name, module = call.name, call.module
    value, axis = builder.read_channels(call, call.arguments["x"])
    shape, seen = builder.shape(value), builder.calls.results[call.arguments["x"]].ndim
    users = builder.calls.joint_norms.get(name)
    found = users or of_torch(module, dim=axis, channels=shape[0])
    if users is None and isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
        whole = tuple(module.normalized_shape) == (shape if axis == 1 else ())
        if not whole and (len(module.normalized_shape) != 1 or axis != seen - 1):
            call.refuse(f"it must take statistics over the channels, which are on axis {axis} of {seen}")
    elif axis != found.dim % seen:
        call.refuse(f"it takes statistics over axis {found.dim % seen}, and the channels are on axis {axis}")
    one_each = isinstance(module, nn.GroupNorm) and module.num_groups == module.num_channels
    parts = Parts(norm=name, joint_norm=None if one_each else found)
    values = sum(parameter.numel() for parameter in module.parameters(recurse=False))
    key = builder.calls.key(name, next(module.parameters(recurse=False), None))
    fields = {
        "weights": key if values else "",
        "vectors": values // shape[0],
        "groups": 1 if one_each else found.groups,
    }
    builder.append_alike(call, "norm", value, parts=parts, **fields)


def function_norm(builder: LayerBuilder, call: Call) -> None:
    """A "norm" layer by a function that takes statistics over channels: their number cannot change."""
    value, _ = builder.read_channels(call, call.arguments["x"])
    names = [
        source
        for each in (call.arguments.get("weight"), call.arguments.get("bias"))
        if isinstance(each, fx.Node) and each in builder.constants
        for source in builder.constants[each].sources
    ]
    vectors = sum(isinstance(each.values, nn.Parameter) * each.values.numel() for each in names)
    vectors //= builder.shape(value)[0]
    key = names[0].name if names else ""
    parts = Parts(vectors=tuple((each.name, 0) for each in names))
    layer = builder.append_alike(call, "norm", value, parts=parts, weights=key, norm=False, vectors=vectors)
    builder.hold(layer, "out", f"node {call.node.name} takes statistics over all of them: use a norm's module there")


def prelu(builder: LayerBuilder, call: Call) -> None:
    """A "norm" layer with one slope for all channels, or one for each."""
    if call.module is None:
        source, weight = call.arguments["x"], call.arguments.get("weight")
        if not isinstance(weight, fx.Node) or weight not in builder.constants:
            call.refuse("its slopes must be a parameter")
        constant = builder.constants[weight]
        shape = [1] * call.result.ndim
        _, axis = builder.read_channels(call, source)
        shape[axis] = -1
        sources = [each._replace(found=each.found.reshape(shape)) for each in constant.sources]
        with_constant(builder, call, source, constant._replace(sources=tuple(sources)))
        return
    value, axis = builder.read_channels(call, call.arguments["x"])
    one = call.module.num_parameters == 1
    if not one and axis != 1:
        call.refuse(f"it has a slope for each place on axis 1, and the channels are on axis {axis}")
    parts = Parts() if one else Parts(norm=call.name)
    key = builder.calls.key(call.name, call.module.weight)
    fields = builder.single(key, 1) if one else {"weights": key, "vectors": 1}
    fields = {"vectors": 0} | fields | {"activation": "prelu", "norm": False}
    builder.append_alike(call, "norm", value, parts=parts, **fields)


def softmax(builder: LayerBuilder, call: Call) -> None:
    """A "norm" layer; over channels their number cannot change."""
    value, axis = builder.read_channels(call, call.arguments["x"])
    dim = call.arguments.get("dim", 1)
    layer = builder.append_alike(call, "norm", value, activation=call.kind, norm=False, vectors=0)
    if not isinstance(dim, int) or dim % call.result.ndim == axis:
        builder.hold(layer, "out", f"node {call.node.name} takes all of them together")


def normalize(builder: LayerBuilder, call: Call) -> None:
    """A "norm" layer: a vector of channels divided by its length, to which channels of 0 add nothing."""
    value, _ = builder.read_channels(call, call.arguments["x"])
    builder.append_alike(call, "norm", value, activation=call.kind, norm=False, vectors=0)
