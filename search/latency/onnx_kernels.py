"""Kernels and isolated blocks as ONNX models."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from search.latency.kernels import PlacedBlock
from search.latency.machine import isolated_block
from searchspace.graph import Layer
from searchspace.nn.onnx_model import OnnxGraph

FEED_CHANNELS = 8


def kernel(layer: Layer) -> bytes:
    """One layer as a model of its own, with random weights."""
    model = OnnxGraph()
    layer = layer._replace(name="kernel")
    inputs = [model.input(name, shape) for name, shape in _inputs(layer).items()]
    out = model.layer(layer, inputs, random_weights(layer), "kernel")
    model.output(out, (1, layer.out_shape[0]) if layer.op == "linear" else (1, *layer.out_shape))
    content: bytes = model.proto("kernel").SerializeToString()
    return content


def kernel_feeds(layer: Layer) -> dict[str, Any]:
    """Inputs of that model, by name."""
    return {name: torch.zeros(shape).numpy() for name, shape in _inputs(layer).items()}


def _inputs(layer: Layer) -> dict[str, tuple[int, ...]]:
    channels, height, width = layer.in_shape
    second = layer.out_shape[0] - channels if layer.op == "concat" else channels
    counts = [channels, second] if layer.op in ("add", "concat") else [channels]
    return {f"input{number}": (1, count, height, width) for number, count in enumerate(counts)}


def random_weights(layer: Layer) -> dict[str, Tensor]:
    """Random weights of a layer under the names that OnnxGraph.layer reads."""
    channels, out = layer.in_shape[0], layer.out_shape[0]
    shapes: dict[str, tuple[int, ...]] = {}
    if layer.op == "conv":
        shapes = {"conv.weight": (out, channels // layer.groups, layer.kernel, layer.kernel), "conv.bias": (out,)}
    elif layer.op == "linear":
        shapes = {"weight": (out, channels), "bias": (out,)}
    elif layer.op == "se":
        inner = layer.squeeze_channels
        shapes = {
            "reduce.weight": (inner, channels, 1, 1),
            "reduce.bias": (inner,),
            "expand.weight": (channels, inner, 1, 1),
            "expand.bias": (channels,),
        }
    generator = torch.Generator().manual_seed(0)
    return {f"{layer.name}.{name}": torch.randn(shape, generator=generator) / 8 for name, shape in shapes.items()}


def noise(channels: int, resolution: int) -> Tensor:
    """(1, channels, resolution, resolution), the same each time."""
    return torch.randn(1, channels, resolution, resolution, generator=torch.Generator().manual_seed(0))


def block_batch(blocks: Sequence[PlacedBlock]) -> tuple[bytes, dict[str, Any]]:
    """Isolated blocks as one model, and its inputs by name.

    A block of 3 input channels gets an image; another gets a convolution's output, in the layout that convolutions
    leave. The outputs are pooled, so that nothing large is copied out.
    """
    model = OnnxGraph()
    feeds: dict[str, Any] = {}
    for number, placed in enumerate(blocks):
        size = placed.resolution
        channels = placed.in_channels if placed.in_channels == 3 else FEED_CHANNELS
        source = f"input{channels}x{size}"
        if source not in feeds:
            model.input(source, (1, channels, size, size))
            feeds[source] = noise(channels, size).numpy()
        if channels != placed.in_channels:
            weight = torch.randn(placed.in_channels, channels, 1, 1, generator=torch.Generator().manual_seed(number))
            weights = [model.weight(f"feed{number}.weight", weight / 4)]
            source = model.node("Conv", [source, *weights], f"feed{number}/conv", kernel_shape=[1, 1])
        out = _block(model, number, placed, source)
        if not placed.block.is_head:
            out = model.node("GlobalAveragePool", [out], f"tail{number}/pool")
        last = placed.layers[-1]
        model.output(out, (1, last.out_shape[0]) if last.op == "linear" else (1, last.out_shape[0], 1, 1))
    return model.proto("block_batch").SerializeToString(), feeds


def _block(model: OnnxGraph, number: int, placed: PlacedBlock, source: str) -> str:
    prefix = f"block{number}"
    tensors = {f"{prefix}.{name}": tensor for name, tensor in isolated_block(placed).state_dict().items()}
    values = [source]  # NETWORK_INPUT is -1: the values behind it are one place further
    for index, layer in enumerate(placed.layers):
        inside = layer._replace(name=f"{prefix}.{layer.name}".rstrip("."))
        inputs = [values[place + 1] for place in layer.inputs]
        values.append(model.layer(inside, inputs, tensors, f"{prefix}.{index}"))
    return values[-1]
