"""What a network costs before anything runs: parameters, MACs, activation bytes, peak memory.

The word is MACs: one multiply-add counts 1, over convolutions and linear layers (an SE block's two among them);
batch norm, activations, pooling and sums count 0. FLOPs would be about twice as many.
"""

from typing import NamedTuple

from searchspace.graph import NETWORK_INPUT, Graph, Layer, lower
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
    peak_memory_bytes: parameters + the most activations alive at once in execution order, as inference needs.
    """

    params: int
    macs: int
    activation_bytes: int
    peak_memory_bytes: int
    layers: tuple[LayerCost, ...]


def layer_params_macs(layer: Layer) -> tuple[int, int]:
    """(learnable parameters, multiply-adds of one image) of one layer.

    A convolution has a weight and 2 parameters per channel for its batch norm; SE and linear layers have biases.
    """
    _, op, _, in_shape, out_shape, _, kernel, _, groups, _, squeeze, _ = layer
    channels = in_shape[0]
    out, height, width = out_shape
    if op == "conv":
        weight = out * (channels // groups) * kernel * kernel
        return weight + 2 * out, weight * height * width
    if op == "se":
        weight = 2 * channels * squeeze
        return weight + squeeze + channels, weight
    if op == "linear":
        return channels * out + out, channels * out
    return 0, 0


def _alive(graph: Graph, sizes: list[int], image: int) -> list[int]:
    """Activation elements alive while each layer runs: a tensor lives from its layer to its last reader."""
    last_reader = list(range(len(sizes)))
    last_reader.append(0)  # the image, at index NETWORK_INPUT
    for index, layer in enumerate(graph.layers):
        for source in layer.inputs:
            last_reader[source] = index
    dies: list[int] = [0] * len(sizes)
    for source, reader in enumerate(last_reader[:-1]):
        dies[reader] += sizes[source]
    dies[last_reader[NETWORK_INPUT]] += image
    alive = []
    current = image
    for size, freed in zip(sizes, dies, strict=True):
        current += size
        alive.append(current)
        current -= freed
    return alive


def costs(graph: Graph, *, bytes_per_value: int = 4) -> Costs:
    """All costs of a graph, per layer and in total, for batch 1 with values of `bytes_per_value` bytes."""
    sizes = [shape[0] * shape[1] * shape[2] for shape in (layer.out_shape for layer in graph.layers)]
    channels, height, width = graph.in_shape
    alive = _alive(graph, sizes, channels * height * width)
    layers = []
    seen: set[str] = set()
    params = macs = 0
    for layer, size, live in zip(graph.layers, sizes, alive, strict=True):
        own_params, own_macs = layer_params_macs(layer)
        layers.append(
            LayerCost(layer.name, own_params, own_macs, size * bytes_per_value, live * bytes_per_value)
        )
        macs += own_macs
        if layer.weights not in seen:
            params += own_params
            seen.add(layer.weights)
    peak = (params + max(alive)) * bytes_per_value
    return Costs(params, macs, sum(sizes) * bytes_per_value, peak, tuple(layers))


def params(spec: NetworkSpec) -> int:
    """Learnable parameters of a network."""
    return costs(lower(spec)).params


def macs(spec: NetworkSpec) -> int:
    """Multiply-adds of a network at its resolution, batch 1."""
    return costs(lower(spec)).macs
