"""search.latency.table() and measure(): what the commands do, as functions."""

import subprocess
import sys
from pathlib import Path

import pytest

import search.latency
from search.latency.measurement import Measurement
from searchspace import zoo
from searchspace.errors import InvalidArgument
from searchspace.graph import lower
from searchspace.nn import build
from tests.scripted_runtime import SPACE, some_networks, true_ms

pytestmark = pytest.mark.usefixtures("scripted_runtimes")


def measured(network: object, tmp_path: Path, resolution: int | None = None) -> Measurement:
    return search.latency.measure(
        network,  # type: ignore[arg-type]
        runtime="scripted",
        threads=2,
        resolution=resolution,
        seconds=0.1,
        cache_dir=tmp_path,
    )


def test_a_network_is_measured_by_name_spec_file_or_module(tmp_path: Path) -> None:
    spec = zoo.get("mobilenet_v3_small", resolution=64)
    (tmp_path / "net.json").write_text(spec.to_json())
    networks = ((spec, None), ("mobilenet_v3_small", 64), (str(tmp_path / "net.json"), None), (build(spec), None))
    for network, resolution in (*networks, (tmp_path / "net.json", 64)):
        assert measured(network, tmp_path, resolution).latency_ms == pytest.approx(true_ms(spec), rel=1e-3)
    assert measured(spec, tmp_path, 96).latency_ms == pytest.approx(true_ms(spec.with_resolution(96)), rel=1e-3)


def test_this_device_s_table_is_measured_once_and_read_from_then_on(tmp_path: Path) -> None:
    progress: list[str] = []
    for seconds in (0.01, 99.0):
        table = search.latency.table(
            runtime="scripted",
            threads=2,
            space=SPACE,
            resolution=64,
            zoo=False,
            seconds=seconds,
            cache_dir=tmp_path,
            progress=lambda _, what: progress.append(what),
        )
        assert len(table.holdout_errors) == 20
        for spec in some_networks(count=3):
            assert table.latency_ms(lower(spec)) == pytest.approx(true_ms(spec), rel=1e-3)
        calls = len(progress)
        progress.append("the second")
    assert progress[calls - 1] == "the second"


def test_a_runtime_that_cannot_time_layers_has_no_table_of_its_own() -> None:
    with pytest.raises(InvalidArgument, match="adapt --latency"):
        search.latency.table(runtime="compile")


def test_the_package_alone_imports_no_torch() -> None:
    code = "import sys, search.latency; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
