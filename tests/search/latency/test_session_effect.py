"""The session effect, which is on networks and not on the reference, is removed by the probe networks."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from search.latency.build import table_for
from search.latency.measurement import measure_specs, measure_without_table
from search.latency.probe_networks import NAMES
from search.latency.reference import REFERENCE
from search.latency.time_base import time_base_of
from searchspace.errors import InvalidTable
from searchspace.graph import lower
from searchspace.latency.table import LatencyTable
from tests.scripted_runtime import SPACE, WIDER_SPACE, ScriptedRuntime, some_networks, true_ms


@pytest.mark.parametrize("effect", [0.93, 1.04, 1.08])
def test_networks_measure_the_same_in_a_session_that_is_hard_on_all_of_them(effect: float, tmp_path: Path) -> None:
    specs = some_networks(SPACE, 3)
    plain, time_base = measure_without_table(specs, cache_dir=tmp_path, runtime=ScriptedRuntime(), seconds=0.3)
    assert set(time_base.probe_networks_ms) == set(NAMES)
    effecty, again = measure_without_table(
        specs, cache_dir=tmp_path, runtime=ScriptedRuntime(session_effect=effect), seconds=0.3
    )
    assert again.probe_networks_ms == time_base.probe_networks_ms
    for one, other in zip(plain, effecty, strict=True):
        assert other.latency_ms == pytest.approx(one.latency_ms, rel=abs(effect**0.25 - 1) + 1e-3)
        assert other.raw_median_ms == pytest.approx(one.raw_median_ms * effect, rel=1e-3)  # by the clock it was so


def test_tables_of_two_sessions_agree_and_a_table_keeps_its_probe_networks_in_its_file(
    tmp_path: Path, built: LatencyTable
) -> None:
    first = built
    second = table_for(SPACE, cache_dir=tmp_path, runtime=ScriptedRuntime(session_effect=1.08), anew=True)
    assert first.probe_networks_ms == second.probe_networks_ms
    for spec in some_networks(SPACE):
        assert second.latency_ms(lower(spec)) == pytest.approx(first.latency_ms(lower(spec)), rel=0.025)
        assert first.latency_ms(lower(spec)) == pytest.approx(true_ms(spec), rel=0.005)
    read = LatencyTable.from_json(second.to_json())
    assert time_base_of(read) == time_base_of(second)
    (spec,) = some_networks(SPACE, 1)
    (one,) = measure_specs([spec], table=read, runtime=ScriptedRuntime(session_effect=1.08), seconds=0.3)
    assert one.latency_ms == pytest.approx(first.latency_ms(lower(spec)), rel=0.025)


@pytest.mark.parametrize("probes", [{"mobilenet_v2": 0.0}, {"mobilenet_v2": -1.0}, {"mobilenet_v2": "1"}, [1.0]])
def test_a_table_with_probe_networks_that_take_no_time_is_damaged(probes: object, built: LatencyTable) -> None:
    data = json.loads(built.to_json())
    with pytest.raises(InvalidTable, match="damaged"):
        LatencyTable.from_json(json.dumps({**data, "probe_networks_ms": probes}))


def test_a_table_without_probe_networks_is_used_and_extended_as_before(tmp_path: Path, built: LatencyTable) -> None:
    first = built
    plain = replace(first, probe_networks_ms={})
    (path,) = tmp_path.glob("latency-*.json")
    path.write_text(plain.to_json())
    wider = table_for(WIDER_SPACE, cache_dir=tmp_path, runtime=ScriptedRuntime())
    assert not wider.probe_networks_ms
    assert set(wider.kernels) > set(first.kernels)
    specs = some_networks(SPACE, 1)
    (one,) = measure_specs(specs, table=wider, runtime=ScriptedRuntime(session_effect=1.08), seconds=0.3)
    assert one.latency_ms == pytest.approx(1.08 * true_ms(specs[0]) * first.reference_ms / true_ms(REFERENCE), rel=0.01)


def test_a_measurement_that_goes_on_in_another_session_gives_the_same_table(tmp_path: Path) -> None:
    whole = table_for(SPACE, cache_dir=tmp_path / "whole", runtime=ScriptedRuntime())
    (tmp_path / "cut").mkdir()
    for path in (tmp_path / "whole").glob("reference-*.json"):
        (tmp_path / "cut" / path.name).write_text(path.read_text())
    with pytest.raises(KeyboardInterrupt):
        table_for(SPACE, cache_dir=tmp_path / "cut", runtime=ScriptedRuntime(stop_after=1500))
    told: list[str] = []
    found = table_for(
        SPACE,
        cache_dir=tmp_path / "cut",
        runtime=ScriptedRuntime(session_effect=1.05),
        progress=lambda _, what: told.append(what),
    )
    assert "going on" in told[0]
    for spec in some_networks(SPACE):
        assert found.latency_ms(lower(spec)) == pytest.approx(whole.latency_ms(lower(spec)), rel=0.03)
