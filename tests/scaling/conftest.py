"""A latency table that needs no device: every kernel of EfficientNet-B0 and MobileNetV3-Large at a made-up price."""

from pathlib import Path

import pytest

from searchspace import zoo
from searchspace.cost import layer_params_macs
from searchspace.graph import Layer, lower
from searchspace.latency.table import Correction, Identity, LatencyTable

IDENTITY = Identity(
    schema=2,
    machine="a made-up device",
    runtime="eager torch",
    threads=1,
    dtype="float32",
    batch=1,
    memory_format="channels_last",
    resolution=224,
    versions={"torch": "2.13.0"},
)


def price(layer: Layer) -> float:
    """ms: a call, and 50 GMACs and 4 G values a second."""
    _, macs = layer_params_macs(layer)
    channels, height, width = layer.out_shape
    return 0.01 + macs / 50e6 + channels * height * width / 4e6


@pytest.fixture(scope="session")
def latencies() -> LatencyTable:
    networks = ("efficientnet_b0", "mobilenet_v3_large", "mnasnet_a1", "mobilenet_v2")
    layers = [layer for name in networks for layer in lower(zoo.get(name)).layers]
    return LatencyTable(IDENTITY, 5.0, {layer.signature: price(layer) for layer in layers}, Correction(1.0, 0.2, 0.03))


@pytest.fixture
def table_file(latencies: LatencyTable, tmp_path: Path) -> Path:
    path = tmp_path / "my.json"
    path.write_text(latencies.to_json())
    return path
