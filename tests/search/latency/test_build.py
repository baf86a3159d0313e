"""Building a table with a machine whose true times are known: exact, resumable, cached, extended, safe."""

import os
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from search.latency.build import FEWEST_ROUNDS, ROUNDS, table_for
from search.latency.check import check, networks_to_check
from search.latency.measurement import measure_specs, measure_without_table
from search.latency.reference import REFERENCE
from searchspace import zoo
from searchspace.cost import layer_params_macs
from searchspace.deployed import deployed
from searchspace.errors import MissingLatency, StorageError
from searchspace.graph import lower
from searchspace.latency.estimate import layer_of
from searchspace.latency.table import LatencyTable
from searchspace.spaces.mnasnet import mnasnet_space
from searchspace.spec import Conventions, NetworkSpec
from tests.scripted_runtime import (
    NETWORK_FACTOR,
    SPACE,
    WIDER_SPACE,
    ScriptedRuntime,
    some_networks,
    true_ms,
    true_ns,
)


def test_on_a_steady_machine_every_prediction_is_the_truth(built: LatencyTable) -> None:
    table = built
    for spec in some_networks(SPACE):
        assert table.latency_ms(lower(spec)) == pytest.approx(true_ms(spec), rel=1e-3)
    for layer in lower(some_networks(SPACE)[0]).layers:
        share_ms = table.correction.scale * table.kernel_ms(layer)
        assert share_ms == pytest.approx(NETWORK_FACTOR * true_ns(layer) / 1e6, rel=1e-3)
    assert table.relative_error < 1e-3


def test_a_machine_that_drifts_by_a_factor_of_two_gives_the_same_table_within_2_percent(
    tmp_path: Path, scripted_cache: Path
) -> None:
    machine = ScriptedRuntime(drift=0.05)
    table = table_for(SPACE, cache_dir=tmp_path, runtime=machine)
    steady = table_for(SPACE, cache_dir=scripted_cache, runtime=ScriptedRuntime())
    unit = table.reference_ms / steady.reference_ms
    for spec in some_networks(SPACE):
        assert table.latency_ms(lower(spec)) == pytest.approx(true_ms(spec) * unit, rel=0.02)
    found = check(table, networks_to_check(SPACE, count=12), seconds=1.0, runtime=machine)
    assert found.table.within_5_percent == 1.0
    assert found.table.spearman > found.macs_alone.spearman or found.macs_alone.spearman > 0.99


def test_what_is_slow_beside_a_slow_reference_by_less_is_stated_as_on_the_quiet_machine(tmp_path: Path) -> None:
    table = table_for(SPACE, cache_dir=tmp_path, runtime=ScriptedRuntime(drift=0.05, lag=0.15))
    assert table.drift == pytest.approx(0.15, abs=0.02)
    assert abs(table_for(SPACE, cache_dir=tmp_path / "b", runtime=ScriptedRuntime(drift=0.05)).drift) < 0.02
    unit = table.reference_ms / true_ms(REFERENCE)
    for spec in some_networks(SPACE):
        assert table.latency_ms(lower(spec)) == pytest.approx(true_ms(spec) * unit, rel=0.02)
    later = ScriptedRuntime(drift=0.02, lag=0.15, slow=(1.7, 1.9))
    for spec, one in zip(
        some_networks(SPACE, 2), measure_specs(some_networks(SPACE, 2), table=table, runtime=later), strict=True
    ):
        assert one.latency_ms == pytest.approx(true_ms(spec) * unit, rel=0.02)  # 9 % less where drift is not known
    slow = ScriptedRuntime(drift=0.02, lag=0.15, slow=(1.7, 1.9))
    (alone,), time_base = measure_without_table(some_networks(SPACE, 1), cache_dir=tmp_path, runtime=slow, seconds=0.2)
    assert (time_base.reference_ms, time_base.drift) == (table.reference_ms, table.drift)
    assert alone.latency_ms == pytest.approx(true_ms(some_networks(SPACE, 1)[0]) * unit, rel=0.02)
    slow = ScriptedRuntime(drift=0.02, lag=0.15, slow=(1.7, 1.9))
    new = next(spec for spec in some_networks(WIDER_SPACE, 200) if table.missing(lower(spec)))
    wider = table_for(WIDER_SPACE, cache_dir=tmp_path, runtime=slow)
    assert wider.latency_ms(lower(new)) == pytest.approx(true_ms(new) * unit, rel=0.02)


def test_a_wrong_kernel_is_blamed_for_the_network_that_it_spoils(built: LatencyTable) -> None:
    table = built
    specs = networks_to_check(SPACE, count=8)
    victim = max(lower(specs[5]).layers, key=true_ns)
    elsewhere = {layer.signature for spec in specs[:5] + specs[6:] for layer in lower(spec).layers}
    wrong = replace(table, kernels={**table.kernels, victim.signature: 3 * table.kernels[victim.signature]})
    found = check(wrong, specs, seconds=1.0, explained=2, runtime=ScriptedRuntime())
    assert len(found.worst) == 2
    worst = next(iter(found.worst))
    assert worst == 5 or victim.signature in elsewhere
    blamed = found.worst[worst][0]
    names = [layer.name for layer in lower(specs[worst]).layers if layer.signature == victim.signature]
    assert blamed.layer in names
    assert blamed.predicted_ms == pytest.approx(3 * blamed.measured_ms, rel=0.1)


def test_networks_that_grew_are_estimated_between_measured_kernels(built: LatencyTable) -> None:
    table = built
    largest = max(layer_params_macs(layer)[1] for spec in some_networks(SPACE) for layer in lower(spec).layers)
    assert max(layer_params_macs(layer_of(signature))[1] for signature in table.kernels) > 2 * largest
    spec = SPACE.decode(SPACE.sample(random.Random(5))).expand(width=1.3, resolution=104)
    found = table.predict(lower(spec))
    assert len(found.estimated) > len(lower(spec).layers) // 2
    assert found.latency_ms == pytest.approx(true_ms(spec), rel=0.03)


def test_a_measurement_tells_its_progress_from_the_start(tmp_path: Path) -> None:
    told: list[tuple[float, str]] = []
    table_for(SPACE, cache_dir=tmp_path, runtime=ScriptedRuntime(), progress=lambda *one: told.append(one))
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)
    assert [what for _, what in told][:2] == ["preparing to measure this machine"] * 2


def test_a_finished_table_is_read_and_nothing_is_timed(tmp_path: Path, built: LatencyTable) -> None:
    first = built
    again = ScriptedRuntime()
    assert table_for(SPACE, cache_dir=tmp_path, runtime=again) == first
    assert again.calls == 0


def test_every_process_measures_the_same_things_in_the_same_order() -> None:
    code = (
        "from search.latency.build import BLOCKS_A_BATCH; from search.latency.kernels import *; "
        "from searchspace.spaces.mnasnet import mnasnet_space; blocks = placed_blocks(mnasnet_space(resolution=64)); "
        "print(block_batches(cover(blocks, signatures(blocks)), size=BLOCKS_A_BATCH, seed=0))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1  # or an interrupted measurement is begun again by the next process


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7])
def test_an_interrupted_build_goes_on_at_its_last_round_and_ends_in_the_same_table(
    tmp_path: Path, scripted_cache: Path, share: float
) -> None:
    calls = int((scripted_cache / "calls").read_text())
    expected = table_for(SPACE, cache_dir=scripted_cache, runtime=ScriptedRuntime())
    with pytest.raises(KeyboardInterrupt):
        table_for(SPACE, cache_dir=tmp_path, runtime=ScriptedRuntime(stop_after=int(calls * share)))
    rest = ScriptedRuntime()
    table = table_for(SPACE, cache_dir=tmp_path, runtime=rest)
    assert rest.calls <= calls * (1 - share) + 2 * calls / (ROUNDS + 1)
    assert table.kernels.keys() == expected.kernels.keys()
    assert table.latency_ms(lower(some_networks(SPACE)[0])) == pytest.approx(
        expected.latency_ms(lower(some_networks(SPACE)[0])), rel=1e-3
    )
    assert not list(tmp_path.glob("*.unfinished.json"))


def test_an_interrupted_build_of_limited_time_goes_on_with_the_time_that_is_left(tmp_path: Path) -> None:
    def build(folder: Path, machine: ScriptedRuntime) -> None:
        def clock() -> float:
            return 1e-3 * machine.calls  # a ms for each call

        table_for(SPACE, cache_dir=folder, runtime=machine, rounds=1000, budget_s=2.0, clock=clock)

    whole, first, second = ScriptedRuntime(), ScriptedRuntime(stop_after=1200), ScriptedRuntime()
    build(tmp_path / "whole", whole)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, first)
    build(tmp_path, second)
    assert 2000 <= whole.calls < 2400  # and the last rounds
    assert 2000 <= first.calls + second.calls < 2600


def test_a_wider_space_has_only_its_new_kernels_timed_and_keeps_the_rest(tmp_path: Path, built: LatencyTable) -> None:
    table = built
    new = next(spec for spec in some_networks(WIDER_SPACE, 200) if table.missing(lower(spec)))
    with pytest.raises(MissingLatency):
        table.latency_ms(lower(new))
    machine = ScriptedRuntime()
    wider = table_for(WIDER_SPACE, cache_dir=tmp_path, runtime=machine)
    assert wider.latency_ms(lower(new)) == pytest.approx(true_ms(new), rel=1e-3)
    assert {key: wider.kernels[key] for key in table.kernels} == table.kernels
    assert wider.correction == table.correction
    assert all(block.signatures - table.kernels.keys() for block in machine.timed)


def test_a_table_made_anew_times_everything_and_leaves_the_old_one_until_it_is_done(tmp_path: Path) -> None:
    first = ScriptedRuntime()
    table = table_for(SPACE, cache_dir=tmp_path, runtime=first)
    (path,) = tmp_path.glob("latency-*.json")
    before, references = path.read_text(), [each.read_text() for each in tmp_path.glob("reference-*.json")]
    with pytest.raises(KeyboardInterrupt):
        table_for(SPACE, cache_dir=tmp_path, runtime=ScriptedRuntime(stop_after=first.calls // 2), anew=True)
    assert path.read_text() == before
    assert (
        table_for(WIDER_SPACE, cache_dir=tmp_path, runtime=ScriptedRuntime()).kernels.items() >= table.kernels.items()
    )
    assert list(tmp_path.glob("*.unfinished.json"))  # what was added meanwhile did not take its place
    again = ScriptedRuntime()
    fresh = table_for(SPACE, cache_dir=tmp_path, runtime=again, anew=True)
    assert 0 < again.calls < first.calls  # it went on where it was stopped
    assert fresh.kernels == pytest.approx(table.kernels, rel=1e-3)
    assert [each.read_text() for each in tmp_path.glob("reference-*.json")] == references
    assert not list(tmp_path.glob("*unfinished*"))


@pytest.mark.parametrize("damage", [lambda text: text[:300], lambda text: "", lambda text: text.replace("abacus", "x")])
def test_a_damaged_or_foreign_cache_file_is_told_of_and_measured_again(
    tmp_path: Path, damage: Callable[[str], str], built: LatencyTable
) -> None:
    first = built
    (path,) = tmp_path.glob("latency-*.json")
    path.write_text(damage(path.read_text()))
    notes: list[str] = []
    again = table_for(SPACE, cache_dir=tmp_path, runtime=ScriptedRuntime(), note=notes.append)
    assert len(notes) == 1
    assert str(path) in notes[0]
    assert again.kernels == pytest.approx(first.kernels, rel=1e-3)
    assert LatencyTable.from_json(path.read_text()) == again


def test_a_damaged_unfinished_measurement_is_begun_again(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        table_for(SPACE, cache_dir=tmp_path, runtime=ScriptedRuntime(stop_after=300))
    (path,) = tmp_path.glob("*.unfinished.json")
    path.write_text(path.read_text()[:-40])
    spec = some_networks(SPACE)[0]
    table = table_for(SPACE, cache_dir=tmp_path, runtime=ScriptedRuntime())
    assert table.latency_ms(lower(spec)) == pytest.approx(true_ms(spec), rel=1e-3)


def test_a_table_that_was_measured_while_other_work_ran_is_told_of(tmp_path: Path) -> None:
    notes: list[str] = []
    table_for(SPACE, cache_dir=tmp_path, runtime=ScriptedRuntime(), note=notes.append)
    table_for(SPACE, cache_dir=tmp_path, runtime=ScriptedRuntime(slow=(1.9, 1.9)), note=notes.append, anew=True)
    assert notes == []
    table_for(SPACE, cache_dir=tmp_path, runtime=ScriptedRuntime(slow=(2.5, 2.5)), note=notes.append, anew=True)
    (note,) = notes
    assert "2.5 times its quiet time" in note
    assert "build --again" in note


@pytest.mark.usefixtures("built")
def test_another_number_of_threads_or_resolution_has_a_file_of_its_own(tmp_path: Path) -> None:
    table_for(SPACE, cache_dir=tmp_path, runtime=ScriptedRuntime(threads=1))
    other = mnasnet_space(resolution=32, classes=5).with_choices({"*.layers": (1,), "*.kernel": (3,), "*.se": (False,)})
    table_for(other, cache_dir=tmp_path, runtime=ScriptedRuntime())
    assert len(list(tmp_path.glob("latency-*.json"))) == 3


def test_a_tight_budget_cuts_rounds_and_no_kernels(tmp_path: Path, scripted_cache: Path) -> None:
    machine = ScriptedRuntime()
    table = table_for(SPACE, cache_dir=tmp_path, runtime=machine, budget_s=0.0)
    assert machine.calls < int((scripted_cache / "calls").read_text()) * (FEWEST_ROUNDS + 2) / (ROUNDS + 1)
    assert not any(table.missing(lower(spec)) for spec in some_networks(SPACE))


def test_a_cache_that_cannot_be_written_is_told_before_anything_is_timed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    machine = ScriptedRuntime()
    with pytest.raises(StorageError):
        table_for(SPACE, cache_dir=tmp_path / "file" / "cache", runtime=machine)
    assert machine.calls == 0


def test_a_table_of_a_space_is_extended_by_the_kernels_of_published_networks(
    tmp_path: Path, built: LatencyTable
) -> None:
    own = zoo.representatives()
    published = [deployed(zoo.get(name, resolution=64, classes=5)) for name in own]
    before = built
    table = table_for(SPACE, cache_dir=tmp_path, runtime=ScriptedRuntime(), networks=published)
    assert before.kernels.items() <= table.kernels.items()
    for spec in published:
        assert table.latency_ms(lower(spec)) == pytest.approx(true_ms(spec), rel=1e-3)
    assert LatencyTable.from_json(table.to_json()).missing(lower(published[0])) == []


@pytest.mark.parametrize("is_new", [True, False])
def test_networks_of_published_weights_have_kernels_with_the_padding_of_those(is_new: bool, tmp_path: Path) -> None:
    """EfficientNet-Lite0 pads as TensorFlow does: a new table once ended in a KeyError."""
    padded = replace(some_networks(SPACE)[0], conventions=Conventions(padding="same"))
    if not is_new:
        table_for(SPACE, cache_dir=tmp_path, runtime=ScriptedRuntime())
    table = table_for(SPACE, cache_dir=tmp_path, runtime=ScriptedRuntime(), networks=[padded])
    assert table.missing(lower(padded)) == []
    assert table.latency_ms(lower(padded)) == pytest.approx(true_ms(padded), rel=1e-3)


def test_a_rough_table_says_how_to_measure_again(tmp_path: Path) -> None:
    def uneven(spec: NetworkSpec) -> float:
        return 1.0 if spec == REFERENCE else random.Random(spec.fingerprint()).uniform(1, 2)

    notes: list[str] = []
    table_for(SPACE, cache_dir=tmp_path, runtime=ScriptedRuntime(network_factor=uneven), note=notes.append)
    assert len(notes) == 1
    assert "rough" in notes[0]
    assert "python -m search.latency build --again" in notes[0]


@pytest.mark.usefixtures("built")
def test_a_damaged_reference_file_is_told_of(tmp_path: Path) -> None:
    notes: list[str] = []
    (path,) = tmp_path.glob("reference-*.json")
    path.write_text("{")
    for table in tmp_path.glob("latency-*.json"):
        table.unlink()
    table_for(SPACE, cache_dir=tmp_path, runtime=ScriptedRuntime(), note=notes.append)
    assert any("quiet speed is taken anew" in note for note in notes)
