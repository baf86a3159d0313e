"""The descent: what is offered, what is taken, what stays on disk."""

import json
import math
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from search.budget import CostModel
from search.data import Dataset, load
from search.latency.measurement import Measurement
from search.latency.runtimes.eager import Eager
from search.netadapt.history import History, Iteration, Tried
from search.netadapt.proposals import MOVES, propose, smallest
from search.netadapt.pruner import GATE_IMAGES, TESTS, Plan, Refiner, _About
from search.netadapt.removals import removal_losses
from search.netadapt.screen import FEWEST, FIRST_LOOK, screen
from search.netadapt.short_training import Serial, Tuned, first, short_recipe
from search.netadapt.timing import PairedTimer, Timing
from search.training.augmentation import normalise
from search.training.trainer import Recipe, evaluate
from searchspace.blocks import Classifier, ConvBN, MBConv, SeparableConv
from searchspace.channels.coupling import coupling
from searchspace.channels.steps import prune_group
from searchspace.cost import macs
from searchspace.errors import InfeasibleBudget, StudyMismatch
from searchspace.graph import lower
from searchspace.latency.table import Correction, LatencyTable
from searchspace.nn import Network, build
from searchspace.nn.weights.importance import mean_gates
from searchspace.nn.weights.prune import prune_network
from searchspace.spec import NetworkSpec, Stage

pytestmark = pytest.mark.usefixtures("one_thread")

MACS = CostModel("macs")


def tiny() -> NetworkSpec:
    """A network with every move in it, at 32 px."""
    wide = MBConv(expand_channels=24, out_channels=12, kernel=5, activation="relu", squeeze_channels=4, skip=True)
    first = MBConv(expand_channels=24, out_channels=12, stride=2, activation="relu")
    stages = (
        Stage("stem", (ConvBN(out_channels=8, kernel=3, stride=2),)),
        Stage("body", (SeparableConv(out_channels=12, stride=2), wide, first, wide)),
        Stage("classifier", (Classifier(classes=10),)),
    )
    return NetworkSpec("tiny", 32, stages)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load(None, resolution=16, images=200, cache_dir=tmp_path_factory.mktemp("cache"))


class Stub:
    """A device on which a network takes as many ms as it has thousands of MACs, but for those named slower, and those
    named faster than anybody thought."""

    def __init__(self, *slower: str, faster: tuple[str, ...] = ()) -> None:
        self.slower, self.faster, self.tests = slower, faster, 0

    def pair(self, before: NetworkSpec, after: NetworkSpec) -> Timing:
        self.tests += 1
        ratio = 1.5 if after.fingerprint() in self.slower else macs(after) / macs(before)
        if after.fingerprint() in self.faster:
            ratio = 0.5
        return Timing(macs(before) / 1e3, macs(before) / 1e3 * ratio, ratio, ratio, ratio, 12)

    def alone(self, spec: NetworkSpec) -> Measurement:
        ms = macs(spec) / 1e3
        return Measurement(latency_ms=ms, low_ms=ms, high_ms=ms, rounds=9, raw_median_ms=ms, noisy=False)


PLAN = Plan(
    cost_model=MACS,
    budgets=(0.0,),
    moves=MOVES,
    criterion="l2",
    by_ratio=False,
    step=0.1,
    decay=0.98,
    shortlist=2,
    trains=True,
    images=100,
    screen_images=100,
    seed=0,
)


def refiner(
    images: Dataset,
    folder: Path,
    budget: float,
    *,
    timer: PairedTimer | None = None,
    plan: Plan = PLAN,
    keep_all: bool = True,
) -> Refiner:
    recipe = short_recipe(Recipe(batch_size=16), 2, 1000)
    return Refiner(
        replace(plan, budgets=(budget,)),
        images,
        timer,
        History(folder, keep_all=keep_all),
        Serial(images, recipe, plan.images),
        progress=lambda share, what: None,
        line=lambda text: None,
        kept=lambda iteration: None,
    )


def start() -> Network:
    return build(tiny(), generator=torch.Generator().manual_seed(0)).eval()


def plain(iterations: list[Iteration]) -> list[object]:
    """A history without what time took."""
    rows = [json.loads(one.to_json()) for one in iterations]
    for row in rows:
        for tried in row["tried"]:
            del tried["seconds"]
    return rows


def test_every_offer_meets_the_target_and_is_priced_as_it_is() -> None:
    spec = tiny()
    target = 0.9 * macs(spec)
    offers = propose(spec, MACS, target=target, floor=0.5 * macs(spec), moves=MOVES)
    assert {offer.move for offer in offers} >= {"channels", "block"}
    for offer in offers:
        step = offer.make(lambda group: [1.0] * len(group.cells))
        assert offer.cost == macs(step.spec)
        assert 0.5 * macs(spec) <= offer.cost <= target


def test_offers_are_screened_as_each_network_alone_would_be(images: Dataset) -> None:
    network = start()
    group = next(group for group in coupling(network.spec) if group.counts)
    rng = random.Random(0)
    steps = [prune_group(network.spec, group, count, [rng.random() for _ in group.cells]) for count in (2, 5)]
    found = screen(network, steps, images.validation, gates={})
    for step, look in zip(steps, found, strict=True):
        assert look.before == pytest.approx(evaluate(network, images.validation), abs=2e-3)
        assert look.accuracy == pytest.approx(evaluate(prune_network(network, step), images.validation), abs=2e-3)
        assert math.isfinite(look.loss)
        assert look.images == len(images.validation)


def test_only_the_better_half_of_many_offers_sees_all_images(images: Dataset) -> None:
    network = start()
    steps = [
        prune_group(network.spec, group, count, [1.0 * unit for unit in range(len(group.cells))])
        for group in coupling(network.spec)
        for count in [*group.counts][-5:]
    ]
    assert len(steps) > 2 * FEWEST
    whole = screen(network, steps, images.validation, gates={})
    halved = screen(network, steps, images.validation, gates={}, rank=lambda _, look: (look.loss,))
    few = round(FIRST_LOOK * len(images.validation))
    start_of = screen(network, steps, first(images.validation, few), gates={})
    best = sorted(range(len(steps)), key=lambda place: start_of[place].loss)[: -(-len(steps) // 2)]
    for place, look in enumerate(halved):
        expected = whole[place] if place in best else start_of[place]
        assert look == pytest.approx(expected, abs=1e-5)


def test_a_network_whose_offers_were_screened_on_another_device_can_be_trained_on(
    images: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = start()
    monkeypatch.setattr(nn.Module, "to", lambda self, *_, **__: self._apply(torch.clone))  # as a move to a GPU does
    screen(network, [], images.validation, gates={})
    assert not any(parameter.is_inference() for parameter in network.parameters())


def test_the_descent_ends_within_the_budget_and_uses_it(images: Dataset, tmp_path: Path) -> None:
    budget = 0.6 * macs(tiny())
    timer = Stub()
    job = refiner(images, tmp_path, budget / 1e3, timer=timer)
    job.run(start())
    last = job.history.iterations[-1]
    assert 0.95 * budget <= macs(last.spec) <= budget
    assert last.reached == (budget / 1e3,)
    assert last.measured is not None
    assert all(one.accepted is not None for one in job.history.iterations[1:])
    assert timer.tests >= len(job.history.iterations) - 1
    for before, after in zip(job.history.iterations, job.history.iterations[1:], strict=False):
        assert after.accepted is not None
        assert after.accepted.timing is not None
        assert after.accepted.timing.ratio <= 1.0
        assert after.cost < before.cost
    assert job.history.network(last.number).spec == last.spec


def test_an_offer_that_measures_slower_is_not_taken(images: Dataset, tmp_path: Path) -> None:
    budget = 0.8 * macs(tiny())
    first = refiner(images, tmp_path / "a", budget / 1e3, timer=Stub())
    first.run(start())
    taken = first.history.iterations[1].accepted
    assert taken is not None
    second = refiner(images, tmp_path / "b", budget / 1e3, timer=Stub(taken.fingerprint))
    second.run(start())
    one = second.history.iterations[1]
    refused = next(row for row in one.tried if row.fingerprint == taken.fingerprint)
    assert refused.timing is not None
    assert refused.timing.ratio == 1.5
    assert not refused.accepted
    assert one.accepted is not None
    assert one.accepted.fingerprint != taken.fingerprint


def test_an_offer_that_measures_far_below_the_budget_is_not_taken_where_another_will_do(
    images: Dataset, tmp_path: Path
) -> None:
    budget = 0.8 * macs(tiny()) / 1e3
    first = refiner(images, tmp_path / "a", budget, timer=Stub())
    first.run(start())
    last = first.history.iterations[-1].accepted
    assert last is not None
    second = refiner(images, tmp_path / "b", budget, timer=Stub(faster=(last.fingerprint,)))
    second.run(start())
    end = second.history.iterations[-1]
    passed_over = next(row for row in end.tried if row.fingerprint == last.fingerprint)
    assert passed_over.timing is not None
    assert not passed_over.accepted
    assert 0.95 * budget <= end.cost <= budget


@pytest.mark.parametrize("timer", [Stub(), None])
def test_an_offer_whose_short_training_diverged_is_not_taken(
    timer: Stub | None, images: Dataset, tmp_path: Path
) -> None:
    budget = 0.8 * macs(tiny()) / (1e3 if timer else 1)
    job = refiner(images, tmp_path, budget, timer=timer)
    tune, calls = job.tune, 0

    def breaks(networks: list[Network], *, seed: int) -> Iterator[Tuned]:
        nonlocal calls
        for tuned in tune(networks, seed=seed):
            calls += 1
            yield tuned._replace(accuracy=0.0, diverged=True) if calls <= 3 else tuned

    job.tune = breaks  # type: ignore[assignment]
    job.run(start())
    tried = job.history.iterations[1].tried
    diverged = [row for row in tried if row.diverged]
    assert len(diverged) == 3  # both of the shortlist, and the first beyond it, which is trained when it is taken
    assert not any(row.accepted for row in diverged)
    assert job.history.iterations[1].accepted is not None
    assert History(tmp_path, keep_all=True).iterations[1].tried == tried


def test_mean_gates_are_those_of_all_images_at_once_and_only_where_se_may_go(
    images: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = mean_gates(start(), normalise(torch.tensor(images.train.pixels[:GATE_IMAGES])))
    monkeypatch.setattr("search.netadapt.pruner.batch_for", lambda network, pixels: 60)
    found = refiner(images, tmp_path / "a", 1.0)._gates(start())
    assert found.keys() == whole.keys()
    assert all(torch.allclose(found[layer], whole[layer], atol=1e-6) for layer in whole)
    monkeypatch.setattr("search.netadapt.pruner.mean_gates", None)
    assert refiner(images, tmp_path / "b", 1.0, plan=replace(PLAN, moves=("channels",)))._gates(start()) == {}


def test_a_predicted_network_comes_to_what_its_confidence_leaves_of_the_budget(images: Dataset, tmp_path: Path) -> None:
    spec = start().spec
    kernels = {layer.signature: 0.1 for layer in lower(spec).layers}
    table = LatencyTable(Eager().identity(32), 1.0, kernels, Correction(1.0, 0.1, 0.03))
    plan = replace(PLAN, cost_model=CostModel("ms", table))
    limit = refiner(images, tmp_path, 9.0, plan=plan)._limit(9.0, spec)
    assert limit == pytest.approx(table.prediction_limit_ms(9.0, 0.95))
    assert limit < 9.0
    assert refiner(images, tmp_path, 9.0, plan=plan, timer=Stub())._limit(9.0, spec) == 9.0
    assert refiner(images, tmp_path, 9.0, plan=replace(plan, confidence=0.5))._limit(9.0, spec) == pytest.approx(9.0)


class Cut(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("at", [1, 3, 4])
def test_a_descent_that_was_cut_off_goes_on_to_the_same_history(at: int, images: Dataset, tmp_path: Path) -> None:
    budget = 0.7 * macs(tiny()) / 1e3
    whole = refiner(images, tmp_path / "whole", budget, timer=Stub())
    whole.run(start())
    cut_off = refiner(images, tmp_path / "cut", budget, timer=Stub())
    tune, done = cut_off.tune, 0

    def dies(networks: list[Network], *, seed: int) -> Iterator[object]:
        nonlocal done
        for tuned in tune(networks, seed=seed):
            done += 1
            if done > at:
                raise Cut
            yield tuned

    cut_off.tune = dies  # type: ignore[assignment]
    with pytest.raises(Cut):
        cut_off.run(start())
    before = {path.name: path.read_bytes() for path in (tmp_path / "cut").rglob("0*.*")}
    again = refiner(images, tmp_path / "cut", budget, timer=Stub())
    again.run(start())
    kept = {path.name: path.read_bytes() for path in (tmp_path / "cut").rglob("0*.*")}
    assert before.items() <= kept.items()
    assert plain(again.history.iterations) == plain(whole.history.iterations)


def test_without_keep_all_only_the_weights_that_are_needed_stay(images: Dataset, tmp_path: Path) -> None:
    job = refiner(images, tmp_path, 0.7 * macs(tiny()), keep_all=False)
    job.run(start())
    assert [path.stem for path in tmp_path.rglob("*.safetensors")] == [f"{len(job.history.iterations) - 1:03d}"]


def test_a_budget_that_pruning_cannot_reach_names_the_smallest(images: Dataset, tmp_path: Path) -> None:
    least = smallest(tiny(), MACS, MOVES)
    assert least < 0.1 * macs(tiny())
    with pytest.raises(InfeasibleBudget, match=MACS.text(least)):
        refiner(images, tmp_path, 0.9 * least).run(start())


def test_mobilenet_v3s_choice_loses_least_accuracy_for_its_reduction(images: Dataset, tmp_path: Path) -> None:
    plan = replace(PLAN, by_ratio=True, shortlist=3)
    job = refiner(images, tmp_path, 0.85 * macs(tiny()), plan=plan)
    job.run(start())
    for before, after in zip(job.history.iterations, job.history.iterations[1:], strict=False):
        trained = [row for row in after.tried if row.accuracy is not None]
        worth = {row.name: ((row.accuracy or 0) - before.accuracy) / (before.cost - row.cost) for row in trained}
        assert after.accepted is not None
        assert worth[after.accepted.name] == max(worth.values())


def test_the_most_accurate_is_taken_and_going_further_counts_at_the_price_so_far(
    images: Dataset, tmp_path: Path
) -> None:
    job = refiner(images, tmp_path, 0.6 * macs(tiny()), plan=replace(PLAN, shortlist=4))
    job.run(start())
    first, *others = job.history.iterations
    for before, after in zip(job.history.iterations, others, strict=False):
        price = max(0.0, first.accuracy - before.accuracy) / max(first.cost - before.cost, 0.1 * first.cost)
        trained = [row for row in after.tried if row.accuracy is not None]
        worth = {row.name: (row.accuracy or 0) - price * max(row.cost, 0.6 * first.cost) for row in trained}
        assert after.accepted is not None
        assert worth[after.accepted.name] == pytest.approx(max(worth.values()))


@pytest.mark.parametrize(
    ("accuracies", "spared", "costs", "taken"),
    [
        ((0.9, 0.8), 0.2, (0.75, 0.70), 1),  # half a point a percent so far: five percent are worth 2.5 points
        ((0.9, 0.9), 0.2, (0.75, 0.70), 0),  # nothing was lost so far
        ((0.8, 0.9), 0.2, (0.75, 0.70), 0),
        ((0.9, 0.8), 0.2, (0.60, 0.50), 0),  # what is below the budget counts for nothing
        ((0.9, 0.89), 0.001, (0.75, 0.70), 0),  # a point lost by chance over next to nothing
    ],
)
def test_what_going_further_is_worth(
    accuracies: tuple[float, float],
    spared: float,
    costs: tuple[float, float],
    taken: int,
    images: Dataset,
    tmp_path: Path,
) -> None:
    """Of two offers, of which the second goes further and is a point less accurate."""
    whole = macs(tiny())
    job = refiner(images, tmp_path, 0.6 * whole)
    job._begin(start())
    zero = job.history.iterations[0]
    rows = [(accuracies[0], whole), (accuracies[1], (1 - spared) * whole)]
    job.history.iterations = [replace(zero, accuracy=accuracy, cost=cost) for accuracy, cost in rows]
    offers = job._offers(start(), propose(tiny(), MACS, target=0.9 * whole, floor=0.0, moves=("channels",)))[:2]
    for offer, accuracy, cost in zip(offers, (0.7, 0.69), costs, strict=True):
        offer.proposal = offer.proposal._replace(cost=cost * whole)
        offer.row = replace(offer.row, accuracy=accuracy)
    assert max(offers, key=job._worth_trained) is offers[taken]


@pytest.mark.parametrize(("skip", "has_place"), [(False, True), (True, False)])
def test_a_removed_block_that_no_sum_bridges_is_trained_however_it_looks_before(
    skip: bool, has_place: bool, images: Dataset, tmp_path: Path
) -> None:
    row = MBConv(expand_channels=24, out_channels=12, activation="relu", skip=skip)
    stages = (
        Stage("stem", (ConvBN(out_channels=8, kernel=3, stride=2),)),
        Stage("body", (SeparableConv(out_channels=12, stride=2), row, row, row)),
        Stage("classifier", (Classifier(classes=10),)),
    )
    network = build(NetworkSpec("plain", 32, stages), generator=torch.Generator().manual_seed(0)).eval()
    timer = Stub()
    job = refiner(images, tmp_path, 0.7 * macs(network.spec) / 1e3, timer=timer, plan=replace(PLAN, shortlist=3))
    job._begin(network)
    offers = job._offers(network, propose(network.spec, MACS, target=0.9 * macs(network.spec), floor=0.0, moves=MOVES))
    removals = [offer for offer in offers if offer.proposal.move == "block"]
    assert len(removals) == 3
    last = [*(offer for offer in offers if offer not in removals), *removals]  # they look worst
    assert len(last) > 4
    cheapest = min(removals, key=lambda offer: offer.proposal.cost)
    chosen = job._shortlist(last)
    assert chosen == [*last[:2], cheapest if has_place else last[2]]
    assert job._shortlist([cheapest, *last[:3]]) == [cheapest, *last[:2]]
    for few in (1, 2):
        job.plan = replace(job.plan, shortlist=few)
        assert job._shortlist(last) == last[:few]
    job.plan = replace(job.plan, shortlist=3)
    timer.slower = tuple(offer.row.fingerprint for offer in last)
    assert job._take_best(_About(1, 0.9 * macs(network.spec), last), network) is None
    assert timer.tests == TESTS  # each once, those that were trained first
    tested = [offer for offer in last if offer.row.timing is not None]
    assert len(tested) == TESTS
    assert all(offer in tested for offer in [*chosen, *last[:3]])


def test_each_removal_has_its_turn_then_the_one_that_lost_least(images: Dataset, tmp_path: Path) -> None:
    row = SeparableConv(out_channels=12, activation="relu")
    stages = (
        Stage("stem", (ConvBN(out_channels=12, kernel=3, stride=2),)),
        Stage("body", (row, row, row, row)),
        Stage("classifier", (Classifier(classes=10),)),
    )
    network = build(NetworkSpec("plain", 32, stages), generator=torch.Generator().manual_seed(0)).eval()
    cost = macs(network.spec)
    job = refiner(images, tmp_path, 0.5 * cost, plan=replace(PLAN, shortlist=3))
    job._begin(network)
    zero = job.history.iterations[0]
    offers = job._offers(network, propose(network.spec, MACS, target=0.98 * cost, floor=0.0, moves=MOVES))
    removals = [offer for offer in offers if offer.proposal.move == "block"]
    last = [*(offer for offer in offers if offer not in removals), *removals]
    losses = {"body.0": 0.05, "body.1": 0.01, "body.2": 0.2, "body.3": 0.02}
    for number in range(4):
        chosen = job._shortlist(last)[-1].row
        assert chosen.where not in removal_losses(job.history.iterations)
        tried = replace(chosen, accuracy=zero.accuracy - losses[chosen.where])
        job.history.iterations.append(replace(zero, number=number + 1, tried=(tried,)))
    assert job._shortlist(last)[-1].row.where == "body.1"


def test_what_removals_lost_is_remembered_by_the_names_that_blocks_have_now(images: Dataset, tmp_path: Path) -> None:
    job = refiner(images, tmp_path, 0.6 * macs(tiny()))
    job._begin(start())
    zero = replace(job.history.iterations[0], accuracy=0.8)
    any_row = Tried(
        move="block",
        where="",
        channels=None,
        name="",
        spec="",
        fingerprint="",
        params=0,
        macs=0,
        cost=1.0,
        screened=0.1,
    )

    def row(where: str, accuracy: float | None, *, accepted: bool = False) -> Tried:
        return replace(any_row, where=where, accuracy=accuracy, accepted=accepted)

    first = replace(zero, number=1, accuracy=0.7, tried=(row("a.1", 0.7), row("a.3", 0.6), row("b.2", 0.5)))
    taken = replace(zero, number=2, tried=(row("a.2", 0.6, accepted=True), row("a.0", None)))
    found = removal_losses([zero, first, taken])
    assert found == pytest.approx({"a.1": 0.1, "a.2": 0.2, "b.2": 0.3})


@pytest.mark.parametrize("name", ["000.safetensors", "000.iteration.json"])
def test_what_is_damaged_in_a_study_says_how_to_begin_anew(name: str, images: Dataset, tmp_path: Path) -> None:
    job = refiner(images, tmp_path, 1.0 * macs(tiny()))
    job.run(start())
    (tmp_path / "iterations" / name).write_text("{'")
    with pytest.raises(StudyMismatch, match=rf"{name} is missing or damaged .*--fresh"):
        History(tmp_path, keep_all=True).network(0)


def test_what_was_trained_and_timed_in_an_iteration_that_was_cut_off_is_not_done_again(
    images: Dataset, tmp_path: Path
) -> None:
    """Cut off in the second timing test of an iteration whose first offers measured slower."""
    budget = 0.8 * macs(tiny()) / 1e3
    plan = replace(PLAN, cost_model=MACS, shortlist=2)
    first_round = refiner(images, tmp_path / "look", budget, timer=Stub(), plan=plan)
    first_round.run(start())
    taken = first_round.history.iterations[1].accepted
    assert taken is not None
    whole = refiner(images, tmp_path / "whole", budget, timer=Stub(taken.fingerprint), plan=plan)
    whole.run(start())

    class Dies(Stub):
        def pair(self, before: NetworkSpec, after: NetworkSpec) -> Timing:
            if self.tests == 1:
                raise Cut
            return super().pair(before, after)

    cut_off = refiner(images, tmp_path / "cut", budget, timer=Dies(taken.fingerprint), plan=plan)
    with pytest.raises(Cut):
        cut_off.run(start())
    timer, seeds = Stub(taken.fingerprint), []
    again = refiner(images, tmp_path / "cut", budget, timer=timer, plan=plan)
    tune = again.tune

    def counts(networks: list[Network], *, seed: int) -> Iterator[object]:
        seeds.extend(len(again.history.iterations) for _ in networks)
        return tune(networks, seed=seed)

    again.tune = counts  # type: ignore[assignment]
    asked: list[str] = []
    pair = timer.pair

    def listens(before: NetworkSpec, after: NetworkSpec) -> Timing:
        asked.append(after.fingerprint())
        return pair(before, after)

    timer.pair = listens  # type: ignore[method-assign]
    again.run(start())
    assert taken.fingerprint not in asked[:1]
    assert seeds.count(1) <= 1  # the weights of the one that is taken, which were not kept
    assert plain(again.history.iterations) == plain(whole.history.iterations)


def test_a_study_that_goes_on_without_keep_all_keeps_the_networks_that_it_has(images: Dataset, tmp_path: Path) -> None:
    refiner(images, tmp_path, 0.8 * macs(tiny())).run(start())
    before = {path.name for path in tmp_path.rglob("*.safetensors")}
    assert len(before) > 2
    job = refiner(images, tmp_path, 0.6 * macs(tiny()), keep_all=False)
    job.run(start())
    after = {path.name for path in tmp_path.rglob("*.safetensors")}
    assert before - after <= {max(before)}
    assert f"{len(job.history.iterations) - 1:03d}.safetensors" in after


def test_accuracies_are_of_the_same_images_where_nothing_is_trained(images: Dataset, tmp_path: Path) -> None:
    job = refiner(images, tmp_path, 0.8 * macs(tiny()), plan=replace(PLAN, trains=False, screen_images=20, images=100))
    job.run(start())
    split = first(images.validation, 100)
    for one in job.history.iterations:
        assert one.accuracy == pytest.approx(evaluate(job.history.network(one.number), split))


@pytest.mark.parametrize(("steps", "images_there"), [(2, 1000), (40, 600), (1000, 5000), (7, 8)])
def test_a_short_training_takes_its_steps_however_few_images_there_are(steps: int, images_there: int) -> None:
    recipe = short_recipe(Recipe(batch_size=32), steps, images_there)
    size = min(32, images_there)
    each = max(1, min(recipe.epoch_images, images_there) // size)
    assert steps <= recipe.epochs * each < steps + recipe.epochs
