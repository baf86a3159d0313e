"""Which proposal is trained, and which is accepted."""

from dataclasses import replace
from itertools import pairwise

import pytest

from search.data import Dataset
from search.netadapt.history import History
from search.netadapt.proposals import MOVES, propose
from search.netadapt.prunable import Candidate
from search.netadapt.pruner import Pruner
from search.netadapt.records import Iteration, ProposalRecord
from search.netadapt.selection import TESTS, removal_losses
from search.netadapt.specs import PrunableSpec
from searchspace.blocks import Block, Classifier, ConvBN, MBConv, SeparableConv
from searchspace.cost import macs
from searchspace.spec import NetworkSpec, Stage
from tests.search.netadapt.scripted import MACS, QUICK, ScriptedTimer, job_of, pruner, serial, start, tiny

pytestmark = pytest.mark.usefixtures("one_thread")


def network_of(*rows: Block, stem: int) -> PrunableSpec:
    """A stem of `stem` channels, a body of these rows, 10 classes, at 32 px."""
    stages = (
        Stage("stem", (ConvBN(out_channels=stem, kernel=3, stride=2),)),
        Stage("body", rows),
        Stage("classifier", (Classifier(classes=10),)),
    )
    return start(NetworkSpec("plain", 32, stages))


def removals_last(job: Pruner, network: PrunableSpec, share: float) -> tuple[list[Candidate], list[Candidate]]:
    """All candidates to a share of the cost, removed blocks last, as if they looked worst; and the removals alone."""
    target = share * macs(network.spec)
    candidates = job.screened(network, propose(network.spec, MACS, target=target, floor=0.0, moves=MOVES))
    removals = [candidate for candidate in candidates if candidate.proposal.move == "block"]
    return [*(candidate for candidate in candidates if candidate not in removals), *removals], removals


def test_mobilenet_v3s_choice_loses_least_accuracy_for_its_reduction(images: Dataset) -> None:
    by_ratio = replace(QUICK, algorithm="mobilenetv3", shortlist=3)
    job, history = pruner(images, History(), 0.85 * macs(tiny()), settings=by_ratio)
    job.run()
    for before, after in pairwise(history.iterations):
        trained = [row for row in after.proposals if row.accuracy is not None]
        worth = {row.name: ((row.accuracy or 0) - before.accuracy) / (before.cost - row.cost) for row in trained}
        assert after.accepted is not None
        assert worth[after.accepted.name] == max(worth.values())


def test_the_most_accurate_is_accepted_and_going_further_counts_at_the_price_so_far(images: Dataset) -> None:
    job, history = pruner(images, History(), 0.7 * macs(tiny()), settings=replace(QUICK, shortlist=4))
    job.run()
    first, *others = history.iterations
    for before, after in zip(history.iterations, others, strict=False):
        price = max(0.0, first.accuracy - before.accuracy) / max(first.cost - before.cost, 0.1 * first.cost)
        trained = [row for row in after.proposals if row.accuracy is not None]
        worth = {row.name: (row.accuracy or 0) - price * max(row.cost, 0.7 * first.cost) for row in trained}
        assert after.accepted is not None
        assert worth[after.accepted.name] == pytest.approx(max(worth.values()))


@pytest.mark.parametrize(
    ("accuracies", "spared", "costs", "accepted"),
    [
        ((0.9, 0.8), 0.2, (0.75, 0.70), 1),  # half a point a percent so far: five percent are worth 2.5 points
        ((0.9, 0.9), 0.2, (0.75, 0.70), 0),  # nothing was lost so far
        ((0.8, 0.9), 0.2, (0.75, 0.70), 0),
        ((0.9, 0.8), 0.2, (0.60, 0.50), 0),  # what is below the budget counts for nothing
        ((0.9, 0.89), 0.001, (0.75, 0.70), 0),  # a point lost by chance over next to nothing
    ],
)
def test_what_going_further_is_worth(
    accuracies: tuple[float, float], spared: float, costs: tuple[float, float], accepted: int, images: Dataset
) -> None:
    """Of two proposals, of which the second goes further and is a point less accurate."""
    whole, network = macs(tiny()), start()
    about = job_of(images, History(), 0.6 * whole, network=network)
    job, history = Pruner(about, serial(images)), about.history
    job.begin()
    zero = history.iterations[0]
    rows = [(accuracies[0], whole), (accuracies[1], (1 - spared) * whole)]
    history.iterations = [replace(zero, accuracy=accuracy, cost=cost) for accuracy, cost in rows]
    proposals = propose(tiny(), MACS, target=0.9 * whole, floor=0.0, moves=("channels",))[:2]
    candidates = job.screened(network, proposals)
    for candidate, accuracy, cost in zip(candidates, (0.7, 0.69), costs, strict=True):
        candidate.record = replace(candidate.record, accuracy=accuracy, cost=cost * whole)
    goal = about.goal(network.graph)
    assert max(candidates, key=lambda each: job.selection.worth_trained(each, goal)) is candidates[accepted]


@pytest.mark.parametrize(("skip", "has_place"), [(False, True), (True, False)])
def test_a_removed_block_that_no_sum_bridges_is_trained_however_it_looks_before(
    skip: bool, has_place: bool, images: Dataset
) -> None:
    row = MBConv(expand_channels=24, out_channels=12, activation="relu", skip=skip)
    network = network_of(SeparableConv(out_channels=12, stride=2), row, row, row, stem=8)
    budget = 0.7 * macs(network.spec) / 1e3

    def job_of(shortlist: int, timer: ScriptedTimer | None = None) -> Pruner:
        settings = replace(QUICK, shortlist=shortlist)
        job, _ = pruner(images, History(), budget, network=network, timer=timer, settings=settings)
        job.begin()
        return job

    timer = ScriptedTimer(all_slower=True)
    job = job_of(3, timer)
    last, removals = removals_last(job, network, 0.9)
    assert len(removals) == 3
    assert len(last) > 4
    cheapest = min(removals, key=lambda candidate: candidate.proposal.cost)
    chosen = job.selection.shortlist(last)
    assert chosen == [*last[:2], cheapest if has_place else last[2]]
    assert job.selection.shortlist([cheapest, *last[:3]]) == [cheapest, *last[:2]]
    for few in (1, 2):
        assert job_of(few, timer).selection.shortlist(last) == last[:few]
    assert job.selection.accept(network, last, 0.9 * macs(network.spec)) is None
    assert len(timer.pairs) == TESTS  # each once, those that were trained first
    tested = [candidate for candidate in last if candidate.record.timing is not None]
    assert len(tested) == TESTS
    assert all(candidate in tested for candidate in [*chosen, *last[:3]])


def test_each_removal_has_its_turn_then_the_one_that_lost_least(images: Dataset) -> None:
    row = SeparableConv(out_channels=12, activation="relu")
    network = network_of(row, row, row, row, stem=12)
    settings = replace(QUICK, shortlist=3)
    job, history = pruner(images, History(), 0.5 * macs(network.spec), network=network, settings=settings)
    job.begin()
    zero = history.iterations[0]
    last, _ = removals_last(job, network, 0.98)
    losses = {"body.0": 0.05, "body.1": 0.01, "body.2": 0.2, "body.3": 0.02}
    for number in range(4):
        chosen = job.selection.shortlist(last)[-1].record
        assert chosen.where not in removal_losses(history.iterations)
        trained = replace(chosen, accuracy=zero.accuracy - losses[chosen.where])
        history.iterations.append(replace(zero, number=number + 1, proposals=(trained,)))
    assert job.selection.shortlist(last)[-1].record.where == "body.1"


def test_what_removals_lost_is_remembered_by_the_names_that_blocks_have_now() -> None:
    def record(where: str, accuracy: float | None, *, accepted: bool = False) -> ProposalRecord:
        return ProposalRecord(
            move="block",
            where=where,
            channels=None,
            name="",
            spec="",
            fingerprint="",
            params=0,
            macs=0,
            cost=1.0,
            screened=0.1,
            accuracy=accuracy,
            accepted=accepted,
        )

    zero = Iteration(number=0, cost=1.0, accuracy=0.8, target=1.0)
    first = replace(
        zero, number=1, accuracy=0.7, proposals=(record("a.1", 0.7), record("a.3", 0.6), record("b.2", 0.5))
    )
    then = replace(zero, number=2, proposals=(record("a.2", 0.6, accepted=True), record("a.0", None)))
    found = removal_losses([zero, first, then])
    assert found == pytest.approx({"a.1": 0.1, "a.2": 0.2, "b.2": 0.3})
