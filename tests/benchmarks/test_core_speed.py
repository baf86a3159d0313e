"""The speed of the core, in short."""

import pytest

from searchspace import zoo
from searchspace.graph import lower
from searchspace.latency.table import Correction, LatencyTable
from tests.benchmarks.core_speed import NOWHERE, every_second_kernel, in_process


def test_a_spec_to_its_latency_and_interval_in_one_call_is_told_with_and_without_estimates() -> None:
    figures = {figure.name: figure for figure in in_process(networks=2, repeats=1)}
    names = [name for name in figures if name.startswith("spec to latency and interval")]
    assert len(names) == 3
    assert sum("estimated" in name for name in names) == 2
    assert all(0 < figures[name].fastest_ms <= figures[name].median_ms for name in names)


@pytest.mark.parametrize("name", ["mobilenet_v3_large", "shufflenet_v2"])
def test_half_a_table_prices_every_network_of_the_whole_one(name: str) -> None:
    spec = zoo.get(name)
    kernels = {layer.signature: 0.1 for layer in lower(spec).layers}
    half = every_second_kernel(LatencyTable(NOWHERE, 1.0, kernels, Correction(1.0, 0.0, 0.02)))
    assert len(kernels) / 3 < len(half.kernels) < len(kernels)
    assert half.predict(spec).estimated
