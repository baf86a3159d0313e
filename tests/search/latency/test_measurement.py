"""Measuring networks on a machine whose true times are known: stated at its quiet speed, with an honest interval."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from search.latency.adapt import adapt, networks_to_measure
from search.latency.build import table_for
from search.latency.check import check
from search.latency.interleave import Timer
from search.latency.kernels import PlacedBlock
from search.latency.measurement import SESSION_DEVIATION, measure_specs, measure_without_table
from search.latency.reference import REFERENCE
from search.latency.time_base import USUAL
from searchspace import zoo
from searchspace.errors import InvalidArgument, InvalidTable
from searchspace.files import read_json
from searchspace.graph import lower
from searchspace.latency import LatencyTable
from searchspace.spec import NetworkSpec
from tests.scripted_runtime import SPACE, ScriptedRuntime, some_networks, true_ms


def test_the_interval_of_a_measurement_leaves_room_for_another_session(built: LatencyTable) -> None:
    table = built
    (one,) = measure_specs(some_networks(SPACE, 1), table=table, runtime=ScriptedRuntime())  # which never varies
    assert one.high_ms / one.latency_ms - 1 == pytest.approx(1.96 * SESSION_DEVIATION, rel=1e-3)
    assert one.standard_error == pytest.approx(0.0, abs=1e-4)
    assert not one.noisy


def test_a_device_without_a_table_learns_the_drift_from_what_it_measures(tmp_path: Path) -> None:
    few, many = some_networks(SPACE, 2), some_networks(SPACE, 12)
    for lag in (0.15, 0.08):
        for specs, drift in ((few, USUAL), (many, lag)):
            machine = ScriptedRuntime(drift=0.05, lag=lag)
            _, time_base = measure_without_table(specs, cache_dir=tmp_path / str(lag), runtime=machine, seconds=0.5)
            assert time_base.drift == pytest.approx(drift, abs=0.02)


def test_a_measurement_at_the_speed_of_another_devices_table_is_refused(built: LatencyTable) -> None:
    table = built
    with pytest.raises(InvalidTable, match="1 threads"):
        measure_specs(some_networks(SPACE)[:1], table=table, runtime=ScriptedRuntime(threads=1))


def test_measured_networks_are_stated_at_the_quiet_speed_with_an_interval_around(built: LatencyTable) -> None:
    table = built
    specs = some_networks(SPACE, 3)
    for spec, one in zip(specs, measure_specs(specs, table=table, runtime=ScriptedRuntime(drift=0.1)), strict=True):
        assert one.latency_ms == pytest.approx(true_ms(spec), rel=0.05)
        assert one.low_ms <= one.latency_ms <= one.high_ms
        assert one.rounds > 1
        assert one.raw_median_ms >= 0.99 * true_ms(spec)


def test_networks_are_measured_without_a_table_at_the_speed_that_tables_are_stated_at(tmp_path: Path) -> None:
    table = table_for(SPACE, cache_dir=tmp_path, runtime=ScriptedRuntime(drift=0.05))
    specs = [*some_networks(SPACE, 3), zoo.get("squeezenet1_1", resolution=96)]
    found, (reference_ms, *_) = measure_without_table(
        specs, cache_dir=tmp_path, runtime=ScriptedRuntime(drift=0.05), seconds=0.5
    )
    assert reference_ms == pytest.approx(table.reference_ms, rel=0.02)
    unit = reference_ms / (true_ms(REFERENCE))
    assert {one.rounds for one in found} == {60}
    (more,), _ = measure_without_table(
        specs[:1], cache_dir=tmp_path, runtime=ScriptedRuntime(drift=0.05), seconds=9, rounds=200
    )
    assert more.rounds == 200
    for spec, one in zip(specs, found, strict=True):
        assert one.latency_ms == pytest.approx(true_ms(spec) * unit, rel=0.02)
        assert one.low_ms <= one.latency_ms <= one.high_ms
        assert one.raw_median_ms >= 0.99 * true_ms(spec)


def test_a_machine_that_is_faster_when_it_measures_than_when_it_built_states_the_same_ms(
    tmp_path: Path, built: LatencyTable
) -> None:
    table = built
    (known,) = tmp_path.glob("reference-*.json")
    known.write_text(json.dumps({**read_json(known), "drift": 0.0}))  # one speed told none
    (spec,) = some_networks(SPACE, 1)
    for _ in range(2):
        (one,), (reference_ms, *_) = measure_without_table(
            [spec], cache_dir=tmp_path, runtime=ScriptedRuntime(slow=(1 / 1.5, 1 / 1.5)), seconds=0.2
        )
        assert reference_ms == table.reference_ms
        assert one.latency_ms == pytest.approx(table.latency_ms(lower(spec)), rel=1e-3)
        assert one.raw_median_ms == pytest.approx(true_ms(spec) / 1.5, rel=1e-3)


@pytest.mark.usefixtures("built")
def test_a_network_that_slips_between_other_work_is_called_noisy(tmp_path: Path) -> None:
    (spec,) = some_networks(SPACE, 1)

    def busy(other: NetworkSpec) -> float:
        return 1 / 3 if other == spec else 1.0  # the others wait, this one network slips through

    (one,), _ = measure_without_table(
        [spec], cache_dir=tmp_path, runtime=ScriptedRuntime(slow=(3.0, 3.0), network_factor=busy)
    )
    assert one.latency_ms < 0.5 * true_ms(spec)
    assert one.noisy
    (steady,), _ = measure_without_table([spec], cache_dir=tmp_path, runtime=ScriptedRuntime())
    assert not steady.noisy


@pytest.mark.usefixtures("built")
def test_a_look_at_another_resolution_leaves_a_device_s_speed_and_probe_networks_alone(tmp_path: Path) -> None:
    (kept,) = tmp_path.glob("reference-*.json")
    before = kept.read_bytes()
    for specs in ([zoo.get("squeezenet1_1", resolution=96)], [*some_networks(SPACE, 1), zoo.get("squeezenet1_1")]):
        measure_without_table(specs, cache_dir=tmp_path, runtime=ScriptedRuntime(session_effect=0.6), seconds=0.2)
        assert kept.read_bytes() == before
    with pytest.raises(InvalidArgument, match="there must be a network to measure"):
        measure_without_table([], cache_dir=tmp_path, runtime=ScriptedRuntime())


class WholeNetworks(ScriptedRuntime):
    """A runtime that cannot time single layers, as torch.compile: all its networks take 0.7 of the scripted time."""

    def __init__(self) -> None:
        super().__init__(network_factor=lambda spec: 1.0 if spec == REFERENCE else 0.7, identity={"runtime": "whole"})

    def kernels(self, blocks: Sequence[PlacedBlock]) -> Timer:
        raise InvalidArgument("whole networks only")


def test_a_runtime_that_times_whole_networks_only_has_a_table_by_adapting_another(
    tmp_path: Path, built: LatencyTable
) -> None:
    device, specs = WholeNetworks(), networks_to_measure(SPACE, count=6)
    found, time_base = measure_without_table(specs, cache_dir=tmp_path, seconds=0.1, runtime=device)
    times = [one.latency_ms for one in found]
    new = adapt(built, specs, times, identity=device.identity(64), time_base=time_base)
    checked = check(new, some_networks(SPACE, 8), seconds=0.1, explained=1, runtime=device)
    assert checked.table.within_5_percent == 1.0
    assert [*checked.worst.values()] == [()]  # it does not time single layers
