"""Kernels that were not measured: estimated from their kind, with an error that is owned up to."""

import random
from dataclasses import replace

import pytest

from searchspace import zoo
from searchspace.cost import layer_params_macs
from searchspace.errors import MissingLatency
from searchspace.graph import Graph, Layer, Signature, lower
from searchspace.latency.estimate import Estimator, layer_of
from searchspace.latency.table import SCHEMA, Correction, Identity, LatencyTable
from searchspace.spaces.mnasnet import mnasnet_space

SPACE = mnasnet_space(classes=10)
IDENTITY = Identity(
    schema=SCHEMA,
    machine="abacus x2",
    runtime="beads",
    threads=2,
    dtype="float32",
    batch=1,
    memory_format="channels_last",
    resolution=224,
    versions={},
)


def true_ms(layer: Layer, noise: float = 0.0) -> float:
    """A device that takes a constant, 1 ns a MAC group of 50 and a little for each value that comes and goes."""
    _, macs = layer_params_macs(layer)
    values = sum(c * h * w for c, h, w in (layer.in_shape, layer.out_shape))
    error = random.Random(repr(layer.signature)).gauss(0, noise)
    return (0.01 + macs / 5e7 + values / 2e7) * (1 + error)


def measured(*, noise: float = 0.0, networks: int = 25) -> dict[Signature, float]:
    rng = random.Random(0)
    graphs = [lower(SPACE.spec(SPACE.sample(rng))) for _ in range(networks)]
    return {layer.signature: true_ms(layer, noise) for graph in graphs for layer in graph.layers}


def table(kernels: dict[Signature, float]) -> LatencyTable:
    return LatencyTable(IDENTITY, 5.0, kernels, Correction(1.0, 0.2, 0.02))


def fresh(resolution: int) -> Graph:
    return lower(SPACE.spec(SPACE.sample(random.Random(99))).with_resolution(resolution))


@pytest.mark.parametrize("resolution", [96, 160, 288])
def test_a_device_that_follows_the_model_is_estimated_at_other_resolutions(resolution: int) -> None:
    graph = fresh(resolution)
    found = table(measured()).predict(graph)
    truth = 0.2 + sum(true_ms(layer) for layer in graph.layers)
    assert len(found.estimated) > len(graph.layers) // 2
    assert found.latency_ms == pytest.approx(truth, rel=0.03)


def test_a_noisy_device_s_truth_lies_in_the_interval_and_the_error_is_about_the_noise() -> None:
    kernels = measured(noise=0.1, networks=40)
    held = 0
    for seed in range(20):
        graph = lower(SPACE.spec(SPACE.sample(random.Random(f"other {seed}"))).with_resolution(160))
        found = table(kernels).predict(graph)
        held += found.low_ms <= 0.2 + sum(true_ms(layer) for layer in graph.layers) <= found.high_ms
    assert held >= 17
    layer = next(layer for layer in fresh(160).layers if layer.op == "conv" and layer.kernel == 1)
    estimate = Estimator(kernels).estimate(layer)
    assert estimate is not None
    assert 0.05 < estimate.relative_error < 0.2


def test_a_measured_network_is_the_sum_and_nothing_is_estimated() -> None:
    kernels, graph = measured(), fresh(224)
    kernels |= {layer.signature: true_ms(layer) for layer in graph.layers}
    whole = table(kernels)
    found = whole.predict(graph)
    assert found.estimated == ()
    assert found.latency_ms == whole.latency_ms(graph)
    assert (found.low_ms, found.high_ms) == whole.interval_ms(found.latency_ms)


def test_an_estimated_layer_makes_the_interval_wider_and_is_named() -> None:
    kernels, graph = measured(noise=0.1), fresh(224)
    kernels |= {layer.signature: true_ms(layer) for layer in graph.layers}
    missing = next(layer for layer in graph.layers if layer.op == "conv" and layer.kernel == 1)
    poorer = table({signature: ms for signature, ms in kernels.items() if signature != missing.signature})
    found = poorer.predict(graph)
    assert missing.name in found.estimated
    low, high = poorer.interval_ms(found.latency_ms)
    assert found.low_ms < low < high < found.high_ms
    wider = poorer.predict(graph, confidence=0.99)
    assert wider.low_ms < found.low_ms < found.high_ms < wider.high_ms


@pytest.mark.parametrize("name", ["shufflenet_v1", "squeezenet1_1"])
def test_a_kind_that_was_never_measured_is_an_error_that_names_the_layer(name: str) -> None:
    graph = lower(zoo.get(name, classes=10))
    with pytest.raises(MissingLatency, match=r"needed by layer .*nor any of its kind"):
        table(measured()).predict(graph)


def test_an_activation_that_was_never_measured_is_not_guessed() -> None:
    layer = next(layer for layer in fresh(224).layers if layer.op == "conv")
    assert Estimator(measured()).estimate(layer._replace(activation="relu6")) is None


def test_more_work_of_a_kind_never_takes_less() -> None:
    estimator = Estimator(measured(noise=0.05))
    layer = next(layer for layer in fresh(224).layers if layer.op == "conv" and layer.kernel == 1)
    wide = replace_channels(layer, 4000)
    wider = replace_channels(layer, 8000)
    first, second = estimator.estimate(wide), estimator.estimate(wider)
    assert first is not None
    assert second is not None
    assert first.ms < second.ms


def replace_channels(layer: Layer, channels: int) -> Layer:
    return layer._replace(out_shape=(channels, *layer.out_shape[1:]))


def test_no_kernels_no_estimates() -> None:
    assert Estimator({}).estimate(fresh(224).layers[0]) is None
    empty = replace(table({}), kernels={})
    with pytest.raises(MissingLatency):
        empty.predict(fresh(224))


def test_the_same_estimated_kernel_twice_is_the_same_error_twice() -> None:
    kernels, graph = measured(noise=0.1), fresh(224)
    kernels |= {layer.signature: true_ms(layer) for layer in graph.layers}
    layer = next(layer for layer in graph.layers if layer.op == "conv" and layer.kernel == 1)
    poorer = replace(
        table({signature: ms for signature, ms in kernels.items() if signature != layer.signature}),
        correction=Correction(1.0, 0.0, 0.0),
    )
    one = poorer.predict(Graph("one", layer.in_shape, (layer,)))
    four = poorer.predict(Graph("four", layer.in_shape, (layer,) * 4))
    assert four.high_ms / four.latency_ms == pytest.approx(one.high_ms / one.latency_ms)


def test_a_depthwise_kernel_of_one_channel_is_estimated_from_depthwise_ones() -> None:
    kernels = measured()
    wide = next(layer for layer in map(layer_of, kernels) if layer.kernel == 5 and layer.groups == layer.in_shape[0])
    one = wide._replace(in_shape=(1, *wide.in_shape[1:]), out_shape=(1, *wide.out_shape[1:]), groups=1)
    assert 0 < table(kernels).kernel_ms(one) < table(kernels).kernel_ms(wide)


def test_odd_channel_counts_are_estimated_by_their_own_kernels_and_else_by_those_of_eights() -> None:
    def slower(layer: Layer) -> float:
        return true_ms(layer) * (1.5 if layer.out_shape[0] % 8 else 1.0)

    def depthwise(channels: int, activation: str) -> Layer:
        shape = (channels, 28, 28)
        return Layer("dw", "conv", (), shape, shape, "dw", 3, 1, channels, activation)

    counts = [*range(16, 200, 16), *range(21, 200, 14)]
    layers = [depthwise(channels, "relu") for channels in counts]
    layers += [depthwise(channels, "swish") for channels in range(16, 200, 16)]
    estimator = Estimator({layer.signature: slower(layer) for layer in layers})
    for channels, activation, truth in ((100, "relu", 1.5), (104, "relu", 1.0), (100, "swish", 1.0)):
        layer = depthwise(channels, activation)
        found = estimator.estimate(layer)
        assert found is not None
        assert found.ms == pytest.approx(truth * true_ms(layer), rel=0.05)
