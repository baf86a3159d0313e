"""Which finalist becomes the winner, and what the time left is spent on."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from search.budget import LatencyBudget
from search.finalists import Finalist, finalists_within
from search.latency import Measurement
from search.long_training import Trained
from search.plan import Plan
from search.training.errors import TrainingDiverged
from search.winner import WinnerSelection
from searchspace.errors import InfeasibleBudget
from searchspace.latency.table import SCHEMA, Correction, Identity, LatencyTable
from searchspace.nn import Network, build
from searchspace.spaces.mnasnet import mnasnet_space

IDENTITY = Identity(
    schema=SCHEMA,
    machine="m",
    runtime="eager torch",
    threads=2,
    dtype="float32",
    batch=1,
    memory_format="channels_last",
    resolution=224,
    versions={},
)
TABLE = LatencyTable(IDENTITY, 1.0, {}, Correction(1.0, 0.0, 0.02))
SPACE = mnasnet_space()
SPEC = SPACE.spec(SPACE.corner("smallest")).to_json()


def measurement(ms: float, *, low_ms: float | None = None, high_ms: float | None = None) -> Measurement:
    return Measurement(
        latency_ms=ms, low_ms=low_ms or ms, high_ms=high_ms or ms, rounds=9, raw_median_ms=ms, noisy=False
    )


def trial(number: int) -> Any:
    attrs = {"fingerprint": str(number), "train_s": 28.0, "epochs": 4, "accuracy": 0.9, "spec": SPEC}
    return SimpleNamespace(number=number, user_attrs=attrs, value=0.9 - number / 100)


def finalist(number: int, ms: float, high_ms: float | None = None) -> Finalist:
    return Finalist(trial(number), measurement(ms, high_ms=high_ms))


class Scripted(WinnerSelection):
    """Trains nothing: a trained network measures what `trained_ms` says, and none can be pruned unless `prunes`."""

    trained_ms = 0.0
    prunes = False

    def trained(self, finalist: Finalist, plan: Plan) -> Any:
        self.tried = [*getattr(self, "tried", []), "trained"]
        return SimpleNamespace(measured=measurement(self.trained_ms or finalist.found.latency_ms), refined=None)

    def pruned(self, finalist: Finalist, plan: Plan, *, is_trained: bool = False, has_others: bool = False) -> Any:
        self.tried = [*getattr(self, "tried", []), "pruned"]
        self.gives_up = has_others
        return SimpleNamespace(measured=measurement(19.0), refined={}) if self.prunes else None


def study() -> Any:
    attrs: dict[str, Any] = {}
    return SimpleNamespace(user_attrs=attrs, set_user_attr=attrs.__setitem__)


def selection(
    left_s: float | None,
    *,
    overshoot: float = 1.15,
    by_seconds: bool = False,
    timed: list[int] | None = None,
    folder: Path = Path(),
) -> Scripted:
    """timed: hears of each epoch that is timed, which takes 7 s."""
    device: Any = SimpleNamespace(is_of=lambda table: True)
    search: Any = SimpleNamespace(
        budget=LatencyBudget(20.0, TABLE, overshoot=overshoot, device=device),
        clock=SimpleNamespace(left_s=lambda: left_s, limit_s=540.0),
        study=study(),
        suffix="",
        progress=SimpleNamespace(line=lambda _: None, update=lambda *_: None),
    )
    training: Any = SimpleNamespace(
        trainer=SimpleNamespace(recipe=SimpleNamespace(epochs=4)),
        by_seconds=by_seconds,
        tunes=by_seconds,
        closing_s=lambda spec, left_s: 0.0,
        epoch_s=lambda spec: (timed if timed is not None else []).append(1) or 7.0,
    )
    data: Any = None
    return Scripted(search, training, data, folder)


@pytest.mark.parametrize(("left_s", "first"), [(80.0, 2), (400.0, 1), (None, 1)])
def test_a_network_over_the_budget_comes_first_only_where_there_is_time_to_prune_and_train_it(
    left_s: float | None, first: int
) -> None:
    three = [finalist(1, 20.3), finalist(2, 18.0), finalist(3, 21.0)]
    order = [each.trial.number for each in selection(left_s).plans.in_order(three)]
    assert order == ([1, 2, 3] if first == 1 else [2, 1, 3])


def test_what_an_interrupted_run_had_begun_to_train_stays_first() -> None:
    three = [finalist(1, 20.3), finalist(2, 18.0)]
    interrupted = selection(80.0)
    assert interrupted.plans.in_order(three) == three[::-1]
    begun = interrupted.plans.plan(three[0])
    assert interrupted.plans.in_order(three) == three
    assert interrupted.plans.plan(finalist(1, 19.0)) == begun  # a second measurement changes nothing
    assert selection(80.0, overshoot=1.0).plans.in_order(three) == three


def test_a_plan_of_a_study_from_before_pruning_was_one_number() -> None:
    here = selection(80.0)
    here.search.study.set_user_attr("winner_epochs", {"1@540.0": 7})
    assert here.plans.plan(finalist(1, 20.3)) == Plan(7, 0)


def test_the_winner_is_planned_by_the_speed_of_its_own_training_not_by_how_long_its_trial_took() -> None:
    """Seen: 7,843 epochs by the thousandths of a second of a score; a minute of nine left over by short trainings."""
    trainings: list[int] = []
    here = selection(104.0, timed=trainings)
    for number, train_s in ((1, 0.0), (2, 60.0)):
        one = finalist(number, 18.0)
        one.trial.user_attrs["train_s"] = train_s
        assert here.plans.in_order([one, one]) == [one, one]
        assert here.plans.plan(one) == Plan(13, 0)  # 84 s and a tenth more, by epochs of 7 s
    assert trainings == [1, 1]  # each once


@pytest.mark.parametrize(("left_s", "goes_on"), [(60.0, True), (100.0, False), (None, False)])
def test_a_winner_with_less_time_than_two_of_its_candidates_trainings_goes_on_from_its_weights(
    left_s: float | None, goes_on: bool, tmp_path: Path
) -> None:
    """Seen on a busy machine: a winner of 9.8 % where its candidate had 89 %."""
    here, one = selection(left_s, folder=tmp_path), finalist(1, 18.0)
    assert not here.plans.plan(one).goes_on  # nothing is kept
    network = build(one.spec, generator=torch.Generator().manual_seed(3))
    here.kept.keep(network)
    here.search.study.set_user_attr("winner_epochs", {})
    plan = here.plans.plan(one)
    assert plan.goes_on == goes_on
    trainings: list[dict[str, Any]] = []
    here.training.start = lambda spec: (build(spec, generator=torch.Generator().manual_seed(4)), None)
    here.training.how_long = lambda *_: ""

    def train(module: Network, length: int, **how: Any) -> Trained:
        trainings.append({"length": length, **how})
        return Trained(0.9, 48, length, 1.0)

    here.training.train = train
    module, _ = WinnerSelection._train(here, one, plan)
    assert trainings[0]["length"] == plan.first
    assert trainings[0]["onward"] == goes_on
    first, kept = next(module.parameters()), next(network.parameters())
    assert torch.equal(first, kept) == goes_on
    (file,) = tmp_path.glob("candidate-*")
    file.write_bytes(file.read_bytes()[:1000])
    told: list[str] = []
    here.search.progress.line = told.append
    WinnerSelection._train(here, one, plan)
    assert trainings[1]["onward"] is False
    assert any("the winner is trained anew" in line for line in told) == goes_on
    here.kept.forget()
    assert not here.kept.has(one.spec)


def test_a_fine_tuning_is_planned_in_seconds_less_what_the_test_at_the_deployed_size_takes() -> None:
    here = selection(500.0, by_seconds=True)
    here.training.closing_s = lambda spec, left_s: 80.0
    assert here.plans.plan(finalist(1, 18.0)) == Plan(394, 0)  # (500 - 20 - 80) s less 1.5 %
    pruned = here.plans.plan(finalist(2, 20.3))
    assert 0 < pruned.last < pruned.first < 380 - pruned.last
    without_limit = selection(None, by_seconds=True)
    assert without_limit.plans.plan(finalist(1, 18.0)) == Plan(112, 0)  # 16 epochs of 7 s
    assert without_limit.plans.plan(finalist(2, 20.3)) == Plan(84, 28)


@pytest.mark.parametrize(
    ("ms", "high_ms", "is_pruned"), [(19.6, 20.2, False), (19.8, 20.4, True), (19.9, 19.99, False), (20.3, 21.0, True)]
)
def test_a_network_that_another_measurement_may_find_over_the_budget_is_pruned(
    ms: float, high_ms: float, is_pruned: bool
) -> None:
    here, one = selection(None), finalist(1, ms, high_ms)
    assert bool(here.plans.plan(one).last) == is_pruned
    assert here.search.budget.within(one.found) == (ms <= 20.0)  # what is said of one that is trained


@pytest.mark.parametrize(("ms", "is_taken"), [(19.9, True), (20.3, False)])
def test_a_network_within_the_budget_that_cannot_be_pruned_is_taken_as_it_is(ms: float, is_taken: bool) -> None:
    here, rejected = selection(None), list[dict[str, Any]]()
    found = here.first_within([finalist(1, ms, 1.03 * ms)], rejected)
    assert (found is not None) == is_taken
    assert here.tried == (["pruned", "trained"] if is_taken else ["pruned"])
    assert len(rejected) == (0 if is_taken else 1)


def test_a_winner_that_is_over_the_budget_only_once_it_is_trained_is_pruned_and_not_thrown_away() -> None:
    here, rejected = selection(None), list[dict[str, Any]]()
    here.trained_ms, here.prunes = 20.4, True
    found = here.first_within([finalist(1, 19.0)], rejected)
    assert found is not None
    assert found.measured.latency_ms == 19.0
    assert here.tried == ["trained", "pruned"]
    assert rejected == []


def test_without_pruning_the_last_finalist_is_taken_though_it_measures_over_the_budget_once_it_is_trained() -> None:
    here, rejected = selection(None, overshoot=1.0), list[dict[str, Any]]()
    here.trained_ms = 20.4
    found = here.first_within([finalist(1, 19.0), finalist(2, 18.0)], rejected)
    assert found is not None
    assert here.tried == ["trained", "trained"]
    assert rejected == [{"trial": 1, "measured_latency_ms": 20.4}]


@pytest.mark.parametrize(("other_ms", "gives_up"), [(18.0, True), (20.3, False)])
def test_pruning_gives_up_for_want_of_time_only_where_another_finalist_needs_none(
    other_ms: float, gives_up: bool
) -> None:
    here = selection(400.0)
    here.prunes = True
    assert here.first_within([finalist(1, 20.3), finalist(2, other_ms)], []) is not None
    assert here.gives_up == gives_up


@pytest.mark.parametrize(("left_s", "is_late"), [(400.0, False), (91.0, False), (89.0, True)])
def test_pruning_is_late_once_what_is_left_is_needed_for_the_last_training(left_s: float, is_late: bool) -> None:
    here = selection(400.0)
    too_late = here.plans.too_late(finalist(1, 20.3), Plan(30, 10))  # 10 epochs of 7 s and 20 s to close
    here.search.clock.left_s = lambda: left_s
    assert too_late() == is_late
    assert not selection(None).plans.too_late(finalist(1, 20.3), Plan(30, 10))()


class Contested(Scripted):
    """A contest's trainings take 100 s each; that of trial 2 fails."""

    left_s = 0.0
    lengths: tuple[int, ...] = ()

    def _train(self, finalist: Finalist, plan: Plan, **_: Any) -> Any:
        self.lengths = (*self.lengths, plan.first)
        self.left_s -= 100.0
        if finalist.trial.number == 2:
            raise TrainingDiverged("the loss became nan")
        return None, SimpleNamespace(accuracy=0.5 + finalist.trial.number / 100)


def test_a_contest_is_of_equal_lengths_outlives_a_failed_training_and_stands_in_a_later_run() -> None:
    three, order = [finalist(1, 18.0), finalist(2, 18.0), finalist(3, 18.0)], []
    usual = selection(1000.0, by_seconds=True)
    kept = usual.search.study
    for left_s in (1000.0, 30.0):
        here = Contested(usual.search, usual.training, usual.data, Path())
        here.left_s = left_s
        here.search.clock.left_s = partial(getattr, here, "left_s")
        here.search.study, here.training.tunes = kept, True
        here.search.finished = lambda: [one.trial for one in three]
        here.search.sampler = SimpleNamespace(posterior=lambda _: {1: (0.8, 0.1), 2: (0.8, 0.1), 3: (0.8, 0.1)})
        found, contest = here.contested(three)
        order.append([one.trial.number for one in found])
        assert contest is not None
        if left_s == 1000.0:
            assert len(here.lengths) == 3
            assert len(set(here.lengths)) == 1
    assert order == [[3, 1, 2]] * 2


@pytest.mark.parametrize(("left_s", "is_held"), [(200.0, False), (700.0, True)])
def test_from_scratch_a_contest_is_held_only_where_it_tells_more_than_the_candidates_trainings_did(
    left_s: float, is_held: bool
) -> None:
    """Candidates train for 4 epochs: a fifth of 28 epochs is hardly more, of 106 epochs it is 21."""
    two = [finalist(1, 18.0), finalist(2, 18.0)]
    usual = selection(left_s)
    here = Contested(usual.search, usual.training, usual.data, Path())
    here.left_s = left_s
    here.search.clock.left_s = partial(getattr, here, "left_s")
    here.training.tunes = False
    here.search.finished = lambda: [one.trial for one in two]
    here.search.sampler = SimpleNamespace(posterior=lambda _: {1: (0.8, 0.1), 2: (0.79, 0.1)})
    found, contest = here.contested(two)
    assert contest is not None
    assert [row["trial"] for row in contest["tied"]] == [1, 2]
    assert bool(here.lengths) == is_held
    assert [row["contest_accuracy"] is not None for row in contest["tied"]] == [is_held] * 2
    assert [one.trial.number for one in found] == [1, 2]
    assert ("expected to be the best" in contest["decided_by"]) != is_held


def measuring(*found: Measurement) -> Any:
    """A search of as many trials as measurements, the best first."""
    left = iter(found)
    device: Any = SimpleNamespace(is_of=lambda table: True, measure=lambda specs, **_: [next(left) for _ in specs])
    return SimpleNamespace(
        sampler=SimpleNamespace(posterior=lambda _: {}),
        finished=lambda: [trial(number) for number in range(len(found))],
        budget=LatencyBudget(20.0, TABLE, device=device),
        study=study(),
        progress=SimpleNamespace(line=lambda _: None, update=lambda *_: None),
    )


def test_finalists_are_the_best_that_surely_measure_within_the_budget() -> None:
    search = measuring(measurement(21.0), measurement(19.9, high_ms=20.2), measurement(19.0), measurement(22.0))
    finalists, rejected = finalists_within(search, 20.0)
    assert [one.trial.number for one in finalists] == [2]
    assert [row["trial"] for row in rejected] == [0, 1]
    assert search.study.user_attrs["measured_latency_ms"] == {"0": 21.0, "1": 19.9, "2": 19.0, "3": 22.0}


def test_where_none_is_surely_within_the_budget_one_that_measures_within_it_is_a_finalist() -> None:
    search = measuring(*[measurement(21.0)] * 6, measurement(19.9, high_ms=20.2))
    finalists, rejected = finalists_within(search, 20.0)
    assert [one.trial.number for one in finalists] == [6]
    assert [row["trial"] for row in rejected] == [0, 1, 2, 3, 4, 5]


def test_where_no_trained_network_is_within_the_budget_the_nearest_is_named() -> None:
    with pytest.raises(InfeasibleBudget, match=r"none of the 2 trained networks .* trial 1 with 20\.50 ms"):
        finalists_within(measuring(measurement(21.0), measurement(20.5)), 20.0)
    with pytest.raises(InfeasibleBudget, match="no network was trained to its end"):
        finalists_within(measuring(), 20.0)


def test_what_a_noisy_machine_measured_of_a_finalist_is_not_kept() -> None:
    search = measuring(replace(measurement(19.0), noisy=True))
    assert len(finalists_within(search, 20.0)[0]) == 1
    assert search.study.user_attrs.get("measured_latency_ms", {}) == {}
