"""The pruner: how far it goes, what it accepts, where it goes on, for specs and for users' modules."""

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from search.budget import CostModel
from search.data import Dataset
from search.latency.runtimes.eager import Eager
from search.netadapt.history import History, StoredHistory
from search.netadapt.modules import PrunableModule
from search.netadapt.proposals import MOVES
from search.netadapt.pruner import Pruner
from search.netadapt.short_training import Trained, first
from search.netadapt.specs import PrunableSpec
from search.training.evaluate import evaluate
from searchspace.cost import macs
from searchspace.errors import InfeasibleBudget
from searchspace.graph import lower
from searchspace.latency.table import Correction, LatencyTable
from searchspace.nn import trace
from tests.search.netadapt.scripted import (
    MACS,
    QUICK,
    Killed,
    Lines,
    ScriptedTimer,
    job_of,
    own_module,
    pruner,
    serial,
    start,
    tiny,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def without_seconds(history: History) -> list[Any]:
    """A history without what time took."""
    rows = [json.loads(one.to_json()) for one in history.iterations]
    for row in rows:
        del row["checksum"]  # of what time took, too
        for proposal in row["proposals"]:
            del proposal["seconds"]
    return rows


def test_it_ends_within_the_budget_and_uses_it(images: Dataset, tmp_path: Path) -> None:
    budget = 0.75 * macs(tiny())
    timer = ScriptedTimer()
    job, history = pruner(images, tmp_path, budget / 1e3, timer=timer)
    job.run()
    last = history.iterations[-1]
    assert last.spec is not None
    assert 0.95 * budget <= macs(last.spec) <= budget
    assert last.reached == (budget / 1e3,)
    assert last.measured is not None
    assert len(timer.pairs) >= len(history.iterations) - 1
    for before, after in pairwise(history.iterations):
        assert after.accepted is not None
        assert after.accepted.timing is not None
        assert after.accepted.timing.ratio <= 1.0
        assert after.cost < before.cost
    assert history.network(last.number).spec == last.spec


def test_a_users_module_comes_down_by_the_same_decisions(images: Dataset) -> None:
    """Accepted by paired timing, measured at the budget, as a spec is."""
    begun = PrunableModule(trace(own_module(), resolution=32))
    timer, budget = ScriptedTimer(), 0.7 * MACS.cost(begun.graph) / 1e3
    job, history = pruner(images, History(), budget, timer=timer, network=begun)
    job.run()
    last = history.iterations[-1]
    assert last.measured is not None
    assert 0.8 * budget <= last.measured.latency_ms <= budget
    for before, after in pairwise(history.iterations):
        assert after.accepted is not None
        assert after.accepted.timing is not None
        assert after.accepted.accuracy is not None
        assert after.cost < before.cost
    assert MACS.cost(history.network(last.number).graph) == pytest.approx(1e3 * last.cost)


def test_a_proposal_that_measures_slower_is_not_accepted(images: Dataset, tmp_path: Path) -> None:
    budget = 0.8 * macs(tiny())
    job, history = pruner(images, tmp_path / "a", budget / 1e3, timer=ScriptedTimer())
    job.run()
    accepted = history.iterations[1].accepted
    assert accepted is not None
    again, history = pruner(images, tmp_path / "b", budget / 1e3, timer=ScriptedTimer(accepted.fingerprint))
    again.run()
    one = history.iterations[1]
    refused = next(row for row in one.proposals if row.fingerprint == accepted.fingerprint)
    assert refused.timing is not None
    assert refused.timing.ratio == 1.5
    assert not refused.accepted
    assert one.accepted is not None
    assert one.accepted.fingerprint != accepted.fingerprint


@pytest.mark.parametrize("make", [start, lambda: PrunableModule(trace(own_module(), resolution=32))])
def test_where_all_is_slower_it_says_so_and_tests_nothing_twice(make: Any, images: Dataset) -> None:
    network = make()
    timer, quick = ScriptedTimer(all_slower=True), replace(QUICK, short_steps=0, validation_images=50)
    budget = 0.9 * MACS.cost(network.graph) / 1e3
    job = job_of(images, History(), budget, timer=timer, settings=quick, network=network)
    with pytest.raises(InfeasibleBudget, match=r"that were tried in iteration 1 measure slower"):
        Pruner(job, serial(images)).run()
    assert isinstance(job.progress, Lines)
    slower = [line for line in job.progress.lines if "would be slower" in line]
    assert len(slower) == len(timer.pairs) >= 2
    assert len(slower) == len(set(slower))


def test_a_proposal_that_measures_far_below_the_budget_is_not_accepted_where_another_will_do(
    images: Dataset, tmp_path: Path
) -> None:
    budget = 0.8 * macs(tiny()) / 1e3
    job, history = pruner(images, tmp_path / "a", budget, timer=ScriptedTimer())
    job.run()
    last = history.iterations[-1].accepted
    assert last is not None
    again, history = pruner(images, tmp_path / "b", budget, timer=ScriptedTimer(faster=(last.fingerprint,)))
    again.run()
    end = history.iterations[-1]
    passed_over = next(row for row in end.proposals if row.fingerprint == last.fingerprint)
    assert passed_over.timing is not None
    assert not passed_over.accepted
    assert 0.95 * budget <= end.cost <= budget


@pytest.mark.parametrize("timer", [ScriptedTimer(), None])
def test_a_proposal_whose_short_training_diverged_is_not_accepted(
    timer: ScriptedTimer | None, images: Dataset, tmp_path: Path
) -> None:
    calls = 0

    def breaks(modules: list[nn.Module], *, seed: int) -> Iterator[Trained]:
        nonlocal calls
        for trained in serial(images)(modules, seed=seed):
            calls += 1
            yield trained._replace(accuracy=0.0, diverged=True) if calls <= 3 else trained

    budget = 0.8 * macs(tiny()) / (1e3 if timer else 1)
    job, history = pruner(images, tmp_path, budget, timer=timer, train=breaks)
    job.run()
    proposals = history.iterations[1].proposals
    diverged = [row for row in proposals if row.diverged]
    assert len(diverged) == 3  # both of the shortlist, and the first beyond it, which is trained when it is accepted
    assert not any(row.accepted for row in diverged)
    assert history.iterations[1].accepted is not None
    assert StoredHistory(tmp_path, keep_all=True).iterations[1].proposals == proposals


def test_a_predicted_network_comes_to_what_its_confidence_leaves_of_the_budget(images: Dataset) -> None:
    graph = lower(tiny())
    table = LatencyTable(
        Eager().identity(32), 1.0, {layer.signature: 0.1 for layer in graph.layers}, Correction(1.0, 0.1, 0.03)
    )
    by_table = CostModel("ms", table)
    limit = job_of(images, History(), 9.0, cost_model=by_table).limit(9.0, graph)
    assert limit == pytest.approx(table.prediction_limit_ms(9.0, 0.95))
    assert limit < 9.0
    assert job_of(images, History(), 9.0, cost_model=by_table, timer=ScriptedTimer()).limit(9.0, graph) == 9.0
    as_predicted = job_of(images, History(), 9.0, cost_model=by_table, confidence=0.5)
    assert as_predicted.limit(9.0, graph) == pytest.approx(9.0)


@pytest.fixture(scope="module")
def undisturbed(images: Dataset) -> History:
    """A pruning to 70 % of the MACs that nothing disturbed."""
    job, history = pruner(images, History(), 0.7 * macs(tiny()) / 1e3, timer=ScriptedTimer())
    job.run()
    return history


@pytest.mark.parametrize("at", [1, 4])
def test_one_that_was_killed_goes_on_to_the_same_history(
    at: int, images: Dataset, tmp_path: Path, undisturbed: History
) -> None:
    budget, done = 0.7 * macs(tiny()) / 1e3, 0

    def dies(modules: list[nn.Module], *, seed: int) -> Iterator[Trained]:
        nonlocal done
        for trained in serial(images)(modules, seed=seed):
            done += 1
            if done > at:
                raise Killed
            yield trained

    killed, _ = pruner(images, tmp_path / "cut", budget, timer=ScriptedTimer(), train=dies)
    with pytest.raises(Killed):
        killed.run()
    before = {path.name: path.read_bytes() for path in (tmp_path / "cut").rglob("0*.*")}
    again, history = pruner(images, tmp_path / "cut", budget, timer=ScriptedTimer())
    again.run()
    kept = {path.name: path.read_bytes() for path in (tmp_path / "cut").rglob("0*.*")}
    assert before.items() <= kept.items()
    assert without_seconds(history) == without_seconds(undisturbed)


def test_what_was_trained_and_timed_in_an_iteration_that_was_killed_is_not_done_again(
    images: Dataset, tmp_path: Path
) -> None:
    """Killed in the second timing test of an iteration whose first proposal measured slower."""
    budget = 0.8 * macs(tiny()) / 1e3
    look, history = pruner(images, History(), budget, timer=ScriptedTimer())
    look.run()
    accepted = history.iterations[1].accepted
    assert accepted is not None
    whole, undisturbed = pruner(images, History(), budget, timer=ScriptedTimer(accepted.fingerprint))
    whole.run()
    killed, _ = pruner(images, tmp_path, budget, timer=ScriptedTimer(accepted.fingerprint, stop_at=2))
    with pytest.raises(Killed):
        killed.run()
    timer, iterations = ScriptedTimer(accepted.fingerprint), list[int]()

    def counts(modules: list[nn.Module], *, seed: int) -> Iterator[Trained]:
        iterations.extend(seed for _ in modules)
        return serial(images)(modules, seed=seed)

    again, history = pruner(images, tmp_path, budget, timer=timer, train=counts)
    again.run()
    assert accepted.fingerprint not in timer.pairs[:1]
    assert iterations.count(1) <= 1  # the weights of the one that is accepted, which were not kept
    assert without_seconds(history) == without_seconds(undisturbed)


def test_it_gives_up_between_iterations_where_no_time_is_left_and_keeps_them(images: Dataset, tmp_path: Path) -> None:
    answers = iter((False, True))
    job, history = pruner(images, tmp_path, 0.5 * macs(tiny()), too_late=lambda: next(answers))
    with pytest.raises(InfeasibleBudget, match="no time to prune further"):
        job.run()
    assert len(history.iterations) == 2


def test_a_budget_that_pruning_cannot_reach_names_the_smallest_and_what_stands_in_the_way(images: Dataset) -> None:
    module = PrunableModule(trace(own_module(), resolution=32))
    for network, moves in ((start(), MOVES), (module, ("channels",))):
        least = network.smallest(MACS, moves)
        assert least < 0.2 * MACS.cost(network.graph)
        with pytest.raises(InfeasibleBudget, match=MACS.text(least)):
            pruner(images, History(), 0.9 * least, network=network, settings=replace(QUICK, moves=moves))[0].run()


def test_accuracies_are_of_the_same_images_where_nothing_is_trained(images: Dataset, tmp_path: Path) -> None:
    job, history = pruner(images, tmp_path, 0.8 * macs(tiny()), settings=replace(QUICK, short_steps=0))
    job.run()
    split = first(images.validation, 100)
    for one in history.iterations:
        network = history.network(one.number)
        assert isinstance(network, PrunableSpec)
        assert one.accuracy == pytest.approx(evaluate(network.module, split))
