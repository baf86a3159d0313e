"""Building a table with a machine whose true times are known: exact, resumable, cached, extended, safe."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from search.latency.build import FEWEST_ROUNDS, ROUNDS, table_for
from search.latency.cache import Unfinished
from search.latency.check import check, networks_to_check
from search.latency.groups import Timers, bytes_of, turns_of
from search.latency.interleave import Timer
from search.latency.kernels import PlacedBlock
from search.latency.measurement import SESSION_DEVIATION, measure, measure_without_table
from search.latency.probe_networks import NAMES
from search.latency.reference import REFERENCE
from search.latency.time_base import USUAL, time_base_of
from searchspace import zoo
from searchspace.cost import layer_params_macs
from searchspace.errors import InvalidArgument, InvalidTable, MissingLatency, StorageError
from searchspace.graph import Layer, lower
from searchspace.latency.estimate import layer_of
from searchspace.latency.table import SCHEMA, Identity, LatencyTable
from searchspace.spaces.mnasnet import mnasnet_space
from searchspace.spaces.space import SearchSpace
from searchspace.spec import NetworkSpec

SPACE = mnasnet_space(resolution=64, classes=5).with_choices(
    {
        "*.expand_ratio": (3, 6),
        "*.kernel": (3,),
        "*.se": (False, True),
        "*.activation": ("relu",),
        "*.layers": (1, 2),
        "*.width_mult": (1.0,),
        "stage1.expand_ratio": (1,),
    }
)
WIDER = SPACE.with_choices({"stage3.kernel": (3, 5)})


def true_ns(layer: Layer) -> float:
    return 20_000 + layer_params_macs(layer)[1] / 20 + layer.out_shape[0] * layer.out_shape[1] ** 2


class Machine:
    """A Runtime whose speed drifts from call to call; a network takes 5 % more than its kernels. Where it is slow by a
    factor, all but the reference are slow by that to the power 1 - `lag`."""

    def __init__(
        self,
        *,
        drift: float = 0.0,
        threads: int = 2,
        stop_after: int | None = None,
        lag: float = 0.0,
        slow: tuple[float, float] = (1.0, 2.0),
    ) -> None:
        self.calls = 0
        self.timed: list[PlacedBlock] = []
        self._drift = drift
        self._threads = threads
        self._stop_after = stop_after
        self._lag = lag
        self._slow = slow
        self._rng = random.Random(0)
        self._speed = slow[0]

    def identity(self, resolution: int) -> Identity:
        return Identity(
            schema=SCHEMA,
            machine="abacus",
            runtime="beads",
            threads=self._threads,
            dtype="float32",
            batch=1,
            memory_format="channels_last",
            resolution=resolution,
            versions={},
        )

    def network(self, spec: NetworkSpec) -> Timer:
        total = 1.05 * sum(true_ns(layer) for layer in lower(spec).layers)
        lag = 0.0 if spec == REFERENCE else self._lag
        return lambda: [round(part) for part in self._lagging([total], lag)]

    def kernels(self, blocks: Sequence[PlacedBlock]) -> Timer:
        self.timed += blocks
        parts = [true_ns(layer) for block in blocks for layer in block.layers]
        return lambda: [round(part) for part in self._lagging(parts, self._lag)]

    @contextmanager
    def quiet(self) -> Iterator[None]:
        yield

    def _lagging(self, parts: Sequence[float], lag: float) -> list[float]:
        found = self._call(parts)
        return [part * self._speed**-lag for part in found]

    def _call(self, parts: Sequence[float]) -> list[float]:
        self.calls += 1
        if self._stop_after is not None and self.calls > self._stop_after:
            raise KeyboardInterrupt
        self._speed *= 1 + self._drift * self._rng.uniform(-1, 1)
        self._speed = min(self._slow[1], max(self._slow[0], self._speed))
        return [part * self._speed for part in parts]


def truth_ms(spec: NetworkSpec) -> float:
    return 1.05 * sum(true_ns(layer) for layer in lower(spec).layers) / 1e6


def networks(space: SearchSpace, count: int = 20) -> list[NetworkSpec]:
    rng = random.Random(99)
    return [space.spec(space.sample(rng)) for _ in range(count)]


def test_on_a_steady_machine_every_prediction_is_the_truth(tmp_path: Path) -> None:
    table = table_for(SPACE, cache_dir=tmp_path, runtime=Machine())
    for spec in networks(SPACE):
        assert table.latency_ms(lower(spec)) == pytest.approx(truth_ms(spec), rel=1e-3)
    for layer in lower(networks(SPACE)[0]).layers:
        assert table.layer_ms(layer) == pytest.approx(1.05 * true_ns(layer) / 1e6, rel=1e-3)
    assert table.relative_error < 1e-3


def test_a_machine_that_drifts_by_a_factor_of_two_gives_the_same_table_within_2_percent(tmp_path: Path) -> None:
    machine = Machine(drift=0.05)
    table = table_for(SPACE, cache_dir=tmp_path, runtime=machine)
    unit = table.reference_ms / table_for(SPACE, cache_dir=tmp_path / "steady", runtime=Machine()).reference_ms
    for spec in networks(SPACE):
        assert table.latency_ms(lower(spec)) == pytest.approx(truth_ms(spec) * unit, rel=0.02)
    found = check(table, networks_to_check(SPACE, count=12), seconds=1.0, runtime=machine)
    assert found.table.within_5_percent == 1.0
    assert found.table.spearman > found.macs_alone.spearman or found.macs_alone.spearman > 0.99


def test_what_is_slow_beside_a_slow_reference_by_less_is_stated_as_on_the_quiet_machine(tmp_path: Path) -> None:
    table = table_for(SPACE, cache_dir=tmp_path, runtime=Machine(drift=0.05, lag=0.15))
    assert table.drift == pytest.approx(0.15, abs=0.02)
    assert abs(table_for(SPACE, cache_dir=tmp_path / "b", runtime=Machine(drift=0.05)).drift) < 0.02
    unit = table.reference_ms / truth_ms(REFERENCE)
    for spec in networks(SPACE):
        assert table.latency_ms(lower(spec)) == pytest.approx(truth_ms(spec) * unit, rel=0.02)
    later = Machine(drift=0.02, lag=0.15, slow=(1.7, 1.9))
    for spec, one in zip(networks(SPACE, 2), measure(networks(SPACE, 2), table=table, runtime=later), strict=True):
        assert one.latency_ms == pytest.approx(truth_ms(spec) * unit, rel=0.02)  # 9 % less where drift is not known
    slow = Machine(drift=0.02, lag=0.15, slow=(1.7, 1.9))
    (alone,), time_base = measure_without_table(networks(SPACE, 1), cache_dir=tmp_path, runtime=slow, seconds=0.2)
    assert (time_base.reference_ms, time_base.drift) == (table.reference_ms, table.drift)
    assert alone.latency_ms == pytest.approx(truth_ms(networks(SPACE, 1)[0]) * unit, rel=0.02)
    slow = Machine(drift=0.02, lag=0.15, slow=(1.7, 1.9))
    new = next(spec for spec in networks(WIDER, 200) if table.missing(lower(spec)))
    wider = table_for(WIDER, cache_dir=tmp_path, runtime=slow)
    assert wider.latency_ms(lower(new)) == pytest.approx(truth_ms(new) * unit, rel=0.02)


def test_the_interval_of_a_measurement_leaves_room_for_another_moment(tmp_path: Path) -> None:
    table = table_for(SPACE, cache_dir=tmp_path, runtime=Machine())
    (one,) = measure(networks(SPACE, 1), table=table, runtime=Machine())  # which never varies
    assert one.high_ms / one.latency_ms - 1 == pytest.approx(1.96 * SESSION_DEVIATION, rel=1e-3)
    assert one.standard_error == pytest.approx(0.0, abs=1e-4)
    assert not one.noisy


def test_a_device_without_a_table_learns_the_drift_from_what_it_measures(tmp_path: Path) -> None:
    few, many = networks(SPACE, 2), networks(SPACE, 12)
    for lag in (0.15, 0.08):
        for specs, drift in ((few, USUAL), (many, lag)):
            machine = Machine(drift=0.05, lag=lag)
            _, time_base = measure_without_table(specs, cache_dir=tmp_path / str(lag), runtime=machine, seconds=0.5)
            assert time_base.drift == pytest.approx(drift, abs=0.02)


def test_a_wrong_kernel_is_blamed_for_the_network_that_it_spoils(tmp_path: Path) -> None:
    table = table_for(SPACE, cache_dir=tmp_path, runtime=Machine())
    specs = networks_to_check(SPACE, count=8)
    victim = max(lower(specs[5]).layers, key=true_ns)
    elsewhere = {layer.signature for spec in specs[:5] + specs[6:] for layer in lower(spec).layers}
    wrong = replace(table, kernels={**table.kernels, victim.signature: 3 * table.kernels[victim.signature]})
    found = check(wrong, specs, seconds=1.0, blamed=2, runtime=Machine())
    assert len(found.worst) == 2
    worst = next(iter(found.worst))
    assert worst == 5 or victim.signature in elsewhere
    blamed = found.worst[worst][0]
    names = [layer.name for layer in lower(specs[worst]).layers if layer.signature == victim.signature]
    assert blamed.layer in names
    assert blamed.predicted_ms == pytest.approx(3 * blamed.measured_ms, rel=0.1)


def test_networks_that_grew_are_estimated_between_measured_kernels(tmp_path: Path) -> None:
    table = table_for(SPACE, cache_dir=tmp_path, runtime=Machine())
    largest = max(layer_params_macs(layer)[1] for spec in networks(SPACE) for layer in lower(spec).layers)
    assert max(layer_params_macs(layer_of(signature))[1] for signature in table.kernels) > 2 * largest
    spec = SPACE.decode(SPACE.sample(random.Random(5))).expand(width=1.3, resolution=104)
    found = table.predict(lower(spec))
    assert len(found.estimated) > len(lower(spec).layers) // 2
    assert found.latency_ms == pytest.approx(truth_ms(spec), rel=0.03)


def test_a_measurement_tells_its_progress_from_the_start(tmp_path: Path) -> None:
    told: list[tuple[float, str]] = []
    table_for(SPACE, cache_dir=tmp_path, runtime=Machine(), progress=lambda *one: told.append(one))
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)
    assert [what for _, what in told][:2] == ["preparing to measure this machine"] * 2


def test_a_finished_table_is_read_and_nothing_is_timed(tmp_path: Path) -> None:
    first = table_for(SPACE, cache_dir=tmp_path, runtime=Machine())
    again = Machine()
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
    tmp_path: Path, share: float
) -> None:
    whole = Machine()
    expected = table_for(SPACE, cache_dir=tmp_path / "whole", runtime=whole)
    with pytest.raises(KeyboardInterrupt):
        table_for(SPACE, cache_dir=tmp_path, runtime=Machine(stop_after=int(whole.calls * share)))
    rest = Machine()
    table = table_for(SPACE, cache_dir=tmp_path, runtime=rest)
    round_calls = whole.calls / (ROUNDS + 1)
    assert rest.calls <= whole.calls * (1 - share) + 2 * round_calls
    assert table.kernels.keys() == expected.kernels.keys()
    assert table.latency_ms(lower(networks(SPACE)[0])) == pytest.approx(
        expected.latency_ms(lower(networks(SPACE)[0])), rel=1e-3
    )
    assert not list(tmp_path.glob("*.unfinished.json"))


def test_an_interrupted_build_of_limited_time_goes_on_with_the_time_that_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, first, second = Machine(), Machine(stop_after=1200), Machine()
    machine = whole
    monkeypatch.setattr("search.latency.build.time", SimpleNamespace(monotonic=lambda: 1e-3 * machine.calls))
    table_for(SPACE, cache_dir=tmp_path / "whole", runtime=whole, rounds=1000, budget_s=2.0)
    machine = first
    with pytest.raises(KeyboardInterrupt):
        table_for(SPACE, cache_dir=tmp_path, runtime=first, rounds=1000, budget_s=2.0)
    machine = second
    table_for(SPACE, cache_dir=tmp_path, runtime=second, rounds=1000, budget_s=2.0)
    assert 2000 <= whole.calls < 2400  # a ms each, and the last rounds
    assert 2000 <= first.calls + second.calls < 2600


def test_a_wider_space_has_only_its_new_kernels_timed_and_keeps_the_rest(tmp_path: Path) -> None:
    table = table_for(SPACE, cache_dir=tmp_path, runtime=Machine())
    new = next(spec for spec in networks(WIDER, 200) if table.missing(lower(spec)))
    with pytest.raises(MissingLatency):
        table.latency_ms(lower(new))
    machine = Machine()
    wider = table_for(WIDER, cache_dir=tmp_path, runtime=machine)
    assert wider.latency_ms(lower(new)) == pytest.approx(truth_ms(new), rel=1e-3)
    assert {key: wider.kernels[key] for key in table.kernels} == table.kernels
    assert wider.correction == table.correction
    assert all(block.signatures - table.kernels.keys() for block in machine.timed)


def test_a_table_made_anew_times_everything_and_leaves_the_old_one_until_it_is_done(tmp_path: Path) -> None:
    first = Machine()
    table = table_for(SPACE, cache_dir=tmp_path, runtime=first)
    (path,) = tmp_path.glob("latency-*.json")
    before, references = path.read_text(), [each.read_text() for each in tmp_path.glob("reference-*.json")]
    with pytest.raises(KeyboardInterrupt):
        table_for(SPACE, cache_dir=tmp_path, runtime=Machine(stop_after=first.calls // 2), anew=True)
    assert path.read_text() == before
    assert table_for(WIDER, cache_dir=tmp_path, runtime=Machine()).kernels.items() >= table.kernels.items()
    assert list(tmp_path.glob("*.unfinished.json"))  # what was added meanwhile did not take its place
    again = Machine()
    fresh = table_for(SPACE, cache_dir=tmp_path, runtime=again, anew=True)
    assert 0 < again.calls < first.calls  # it went on where it was stopped
    assert fresh.kernels == pytest.approx(table.kernels, rel=1e-3)
    assert [each.read_text() for each in tmp_path.glob("reference-*.json")] == references
    assert not list(tmp_path.glob("*unfinished*"))


@pytest.mark.parametrize("damage", [lambda text: text[:300], lambda text: "", lambda text: text.replace("abacus", "x")])
def test_a_damaged_or_foreign_cache_file_is_told_of_and_measured_again(
    tmp_path: Path, damage: Callable[[str], str]
) -> None:
    first = table_for(SPACE, cache_dir=tmp_path, runtime=Machine())
    (path,) = tmp_path.glob("latency-*.json")
    path.write_text(damage(path.read_text()))
    notes: list[str] = []
    again = table_for(SPACE, cache_dir=tmp_path, runtime=Machine(), note=notes.append)
    assert len(notes) == 1
    assert str(path) in notes[0]
    assert again.kernels == pytest.approx(first.kernels, rel=1e-3)
    assert LatencyTable.from_json(path.read_text()) == again


def test_a_damaged_unfinished_measurement_is_begun_again(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        table_for(SPACE, cache_dir=tmp_path, runtime=Machine(stop_after=300))
    (path,) = tmp_path.glob("*.unfinished.json")
    path.write_text(path.read_text()[:-40])
    spec = networks(SPACE)[0]
    table = table_for(SPACE, cache_dir=tmp_path, runtime=Machine())
    assert table.latency_ms(lower(spec)) == pytest.approx(truth_ms(spec), rel=1e-3)


def test_a_table_that_was_measured_while_other_work_ran_is_told_of(tmp_path: Path) -> None:
    notes: list[str] = []
    table_for(SPACE, cache_dir=tmp_path, runtime=Machine(), note=notes.append)
    table_for(SPACE, cache_dir=tmp_path, runtime=Machine(slow=(1.9, 1.9)), note=notes.append, anew=True)
    assert notes == []
    table_for(SPACE, cache_dir=tmp_path, runtime=Machine(slow=(2.5, 2.5)), note=notes.append, anew=True)
    (note,) = notes
    assert "2.5 times its quiet time" in note
    assert "build --again" in note


def test_another_number_of_threads_or_resolution_has_a_file_of_its_own(tmp_path: Path) -> None:
    table_for(SPACE, cache_dir=tmp_path, runtime=Machine())
    table_for(SPACE, cache_dir=tmp_path, runtime=Machine(threads=1))
    other = mnasnet_space(resolution=32, classes=5).with_choices({"*.layers": (1,), "*.kernel": (3,), "*.se": (False,)})
    table_for(other, cache_dir=tmp_path, runtime=Machine())
    assert len(list(tmp_path.glob("latency-*.json"))) == 3


def test_a_tight_budget_cuts_rounds_and_no_kernels(tmp_path: Path) -> None:
    machine = Machine()
    table = table_for(SPACE, cache_dir=tmp_path, runtime=machine, budget_s=0.0)
    full = Machine()
    table_for(SPACE, cache_dir=tmp_path / "full", runtime=full)
    assert machine.calls < full.calls * (FEWEST_ROUNDS + 2) / (ROUNDS + 1)
    assert not any(table.missing(lower(spec)) for spec in networks(SPACE))


def test_a_cache_that_cannot_be_written_is_told_before_anything_is_timed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    machine = Machine()
    with pytest.raises(StorageError):
        table_for(SPACE, cache_dir=tmp_path / "file" / "cache", runtime=machine)
    assert machine.calls == 0


def test_a_measurement_at_the_speed_of_another_devices_table_is_refused(tmp_path: Path) -> None:
    table = table_for(SPACE, cache_dir=tmp_path, runtime=Machine())
    with pytest.raises(InvalidTable, match="1 threads"):
        measure(networks(SPACE)[:1], table=table, runtime=Machine(threads=1))


def test_measured_networks_are_stated_at_the_quiet_speed_with_an_interval_around(tmp_path: Path) -> None:
    table = table_for(SPACE, cache_dir=tmp_path, runtime=Machine())
    specs = networks(SPACE, 3)
    for spec, one in zip(specs, measure(specs, table=table, runtime=Machine(drift=0.1)), strict=True):
        assert one.latency_ms == pytest.approx(truth_ms(spec), rel=0.05)
        assert one.low_ms <= one.latency_ms <= one.high_ms
        assert one.rounds > 1
        assert one.raw_median_ms >= 0.99 * truth_ms(spec)


def test_a_table_of_a_space_is_extended_by_the_kernels_of_published_networks(tmp_path: Path) -> None:
    own = [name for name in zoo.names() if not zoo.is_grown(name)]
    published = [zoo.get(name, resolution=64, classes=5) for name in own]
    before = table_for(SPACE, cache_dir=tmp_path, runtime=Machine())
    table = table_for(SPACE, cache_dir=tmp_path, runtime=Machine(), networks=published)
    assert before.kernels.items() <= table.kernels.items()
    for spec in published:
        assert table.latency_ms(lower(spec)) == pytest.approx(truth_ms(spec), rel=1e-3)
    assert LatencyTable.from_json(table.to_json()).missing(lower(published[0])) == []


def test_networks_are_measured_without_a_table_at_the_speed_that_tables_are_stated_at(tmp_path: Path) -> None:
    table = table_for(SPACE, cache_dir=tmp_path, runtime=Machine(drift=0.05))
    specs = [*networks(SPACE, 3), zoo.get("squeezenet1_1", resolution=96)]
    found, (reference_ms, *_) = measure_without_table(specs, cache_dir=tmp_path, runtime=Machine(drift=0.05), seconds=0.5)
    assert reference_ms == pytest.approx(table.reference_ms, rel=0.02)
    unit = reference_ms / (truth_ms(REFERENCE))
    assert {one.rounds for one in found} == {60}
    (more,), _ = measure_without_table(specs[:1], cache_dir=tmp_path, runtime=Machine(drift=0.05), seconds=9, rounds=200)
    assert more.rounds == 200
    for spec, one in zip(specs, found, strict=True):
        assert one.latency_ms == pytest.approx(truth_ms(spec) * unit, rel=0.02)
        assert one.low_ms <= one.latency_ms <= one.high_ms
        assert one.raw_median_ms >= 0.99 * truth_ms(spec)


def test_a_machine_that_is_faster_when_it_measures_than_when_it_built_states_the_same_ms(tmp_path: Path) -> None:
    class Faster(Machine):
        def _call(self, parts: Sequence[float]) -> list[float]:
            return [part / 1.5 for part in super()._call(parts)]

    table = table_for(SPACE, cache_dir=tmp_path, runtime=Machine())
    (known,) = tmp_path.glob("reference-*.json")
    known.write_text(json.dumps({**json.loads(known.read_text()), "drift": 0.0}))  # one speed told none
    (spec,) = networks(SPACE, 1)
    for _ in range(2):
        (one,), (reference_ms, *_) = measure_without_table([spec], cache_dir=tmp_path, runtime=Faster(), seconds=0.2)
        assert reference_ms == table.reference_ms
        assert one.latency_ms == pytest.approx(table.latency_ms(lower(spec)), rel=1e-3)
        assert one.raw_median_ms == pytest.approx(truth_ms(spec) / 1.5, rel=1e-3)


def test_a_network_that_slips_between_other_work_is_called_noisy(tmp_path: Path) -> None:
    table_for(SPACE, cache_dir=tmp_path, runtime=Machine())
    (spec,) = networks(SPACE, 1)

    class Busy(Machine):
        def network(self, spec: NetworkSpec) -> Timer:
            timer = super().network(spec)
            slow = spec == REFERENCE or spec.name in NAMES  # what others wait for, this one network slips through
            return (lambda: [3 * part for part in timer()]) if slow else timer

    (one,), _ = measure_without_table([spec], cache_dir=tmp_path, runtime=Busy())
    assert one.latency_ms < 0.5 * truth_ms(spec)
    assert one.noisy
    (steady,), _ = measure_without_table([spec], cache_dir=tmp_path, runtime=Machine())
    assert not steady.noisy


def test_a_rough_table_says_how_to_measure_again(tmp_path: Path) -> None:
    class Wild(Machine):
        def network(self, spec: NetworkSpec) -> Timer:
            timer, factor = (
                super().network(spec),
                1.0 if spec == REFERENCE else random.Random(spec.fingerprint()).uniform(1, 2),
            )
            return lambda: [round(factor * part) for part in timer()]

    notes: list[str] = []
    table_for(SPACE, cache_dir=tmp_path, runtime=Wild(), note=notes.append)
    assert len(notes) == 1
    assert "rough" in notes[0]
    assert "python -m search.latency build --again" in notes[0]


def test_a_damaged_reference_file_is_told_of(tmp_path: Path) -> None:
    notes: list[str] = []
    table_for(SPACE, cache_dir=tmp_path, runtime=Machine())
    (path,) = tmp_path.glob("reference-*.json")
    path.write_text("{")
    for table in tmp_path.glob("latency-*.json"):
        table.unlink()
    table_for(SPACE, cache_dir=tmp_path, runtime=Machine(), note=notes.append)
    assert any("quiet speed is taken anew" in note for note in notes)


def test_groups_take_turns_so_that_one_mood_of_the_machine_is_not_all_that_a_group_sees() -> None:
    one, two = [0, 1], [2]
    assert turns_of([one]) == [(one, 1.0)]
    assert turns_of([one, two]) == [(one, 0.5), (two, 0.5), (one, 1.0), (two, 1.0)]
    assert turns_of([]) == []


@pytest.mark.parametrize("budget_s", [None, 0.0])
def test_several_groups_have_the_rounds_asked_for_between_them_and_no_more(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, budget_s: float | None
) -> None:
    monkeypatch.setattr("search.latency.groups.GROUP_KERNELS", 30)
    machine, kept = Machine(slow=(1.0, 1.0)), []
    monkeypatch.setattr(Unfinished, "done", lambda self: kept.append(self))
    table = table_for(SPACE, cache_dir=tmp_path, runtime=machine, budget_s=budget_s, rounds=8)
    (unfinished,) = kept
    assert {len(readings) for readings in unfinished.readings.values()} == {FEWEST_ROUNDS if budget_s == 0.0 else 8}
    spec = networks_to_check(SPACE, count=1)[0]
    assert table.latency_ms(lower(spec)) == pytest.approx(truth_ms(spec), rel=1e-3)


def test_networks_of_several_groups_have_at_most_the_rounds_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("search.latency.groups.GROUP_KERNELS", 30)
    specs = networks_to_check(SPACE, count=4)
    for most, seconds, rounds in ((9, 60.0, 9), (1, 60.0, 1), (20, 1e-6, 8)):
        found, _ = measure_without_table(specs, cache_dir=tmp_path, seconds=seconds, runtime=Machine(), rounds=most)
        assert [one.rounds for one in found] == [rounds] * 4
        assert [one.latency_ms for one in found] == pytest.approx([truth_ms(spec) for spec in specs], rel=1e-3)


def test_timers_stay_for_the_next_turn_while_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    specs = networks(SPACE, 4)
    most = sum(map(bytes_of, specs[:3]))
    monkeypatch.setattr("search.latency.groups.GROUP_BYTES", most)
    made: list[int] = []

    def make(index: int) -> Callable[[], list[int]]:
        made.append(index)
        return lambda: [index]

    timers, parts = Timers(specs, make), [[0], [1], [2], [3]]
    for _ in range(2):
        for group in parts:
            assert [timer() for timer in timers.of(group)] == [group]
    assert made[:4] == [0, 1, 2, 3]
    assert made[4:] == [2, 3]  # the earliest ones, which are needed first, stay


class Moody(Machine):
    """A machine on which everything but the reference takes `mood` times its time."""

    def __init__(self, mood: float) -> None:
        super().__init__()
        self._mood = mood

    def network(self, spec: NetworkSpec) -> Timer:
        timer = super().network(spec)
        return timer if spec == REFERENCE else lambda: [round(part * self._mood) for part in timer()]

    def kernels(self, blocks: Sequence[PlacedBlock]) -> Timer:
        timer = super().kernels(blocks)
        return lambda: [round(part * self._mood) for part in timer()]


@pytest.mark.parametrize("mood", [0.93, 1.04, 1.08])
def test_networks_measure_the_same_in_a_moment_that_is_hard_on_all_of_them(mood: float, tmp_path: Path) -> None:
    specs = networks(SPACE, 3)
    plain, time_base = measure_without_table(specs, cache_dir=tmp_path, runtime=Machine(), seconds=0.3)
    assert set(time_base.anchors) == set(NAMES)
    moody, again = measure_without_table(specs, cache_dir=tmp_path, runtime=Moody(mood), seconds=0.3)
    assert again.anchors == time_base.anchors
    for one, other in zip(plain, moody, strict=True):
        assert other.latency_ms == pytest.approx(one.latency_ms, rel=abs(mood**0.25 - 1) + 1e-3)
        assert other.raw_median_ms == pytest.approx(one.raw_median_ms * mood, rel=1e-3)  # by the clock it was so


def test_tables_of_two_moods_agree_and_a_table_keeps_its_anchors_in_its_file(tmp_path: Path) -> None:
    first = table_for(SPACE, cache_dir=tmp_path, runtime=Machine())
    second = table_for(SPACE, cache_dir=tmp_path, runtime=Moody(1.08), anew=True)
    assert first.anchors == second.anchors
    for spec in networks(SPACE):
        assert second.latency_ms(lower(spec)) == pytest.approx(first.latency_ms(lower(spec)), rel=0.025)
        assert first.latency_ms(lower(spec)) == pytest.approx(truth_ms(spec), rel=0.005)
    read = LatencyTable.from_json(second.to_json())
    assert time_base_of(read) == time_base_of(second)
    (spec,) = networks(SPACE, 1)
    (one,) = measure([spec], table=read, runtime=Moody(1.08), seconds=0.3)
    assert one.latency_ms == pytest.approx(first.latency_ms(lower(spec)), rel=0.025)


@pytest.mark.parametrize("anchors", [{"mobilenet_v2": 0.0}, {"mobilenet_v2": -1.0}, {"mobilenet_v2": "1"}, [1.0]])
def test_a_table_with_anchors_that_take_no_time_is_damaged(anchors: object, tmp_path: Path) -> None:
    data = json.loads(table_for(SPACE, cache_dir=tmp_path, runtime=Machine()).to_json())
    with pytest.raises(InvalidTable, match="damaged"):
        LatencyTable.from_json(json.dumps({**data, "anchors": anchors}))


def test_a_table_without_anchors_is_used_and_extended_as_before(tmp_path: Path) -> None:
    first = table_for(SPACE, cache_dir=tmp_path, runtime=Machine())
    plain = replace(first, anchors={})
    (path,) = tmp_path.glob("latency-*.json")
    path.write_text(plain.to_json())
    wider = table_for(WIDER, cache_dir=tmp_path, runtime=Machine())
    assert not wider.anchors
    assert set(wider.kernels) > set(first.kernels)
    specs = networks(SPACE, 1)
    (one,) = measure(specs, table=wider, runtime=Moody(1.08), seconds=0.3)
    assert one.latency_ms == pytest.approx(1.08 * truth_ms(specs[0]) * first.reference_ms / reference_ms(), rel=0.01)


def reference_ms() -> float:
    return truth_ms(REFERENCE)


def test_a_measurement_that_goes_on_in_another_mood_gives_the_same_table(tmp_path: Path) -> None:
    whole = table_for(SPACE, cache_dir=tmp_path / "whole", runtime=Machine())
    (tmp_path / "cut").mkdir()
    for path in (tmp_path / "whole").glob("reference-*.json"):
        (tmp_path / "cut" / path.name).write_text(path.read_text())
    with pytest.raises(KeyboardInterrupt):
        table_for(SPACE, cache_dir=tmp_path / "cut", runtime=Machine(stop_after=1500))
    told: list[str] = []
    found = table_for(
        SPACE, cache_dir=tmp_path / "cut", runtime=Moody(1.05), progress=lambda _, what: told.append(what)
    )
    assert "going on" in told[0]
    for spec in networks(SPACE):
        assert found.latency_ms(lower(spec)) == pytest.approx(whole.latency_ms(lower(spec)), rel=0.03)


def test_a_look_at_another_resolution_leaves_a_device_s_speed_and_anchors_alone(tmp_path: Path) -> None:
    table_for(SPACE, cache_dir=tmp_path, runtime=Machine())
    (kept,) = tmp_path.glob("reference-*.json")
    before = kept.read_bytes()
    for specs in ([zoo.get("squeezenet1_1", resolution=96)], [*networks(SPACE, 1), zoo.get("squeezenet1_1")]):
        measure_without_table(specs, cache_dir=tmp_path, runtime=Moody(0.6), seconds=0.2)
        assert kept.read_bytes() == before
    with pytest.raises(InvalidArgument, match="there must be a network to measure"):
        measure_without_table([], cache_dir=tmp_path, runtime=Machine())
