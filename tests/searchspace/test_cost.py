"""Costs are folds over the graph: closed formulas by layer, brute force for what is alive."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchspace.cost import Costs, costs, macs, params
from searchspace.errors import InvalidSpec
from searchspace.graph import NETWORK_INPUT, Graph, Layer, lower
from searchspace.spec import NetworkSpec

IMAGE = (3, 8, 8)


def of_one(op: str, in_shape: tuple[int, int, int], out_shape: tuple[int, int, int], **rest: Any) -> tuple[int, int]:
    layer = Layer("only", op, (NETWORK_INPUT,), in_shape, out_shape, "only", **rest)
    total = costs(Graph("g", in_shape, (layer,)))
    assert (total.params, total.macs) == (total.layers[0].params, total.layers[0].macs)
    return total.params, total.macs


def test_a_convolution_counts_its_weight_and_two_per_channel_for_its_batch_norm() -> None:
    # 16 filters of 3x3x8 over 4x4 outputs.
    assert of_one("conv", (8, 8, 8), (16, 4, 4), kernel=3, stride=2) == (16 * 8 * 9 + 32, 16 * 8 * 9 * 16)


def test_a_depthwise_convolution_has_one_filter_a_channel() -> None:
    assert of_one("conv", (16, 8, 8), (16, 8, 8), kernel=5, groups=16) == (16 * 25 + 32, 16 * 25 * 64)


def test_a_grouped_convolution_sees_its_group_only() -> None:
    assert of_one("conv", (16, 8, 8), (32, 8, 8), groups=4) == (32 * 4 + 64, 32 * 4 * 64)


def test_se_counts_two_small_convolutions_with_biases_at_one_pixel() -> None:
    assert of_one("se", (16, 8, 8), (16, 8, 8), squeeze_channels=4) == (16 * 4 * 2 + 4 + 16, 16 * 4 * 2)


def test_a_linear_layer_has_a_bias() -> None:
    assert of_one("linear", (1280, 1, 1), (1000, 1, 1)) == (1_281_000, 1_280_000)


def test_pooling_and_sums_are_free() -> None:
    assert of_one("pool", (8, 4, 4), (8, 1, 1)) == (0, 0)
    assert of_one("add", (8, 4, 4), (8, 4, 4)) == (0, 0)


def test_an_op_without_a_price_is_an_error_and_not_zero() -> None:
    with pytest.raises(InvalidSpec, match=r"the op of layer 'only' must be one of conv, .* got 'attention'"):
        of_one("attention", (8, 4, 4), (8, 4, 4))


def head(name: str, size: int, weights: str) -> Layer:
    return Layer(name, "conv", (NETWORK_INPUT,), (8, size, size), (8, size, size), weights, 3)


def test_a_shared_weight_counts_once_in_parameters_and_each_time_in_macs() -> None:
    layers = (head("level3", 8, "head"), head("level4", 4, "head"), head("level5", 2, "head"), head("own", 4, "own"))
    total = costs(Graph("detector", (8, 8, 8), layers))
    weight = 8 * 8 * 9
    assert total.params == 2 * (weight + 16)
    assert total.macs == weight * (64 + 16 + 4 + 16)
    assert [layer.params for layer in total.layers] == [weight + 16] * 4


def test_layers_without_a_weight_key_share_nothing() -> None:
    total = costs(Graph("g", (8, 8, 8), (head("one", 8, ""), head("two", 8, ""))))
    assert total.params == 2 * (8 * 8 * 9 + 16)


def test_one_convolution_needs_its_image_its_output_and_its_weights_at_once() -> None:
    layer = Layer("only", "conv", (NETWORK_INPUT,), IMAGE, (16, 4, 4), "only", 3, 2)
    total = costs(Graph("g", IMAGE, (layer,)))
    assert total.activation_bytes == 4 * 16 * 4 * 4
    assert total.peak_memory_bytes == 4 * (3 * 8 * 8 + 16 * 4 * 4 + 16 * 3 * 9 + 32)
    half = costs(Graph("g", IMAGE, (layer,)), bytes_per_value=2)
    assert (2 * half.peak_memory_bytes, 2 * half.activation_bytes) == (total.peak_memory_bytes, total.activation_bytes)
    assert (half.params, half.macs) == (total.params, total.macs)


@st.composite
def dags(draw: st.DrawFn) -> Graph:
    """Sums of any earlier outputs, of any sizes (costs do not ask whether shapes fit)."""
    layers: list[Layer] = []
    for index in range(draw(st.integers(1, 8))):
        inputs = tuple(draw(st.lists(st.integers(-1, index - 1), min_size=1, max_size=3)))
        shape = (draw(st.integers(1, 50)), 1, 1)
        layers.append(Layer(f"add{index}", "add", inputs, shape, shape))
    return Graph("dag", (draw(st.integers(1, 50)), 1, 1), tuple(layers))


def alive_by_brute_force(graph: Graph) -> list[int]:
    """Elements held while each layer runs: its output, and what was made before and is read now, later or never."""
    sizes = {NETWORK_INPUT: graph.in_shape[0] * graph.in_shape[1] * graph.in_shape[2]}
    for index, layer in enumerate(graph.layers):
        sizes[index] = layer.out_shape[0] * layer.out_shape[1] * layer.out_shape[2]
    held = []
    for now in range(len(graph.layers)):
        total = 0
        for tensor, size in sizes.items():
            readers = [i for i, layer in enumerate(graph.layers) if tensor in layer.inputs]
            total += size if tensor <= now and (not readers or max(readers) >= now) else 0
        held.append(total)
    return held


def agrees_with_brute_force(graph: Graph, total: Costs) -> None:
    alive = alive_by_brute_force(graph)
    assert [layer.peak_memory_bytes for layer in total.layers] == [4 * elements for elements in alive]
    assert total.peak_memory_bytes == 4 * (total.params + max(alive))


@given(dags())
def test_peak_memory_of_any_dag_is_the_brute_force_maximum(graph: Graph) -> None:
    agrees_with_brute_force(graph, costs(graph))


@given(...)
def test_peak_memory_of_a_network_is_the_brute_force_maximum(spec: NetworkSpec) -> None:
    graph = lower(spec)
    agrees_with_brute_force(graph, costs(graph))


@given(...)
def test_totals_are_the_sums_of_the_layers(spec: NetworkSpec) -> None:
    graph = lower(spec)
    total = costs(graph)
    assert [layer.name for layer in total.layers] == [layer.name for layer in graph.layers]
    assert total.params == sum(layer.params for layer in total.layers) == params(spec)
    assert total.macs == sum(layer.macs for layer in total.layers) == macs(spec)
    assert total.activation_bytes == sum(layer.activation_bytes for layer in total.layers)


@given(...)
def test_resolution_changes_macs_and_memory_but_no_parameter(spec: NetworkSpec) -> None:
    small, large = costs(lower(spec)), costs(lower(spec.with_resolution(2 * spec.resolution)))
    assert small.params == large.params
    padded = not any(getattr(block, "padding", "half") != "half" for block in spec.blocks)
    convolves = any(layer.op == "conv" for layer in lower(spec).layers)  # else nothing but the linear head counts
    assert small.macs < large.macs or not convolves
    assert large.macs <= 4 * small.macs or not padded
    assert small.peak_memory_bytes < large.peak_memory_bytes
