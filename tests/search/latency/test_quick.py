"""Quick tables by a machine whose true times are known: the time limit, the stated error, the cache."""

import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search.latency.build import table_for
from search.latency.cache import stored_table
from search.latency.design import networks_of, telling_blocks
from search.latency.kernels import blocks_of
from search.latency.quick import quick_table
from search.latency.reference import REFERENCE
from searchspace import zoo
from searchspace.errors import InvalidArgument
from searchspace.graph import lower
from searchspace.latency.estimate import kind_of
from searchspace.latency.table import Correction, LatencyTable
from searchspace.spaces.mnasnet import mnasnet_space
from searchspace.spec import Conventions, NetworkSpec
from tests.scripted import Ticks
from tests.scripted_runtime import SPACE, ScriptedRuntime, some_networks, true_ms, true_ns, uneven, uneven_machine

DEFAULT = mnasnet_space(classes=10, resolution=224)
ASKED_S = 30.0


def machine(**more: Any) -> tuple[ScriptedRuntime, Ticks]:
    """A machine of uneven kernels, and its clock."""
    clock = Ticks()
    return uneven_machine(clock=clock, **more), clock


def errors(table: LatencyTable, runtime: ScriptedRuntime, specs: list[NetworkSpec]) -> list[float]:
    unit = table.reference_ms / true_ms(REFERENCE)
    return [table.predict(spec).latency_ms / (unit * runtime.true_ms(spec)) - 1 for spec in specs]


@pytest.mark.parametrize("slowness", [1.0, 3.0, 6.0])
def test_the_table_of_the_default_space_keeps_its_time_and_states_its_error(tmp_path: Path, slowness: float) -> None:
    runtime, clock = machine(slow=(slowness, 1.2 * slowness))
    table = quick_table(DEFAULT, cache_dir=tmp_path, runtime=runtime, clock=clock)
    assert clock.now <= ASKED_S
    assert len(table.kernels) > (300 if slowness == 1.0 else 60)
    specs, unit = some_networks(DEFAULT, 100), table.reference_ms / true_ms(REFERENCE)
    found = [table.predict(spec) for spec in specs]
    inside = [one.low_ms <= unit * runtime.true_ms(spec) <= one.high_ms for spec, one in zip(specs, found, strict=True)]
    assert sum(inside) >= 82  # of 90 expected, less three standard deviations
    wrong = math.sqrt(sum(error**2 for error in errors(table, runtime, specs)) / len(specs))
    stated = [
        math.hypot(table.relative_error, table.estimation_error(lower(spec), one.latency_ms))
        for spec, one in zip(specs, found, strict=True)
    ]
    assert wrong <= 1.25 * sum(stated) / len(stated)
    assert max(stated) < (0.03 if slowness == 1.0 else 0.06)
    assert all(one.estimated for one in found)


def test_a_machine_that_slows_down_while_it_is_measured_keeps_the_time(tmp_path: Path) -> None:
    runtime, clock = machine(slow=(1.0, 3.0))
    quick_table(DEFAULT, cache_dir=tmp_path, runtime=runtime, clock=clock)
    assert clock.now <= ASKED_S


def test_the_time_may_be_shorter(tmp_path: Path) -> None:
    runtime, clock = machine()
    table = quick_table(DEFAULT, cache_dir=tmp_path, runtime=runtime, clock=clock, budget_s=6.0)
    assert clock.now <= 7.0
    assert table.prices(some_networks(DEFAULT, 1)[0])


def test_a_quick_table_is_kept_and_says_what_it_is(tmp_path: Path) -> None:
    runtime, clock = machine()
    table = quick_table(SPACE, cache_dir=tmp_path, runtime=runtime, clock=clock)
    again = ScriptedRuntime()
    assert quick_table(SPACE, cache_dir=tmp_path, runtime=again) == table
    assert again.calls == 0
    assert table.quick
    assert LatencyTable.from_json(table.to_json()).quick
    (path,) = tmp_path.glob("latency-*.json")
    assert '"quick": true' in path.read_text()
    with pytest.raises(InvalidArgument, match="has no latency table yet"):
        stored_table(again.identity(SPACE.resolution), cache_dir=tmp_path)


def test_a_full_table_is_measured_in_full_beside_a_quick_one_and_taken_from_then_on(tmp_path: Path) -> None:
    quick = quick_table(SPACE, cache_dir=tmp_path, runtime=ScriptedRuntime())
    full = table_for(SPACE, cache_dir=tmp_path, runtime=ScriptedRuntime())
    assert not full.quick
    assert not any(full.missing(lower(spec)) for spec in some_networks())
    assert full.reference_ms == quick.reference_ms  # a ms means the same in both
    again = ScriptedRuntime()
    assert quick_table(SPACE, cache_dir=tmp_path, runtime=again) == full
    assert again.calls == 0


def test_a_quick_table_under_the_name_of_a_full_one_is_measured_again(tmp_path: Path) -> None:
    quick_table(SPACE, cache_dir=tmp_path, runtime=ScriptedRuntime())
    (path,) = tmp_path.glob("latency-*.json")
    path.rename(tmp_path / path.name.replace(".quick", ""))
    notes: list[str] = []
    assert not table_for(SPACE, cache_dir=tmp_path, runtime=ScriptedRuntime(), note=notes.append).quick
    assert len(notes) == 1
    assert "it is a quick table" in notes[0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[LatencyTable, int]:
    """The table of a measurement that nothing interrupts, and the calls that it takes."""
    runtime, clock = machine()
    return quick_table(DEFAULT, cache_dir=tmp_path_factory.mktemp("whole"), runtime=runtime, clock=clock), runtime.calls


@pytest.mark.parametrize("share", [0.0, 0.3, 0.95])
def test_an_interrupted_measurement_goes_on_in_the_time_that_is_left(
    tmp_path: Path, whole: tuple[LatencyTable, int], share: float
) -> None:
    expected, calls = whole
    first, clock = machine(stop_after=int(calls * share))
    with pytest.raises(KeyboardInterrupt):
        quick_table(DEFAULT, cache_dir=tmp_path, runtime=first, clock=clock)
    told: list[str] = []
    rest, clock_of_rest = machine()
    table = quick_table(
        DEFAULT, cache_dir=tmp_path, runtime=rest, clock=clock_of_rest, progress=lambda _, what: told.append(what)
    )
    assert ("going on with an interrupted measurement of this machine" in told) == (share > 0)
    assert clock.now + clock_of_rest.now <= ASKED_S + 4.0  # what was made for the last rounds is made again
    assert len(table.kernels) >= 0.6 * len(expected.kernels)
    spec = some_networks(DEFAULT, 1)[0]
    assert table.predict(spec).latency_ms == pytest.approx(expected.predict(spec).latency_ms, rel=0.06)
    assert not list(tmp_path.glob("*.unfinished.json"))


@pytest.mark.parametrize("full", [False, True])
def test_a_space_of_other_kernels_has_a_table_that_knows_them(tmp_path: Path, full: bool) -> None:
    runtime, clock = machine()
    build = table_for if full else quick_table
    first = build(SPACE, cache_dir=tmp_path, runtime=runtime, clock=clock)
    wide = mnasnet_space(classes=5, resolution=64)
    specs = some_networks(wide, 40)
    assert not first.prices(specs[0])
    runtime, clock = machine()
    table = quick_table(wide, cache_dir=tmp_path, runtime=runtime, clock=clock)
    assert 0 < clock.now <= ASKED_S
    assert table.quick is not full
    assert not full or first.kernels.items() <= table.kernels.items()
    unit, found = table.reference_ms / true_ms(REFERENCE), [table.predict(spec) for spec in specs]
    inside = [one.low_ms <= unit * runtime.true_ms(spec) <= one.high_ms for spec, one in zip(specs, found, strict=True)]
    assert sum(inside) >= (20 if full else 30)  # a full table's fit stays that to the space that it was built for
    assert quick_table(wide, cache_dir=tmp_path, runtime=runtime, clock=clock) == table


def test_a_table_of_too_few_kernels_is_given_more_when_it_is_asked_for_again(tmp_path: Path) -> None:
    rough: dict[str, Any] = {"kernel_factor": lambda layer: uneven(layer) ** 3}
    runtime, clock = machine(slow=(12.0, 14.0), **rough)
    few = quick_table(DEFAULT, cache_dir=tmp_path, runtime=runtime, clock=clock, budget_s=1.0)
    runtime, clock = machine(**rough)
    more = quick_table(DEFAULT, cache_dir=tmp_path, runtime=runtime, clock=clock)
    assert few.kernels.items() < more.kernels.items()
    assert more.correction == few.correction
    assert clock.now <= 10.0


@pytest.mark.parametrize("full", [False, True])
def test_published_networks_are_priced_whatever_their_padding(tmp_path: Path, full: bool) -> None:
    if full:
        table_for(SPACE, cache_dir=tmp_path, runtime=ScriptedRuntime())
    lite = replace(zoo.get("efficientnet_lite0", resolution=64, classes=5), conventions=Conventions(padding="same"))
    assert {layer.padding for layer in lower(lite).layers} == {"half", "same"}
    table = quick_table(SPACE, cache_dir=tmp_path, runtime=ScriptedRuntime(), networks=[lite])
    assert table.predict(lite).latency_ms == pytest.approx(true_ms(lite), rel=0.03)
    assert table.quick is not full


def test_the_blocks_that_are_timed_first_tell_more_than_random_ones() -> None:
    specs = networks_of(DEFAULT, seed=0)
    blocks, needed = telling_blocks(specs, count=60)
    every = {kind_of(layer) for spec in specs for layer in lower(spec).layers}
    assert {kind_of(layer) for block in blocks[:needed] for layer in block.layers} == every
    pool = list(dict.fromkeys(block for spec in specs for block in blocks_of(spec)))
    others = [*blocks[:needed], *random.Random(0).sample(pool, 60 - needed)]
    wrong = []
    runtime, _ = machine()
    for some in (blocks, others):
        kernels = {one.signature: true_ns(one) * uneven(one) / 1e6 for block in some for one in block.layers}
        table = LatencyTable(runtime.identity(224), 1.0, kernels, Correction(1.0, 0.0, 0.0))
        graphs = [lower(spec) for spec in some_networks(DEFAULT, 60)]
        truth = [sum(true_ns(one) * uneven(one) for one in graph.layers) / 1e6 for graph in graphs]
        wrong.append(sum((table.cost_ms(graph) / ms - 1) ** 2 for graph, ms in zip(graphs, truth, strict=True)))
    assert wrong[0] < 0.8 * wrong[1]
