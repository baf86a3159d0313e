"""What a network costs before anything runs: parameters, MACs, activation bytes, peak memory.

The word is MACs: one multiply-add counts 1, over convolutions and linear layers (an SE block's two among them);
batch norm, activations, pooling and sums count 0. FLOPs would be about twice as many.
"""

from typing import NamedTuple

from searchspace.errors import InvalidSpec
from searchspace.graph import OPS, Graph, Layer, lower
from searchspace.layers import TRACED_OPS
from searchspace.spec import NetworkSpec


class LayerCost(NamedTuple):
    """One layer's share. `peak_memory_bytes`: activations alive while it runs (its inputs, its output, skips)."""

    name: str
    params: int
    macs: int
    activation_bytes: int
    peak_memory_bytes: int


class Costs(NamedTuple):
    """Totals for batch 1, and the layers they are folded from.

    params: learnable parameters, a shared weight once. macs: multiply-adds. activation_bytes: all layer outputs.
    peak_memory_bytes: parameters + the most activations alive at once in execution order, as inference needs: the
    image and every output live from where they are made to their last reader, the network's outputs to the end.
    """

    params: int
    macs: int
    activation_bytes: int
    peak_memory_bytes: int
    layers: tuple[LayerCost, ...]


def layer_params_macs(layer: Layer) -> tuple[int, int]:
    """(learnable parameters, multiply-adds of one image) of one layer.

    A convolution has a weight and per channel 2 parameters of its batch norm or a bias; SE and linear layers have
    biases; `Layer.vectors` says where it is otherwise.
    Raises InvalidSpec for an op that is in neither `searchspace.layers.OPS` nor TRACED_OPS.
    """
    _, op, _, (channels, _, _), (out, height, width), _, kernel, _, groups, _, squeeze, _, _, norm, _, vectors = layer[
        :16
    ]
    if vectors is None:
        vectors = 2 if norm and op == "conv" else 1
    if op == "conv":
        weight = out * (channels // groups) * (layer.branches or layer.taps or kernel * kernel)
        return weight + out * vectors + layer.scalars, weight * height * width
    if op == "se":
        weight = 2 * channels * squeeze
        return weight + (squeeze + channels) * vectors, weight
    if op == "linear":
        weight = channels * layer.in_shape[1] * layer.in_shape[2] * out
        return weight + out * vectors, weight
    if op == "conv_transpose":
        weight = channels * (out // groups) * (layer.taps or kernel * kernel)
        return weight + out * vectors, weight * layer.in_shape[1] * layer.in_shape[2]
    if op == "norm":
        return out * vectors + layer.scalars, 0
    if op == "reduce":
        return 0, out * height * width * layer.taps
    if op == "add":
        return layer.scalars, 0
    if op not in (*OPS, *TRACED_OPS):
        raise InvalidSpec(f"the op of layer {layer.name!r} must be one of {', '.join(OPS)}, got {op!r}")
    return 0, 0


def costs(graph: Graph, *, bytes_per_value: int = 4) -> Costs:
    """All costs of a graph, per layer and in total, for batch 1 with values of `bytes_per_value` bytes."""
    shapes = [layer.out_shape for layer in graph.layers]
    sizes = [channels * height * width for channels, height, width in (*shapes, graph.in_shape)]
    last_reader = {source: index for index, layer in enumerate(graph.layers) for source in layer.inputs}
    freed = [0] * len(graph.layers)  # what no layer reads is an output: it stays
    for source, reader in last_reader.items():
        freed[reader] += sizes[source]
    live = sizes.pop()  # the image stands last, at NETWORK_INPUT
    rows = []
    params = 0
    shared = {}
    for layer, size, dead in zip(graph.layers, sizes, freed, strict=True):
        own_params, own_macs = layer_params_macs(layer)
        if layer.weights:
            shared[layer.weights] = own_params - layer.scalars
            params += layer.scalars
        else:
            params += own_params
        live += size
        rows.append((layer.name, own_params, own_macs, size * bytes_per_value, live * bytes_per_value))
        live -= dead
    params += sum(shared.values())
    _, _, macs, activations, alive = zip(*rows, strict=True)
    peak = params * bytes_per_value + max(alive)
    return Costs(params, sum(macs), sum(activations), peak, tuple(map(LayerCost._make, rows)))


def params(spec: NetworkSpec) -> int:
    """Learnable parameters of a network."""
    return costs(lower(spec)).params


def macs(spec: NetworkSpec) -> int:
    """Multiply-adds of a network at its resolution, batch 1."""
    return costs(lower(spec)).macs
