"""Many steps from one network, evaluated together: what they compute alike is computed once.

A step changes a few layers. All before them, and the output channels that a layer merely loses, are the larger
network's: its outputs are computed once for a batch and cut to each step's channels; only layers that read something
else than before run again. Weights are used with batch norm folded, as plain tensors: no module is built.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from searchspace.channels.steps import Step
from searchspace.graph import NETWORK_INPUT, Graph, Layer, lower
from searchspace.nn.activations import activated
from searchspace.nn.build import Network
from searchspace.nn.fold import fold_batch_norm
from searchspace.nn.layers import Affine, ConvBNAct, SqueezeExcite, pad_same
from searchspace.nn.weights.prune import Gates, LayerSlice, layer_slices
from searchspace.nn.weights.slices import slice_rows, slice_weight

Weights = list[tuple[Tensor, ...]]  # by layer: weight and bias; of an SE block both of its layers'


def folded_weights(network: Network) -> Weights:
    """The weights of each layer of `lower(network.spec)`, batch norm folded, on the network's device."""
    folded = fold_batch_norm(network)
    found: Weights = []
    for layer in lower(network.spec).layers:
        module = folded.get_submodule(layer.name) if layer.weights else folded
        parts: list[nn.Module] = [module] if layer.op == "linear" else []
        if isinstance(module, ConvBNAct):
            parts = [module.conv]
        elif isinstance(module, SqueezeExcite):
            parts = [module.reduce, module.expand]
        elif isinstance(module, Affine):
            found.append((module.scale.detach(), module.bias.detach()))
            continue
        found.append(tuple(value for part in parts for value in _weight_and_bias(part)))
    return found


def _weight_and_bias(part: nn.Module) -> tuple[Tensor, Tensor]:
    weight, bias = part.get_parameter("weight").detach(), part.bias
    return weight, weight.new_zeros(len(weight)) if bias is None else bias.detach()  # type: ignore[operator]


def forward(graph: Graph, weights: Weights, images: Tensor) -> list[Tensor]:
    """The outputs of all layers for images (batch, in_channels, height, width); the last are the logits."""
    values: list[Tensor] = []
    for layer, own in zip(graph.layers, weights, strict=True):
        values.append(_apply(layer, own, [images if at == NETWORK_INPUT else values[at] for at in layer.inputs]))
    return values


Source = tuple[int, Tensor | None]  # a layer of the larger network, and its channels


class Branch(NamedTuple):
    """A step made ready: the layers that must run again with their weights, and where all others' outputs come from.

    `whole`: layers that read the larger network's values uncut, by weights of 0 for what the step has not: to copy the
    rest of a large map takes longer than to multiply it.
    """

    graph: Graph
    weights: Weights
    sources: list[Source | None]  # (the larger network's layer, its channels); None: runs again
    whole: frozenset[int]


def branch(graph: Graph, weights: Weights, step: Step, *, gates: Gates | None = None) -> Branch:
    """`step` from the network of `graph` and its folded weights."""
    slices = layer_slices(graph.layers, step, gates or {})
    sources: list[Source | None] = []
    own: Weights = []
    whole = set()
    device = next(own[0].device for own in weights if own)
    for layer, origin, part in zip(step.graph.layers, step.origins, slices, strict=True):
        base = graph.layers[origin]
        same_inputs = [
            source == NETWORK_INPUT if at == NETWORK_INPUT else sources[at] is not None and step.origins[at] == source
            for at, source in zip(layer.inputs, base.inputs, strict=True)
        ]
        # An SE block squeezes all its channels into each: with fewer of them every output is another.
        anew = part.computes_anew or layer.kernel != base.kernel or (layer.op == "se" and part.outs is not None)
        shared = all(same_inputs) and not anew
        sources.append((origin, None if part.outs is None else part.outs.to(device)) if shared else None)
        if not shared and _reads_most(layer, base, part, sources):
            whole.add(len(own))
            kept, part = part.ins, part._replace(ins=None)
            own.append(_silenced(_take(layer, base, weights[origin], part), kept))
        else:
            own.append(() if shared else _take(layer, base, weights[origin], part))
    return Branch(step.graph, own, sources, frozenset(whole))


def _reads_most(layer: Layer, base: Layer, part: LayerSlice, sources: Sequence[Source | None]) -> bool:
    """Whether a dense layer reads a cut of a value that the larger network has, and at least half of it."""
    dense = layer.op in ("conv", "linear") and layer.groups == base.groups == 1
    if not dense or part.ins is None or layer.inputs[0] == NETWORK_INPUT:
        return False
    return sources[layer.inputs[0]] is not None and 2 * len(part.ins) >= base.in_shape[0]


def _silenced(weights: tuple[Tensor, ...], kept: Tensor | None) -> tuple[Tensor, ...]:
    """The weights with columns of 0 for all inputs that are not kept."""
    weight, bias = weights
    assert kept is not None
    mask = torch.zeros(weight.shape[1], device=weight.device)
    mask[kept.to(weight.device)] = 1.0
    return (weight * mask.reshape(1, -1, *(1,) * (weight.ndim - 2)), bias)


def logits(ready: Branch, base: Sequence[Tensor], images: Tensor) -> Tensor:
    """The step's logits; `base` are the larger network's outputs (`forward`) for the same images."""
    values: dict[int, Tensor] = {NETWORK_INPUT: images}

    def value(at: int) -> Tensor:
        source = ready.sources[at] if at != NETWORK_INPUT else None
        if at not in values and source is not None:
            origin, channels = source
            values[at] = base[origin] if channels is None else _channels(base[origin], channels)
        return values[at]

    last = len(ready.graph.layers) - 1
    for index, layer in enumerate(ready.graph.layers):
        if ready.sources[index] is None:
            uncut = ready.sources[layer.inputs[0]] if index in ready.whole else None
            inputs = [base[uncut[0]]] if uncut is not None else [value(at) for at in layer.inputs]
            values[index] = _apply(layer, ready.weights[index], inputs)
    return value(last)


def _take(layer: Layer, base: Layer, weights: tuple[Tensor, ...], part: LayerSlice) -> tuple[Tensor, ...]:
    outs, ins, inside, scale = part
    if layer.op == "se":
        reduce, first, expand, second = weights
        squeezed, spread = slice_weight(reduce, inside, outs), slice_weight(expand, outs, inside)
        return squeezed, slice_rows(first, inside), spread, slice_rows(second, outs)
    if not weights or layer.op == "norm":
        return weights
    weight, bias = weights
    kernel = (layer.kernel, layer.kernel) if layer.op == "conv" else ()
    new = slice_weight(weight, outs, ins, groups=(base.groups, layer.groups), kernel=kernel, scale=scale)
    return new, slice_rows(bias, outs)


def _channels(x: Tensor, channels: Tensor) -> Tensor:
    """Some channels of (batch, channels, ...), in the memory format of `x`."""
    if x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return x.permute(0, 2, 3, 1).index_select(3, channels).permute(0, 3, 1, 2)
    return x.index_select(1, channels)


def _apply(layer: Layer, weights: tuple[Tensor, ...], inputs: list[Tensor]) -> Tensor:
    x = inputs[0]
    match layer.op:
        case "conv":
            x, padding = _padded(layer, x if x.ndim == 4 else x[:, :, None, None])  # behind the global pooling
            weight, bias = weights
            x = F.conv2d(x, weight, bias, stride=layer.stride, padding=padding, groups=layer.groups)
        case "linear":
            weight, bias = weights
            x = F.linear(x.flatten(1), weight, bias)
        case "se":
            reduce, first, expand, second = weights
            scale = activated(F.conv2d(x.mean((2, 3), keepdim=True), reduce, first), layer.activation)
            return x * activated(F.conv2d(scale, expand, second), layer.gate)
        case "add":
            x = x + inputs[1]
        case "concat":
            x = torch.cat(inputs, 1)
        case "slice":
            return x.narrow(1, layer.start, layer.out_shape[0])
        case "shuffle":
            return F.channel_shuffle(x, layer.groups)
        case "maxpool":
            return F.max_pool2d(x, layer.kernel, layer.stride, _padded(layer, x)[1], ceil_mode=layer.padding == "ceil")
        case "avgpool":
            return F.avg_pool2d(x, layer.kernel, layer.stride, _padded(layer, x)[1])
        case "pool":
            return x.mean((2, 3))
        case "norm":
            if weights:
                scale, shift = weights
                x = x * scale + shift
        case "pad":
            x = F.pad(x, (0, 1, 0, 1))
        case _:
            raise AssertionError(f"no function for the op {layer.op!r}")
    return activated(x, layer.activation)


def _padded(layer: Layer, x: Tensor) -> tuple[Tensor, int]:
    """The input and the padding that is left to the kernel."""
    if layer.padding == "same" and layer.stride > 1 and layer.kernel > 1:
        return pad_same(x, layer.kernel, layer.stride), 0
    return x, (layer.kernel - 1) // 2 if layer.padding in ("half", "same") else 0
