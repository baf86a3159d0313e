"""Groups of subjects: what is timed in turn, in how many rounds, and which timers stay."""

from collections.abc import Callable
from pathlib import Path

import pytest

from search.latency.build import FEWEST_ROUNDS, table_for
from search.latency.check import networks_to_check
from search.latency.groups import Group, Timers, bytes_of, turns_of
from search.latency.measurement import measure_without_table
from searchspace.graph import lower
from tests.scripted_runtime import SPACE, ScriptedRuntime, some_networks, true_ms

FEW_KERNELS = 100  # so that there are several groups
WARM_CALLS = 3  # of a timer of a steady machine, in each turn


def test_groups_take_turns_so_that_one_session_effect_is_not_all_that_a_group_sees() -> None:
    one, two = Group([0, 1], (), 3), Group([2], (), 3)
    assert turns_of([one]) == [(one, 1.0)]
    assert turns_of([one, two]) == [(one, 0.5), (two, 0.5), (one, 1.0), (two, 1.0)]
    assert turns_of([]) == []


@pytest.mark.parametrize(("budget_s", "rounds"), [(None, 8), (0.0, FEWEST_ROUNDS)])
def test_several_groups_have_the_rounds_asked_for_between_them_and_no_more(
    tmp_path: Path, budget_s: float | None, rounds: int
) -> None:
    machine = ScriptedRuntime()
    table = table_for(
        SPACE, cache_dir=tmp_path, runtime=machine, budget_s=budget_s, rounds=8, group_kernels=FEW_KERNELS
    )
    others = machine.calls_of[1:]  # the first is the reference
    subjects = [calls for calls in others if calls == rounds + 2 * WARM_CALLS]
    probes = [calls for calls in others if calls not in subjects]
    assert len(probes) == 3  # they are timed with every group
    assert len({*probes}) == 1
    assert probes[0] % (rounds + 2 * WARM_CALLS) == 0
    assert probes[0] > rounds + 2 * WARM_CALLS
    spec = networks_to_check(SPACE, count=1)[0]
    assert table.latency_ms(lower(spec)) == pytest.approx(true_ms(spec), rel=1e-3)


def test_networks_of_several_groups_have_at_most_the_rounds_asked_for(tmp_path: Path) -> None:
    specs = networks_to_check(SPACE, count=4)
    for most, seconds, rounds in ((9, 60.0, 9), (1, 60.0, 1), (20, 1e-6, 8)):
        found, _ = measure_without_table(
            specs,
            cache_dir=tmp_path,
            seconds=seconds,
            runtime=ScriptedRuntime(),
            rounds=most,
            group_kernels=FEW_KERNELS,
        )
        assert [one.rounds for one in found] == [rounds] * 4
        assert [one.latency_ms for one in found] == pytest.approx([true_ms(spec) for spec in specs], rel=1e-3)


def test_timers_stay_for_the_next_turn_while_there_is_room() -> None:
    specs = some_networks(count=4)
    made: list[int] = []

    def make(index: int) -> Callable[[], list[int]]:
        made.append(index)
        return lambda: [index]

    timers = Timers(specs, make, most_bytes=sum(map(bytes_of, specs[:3])))
    for _ in range(2):
        for group in ([0], [1], [2], [3]):
            assert [timer() for timer in timers.of(group)] == [group]
    assert made[:4] == [0, 1, 2, 3]
    assert made[4:] == [2, 3]  # the earliest ones, which are needed first, stay
