"""The search loop, with an instant stand-in for training: what is tried, stored, resumed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch

import search.loop as loop
import studies
from search.budget import CostModel, LatencyBudget
from search.candidates import PricedSpace
from search.console import Progress
from search.data import Dataset, Split
from search.latency import Measurement
from search.loop import Clock, Search, make_pruner, make_sampler, measured_before, recover
from search.samplers.budget_sampler import BudgetSampler
from search.settings import Settings
from search.training.trainer import Outcome, Recipe, TrainingDiverged
from searchspace.cost import costs
from searchspace.errors import InfeasibleBudget, PhinasError
from searchspace.graph import Graph, lower
from searchspace.latency.table import SCHEMA, Correction, Identity, LatencyTable, Prediction
from searchspace.spaces.mnasnet import KNOWN, mnasnet_space
from searchspace.spec import NetworkSpec
from studies.schema import Status
from studies.storage import open_study

BUDGET_MS = 20.0
RECIPE = Recipe(epochs=4)
ELSEWHERE = Identity(
    schema=SCHEMA,
    machine="abacus x2",
    runtime="beads",
    threads=2,
    dtype="float32",
    batch=1,
    memory_format="channels_last",
    resolution=224,
    versions={},
)


def latency(graph: Graph) -> float:
    """A latency of 15 G MACs/s, as if MACs were all."""
    return costs(graph).macs / 15e6


class ByMacs(CostModel):
    """Prices that are `latency`."""

    def cost(self, graph: Graph) -> float:
        return latency(graph)


def accuracy_of(params: int) -> float:
    """More parameters, more accuracy: an instant landscape."""
    return 0.5 + params / 40e6


class FakeTraining:
    """Stands in for search.training.trainer.train; `fail` says what the n-th call (from 1) raises."""

    def __init__(self, fail: dict[int, BaseException] | None = None) -> None:
        self.fail = fail or {}
        self.calls = 0
        self.networks: list[str] = []

    def __call__(self, module: Any, *, recipe: Recipe, on_epoch: Callable[[int, float], None], **_: Any) -> Outcome:
        self.calls += 1
        self.networks.append(module.spec.fingerprint())
        if self.calls in self.fail:
            raise self.fail[self.calls]
        accuracy = accuracy_of(sum(p.numel() for p in module.parameters()))
        history = tuple(accuracy * (epoch + 1) / recipe.epochs for epoch in range(recipe.epochs))
        for epoch, value in enumerate(history, 1):
            on_epoch(epoch, value)
        return Outcome(accuracy=accuracy, history=history, seconds=1.0, epochs=recipe.epochs)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHINAS_STUDIES", str(tmp_path / "studies"))


def dataset() -> Dataset:
    split = Split(np.zeros((4, 32, 32, 3), np.uint8), np.array([0, 1, 0, 1]))
    return Dataset(
        name="none",
        classes=("a", "b"),
        resolution=32,
        train=split,
        validation=split,
        fingerprint="f",
        skipped=(),
        notes=(),
        _test=split,
    )


class Told(LatencyTable):
    """Predicts what the priced of these tests says."""

    def predict(self, network: NetworkSpec | Graph, confidence: float = 0.9) -> Prediction:
        ms = latency(lower(network) if isinstance(network, NetworkSpec) else network)
        return Prediction(ms, *self.interval_ms(ms, confidence), ())


def make_search(
    settings: Settings, training: FakeTraining, monkeypatch: pytest.MonkeyPatch, *, budget_ms: float = BUDGET_MS
) -> Search:
    monkeypatch.setattr(loop, "train", training)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = open_study("s")
    priced = PricedSpace(mnasnet_space(classes=2), ByMacs("ms"))
    known, _ = recover(study)
    study.pruner = make_pruner(RECIPE)
    progress = Progress(lambda: None, quiet=True)
    clock = Clock(settings.time_limit_s)
    table = Told(ELSEWHERE, 1.0, {}, Correction(1.0, 0.0, 1e-9))
    budget = LatencyBudget(budget_ms, table, confidence=0.5)
    study.sampler = make_sampler(settings, priced, budget, known, [])
    return Search(study, settings, priced, dataset(), RECIPE, budget, clock, progress, known)


def test_no_trial_is_over_the_budget_and_none_is_trained_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    training = FakeTraining()
    make_search(Settings(budget_ms=BUDGET_MS, trials=12), training, monkeypatch).run()
    df = studies.load("s")
    assert len(df) == 12
    assert (df["predicted_latency_ms"] <= BUDGET_MS).all()
    assert df["fingerprint"].nunique() == 12
    assert len(set(training.networks)) == len(training.networks)


class Slower:
    """A device on which every network takes `factor` times what the table says."""

    def __init__(self, factor: float, *, noisy: bool = False) -> None:
        self.factor, self.noisy = factor, noisy

    def is_of(self, table: LatencyTable) -> bool:
        return True

    def measure_modules(self, modules: Any, specs: Sequence[NetworkSpec], **_: Any) -> list[Measurement]:
        return self.measure(specs)

    def measure(self, specs: Sequence[NetworkSpec], **_: Any) -> list[Measurement]:
        found = [self.factor * latency(lower(spec)) for spec in specs]
        return [
            Measurement(latency_ms=ms, low_ms=ms, high_ms=ms, rounds=9, raw_median_ms=ms, noisy=self.noisy)
            for ms in found
        ]


@pytest.mark.parametrize("factor", [1.06, 0.94])
def test_networks_that_are_the_best_so_far_are_measured_and_later_ones_are_held_to_what_they_teach(
    factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = make_search(Settings(budget_ms=BUDGET_MS, trials=16), FakeTraining(), monkeypatch)
    table = replace(search.budget.table, correction=Correction(1.0, 0.0, 0.05))
    search.budget = LatencyBudget(BUDGET_MS, table, confidence=0.5, device=Slower(factor))
    search.run()
    df = studies.load("s")
    measured = df["measured_latency_ms"].dropna()
    best = df["accuracy"].cummax()
    firsts = [place for place in range(len(df)) if place == 0 or best[place] > best[place - 1]]
    assert list(measured.index) == firsts
    assert (measured / df.loc[firsts, "predicted_latency_ms"]).tolist() == pytest.approx([factor] * len(firsts))
    assert abs(search.budget.correction - factor) < abs(1 - factor) / len(firsts)
    assert isinstance(search.study.sampler, BudgetSampler)
    assert search.study.sampler.limit_ms == search.budget.prediction_limit_ms
    assert df["predicted_latency_ms"].iloc[-1] <= search.budget.prediction_limit_ms * 1.001
    # The same study opened again knows what was learnt, but for what was stated at another quiet speed.
    assert measured_before(search.study, search.priced, replace(table, reference_ms=2.0)) == []
    assert measured_before(search.study, search.priced, replace(table, drift=0.1)) == []
    assert measured_before(search.study, search.priced, search.budget.table) == [
        (row["predicted_latency_ms"], row["measured_latency_ms"]) for _, row in df.loc[firsts].iterrows()
    ]


def test_what_was_measured_on_a_noisy_machine_teaches_nothing_now_or_later(monkeypatch: pytest.MonkeyPatch) -> None:
    search = make_search(Settings(budget_ms=BUDGET_MS, trials=4), FakeTraining(), monkeypatch)
    search.budget = LatencyBudget(BUDGET_MS, search.budget.table, confidence=0.5, device=Slower(1.3, noisy=True))
    before = search.budget.prediction_limit_ms
    search.run()
    assert (search.budget.learnt_from, search.budget.prediction_limit_ms) == (0, before)
    assert measured_before(search.study, search.priced, search.budget.table) == []


def test_starting_points_are_the_same_networks_after_the_budget_was_corrected(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(budget_ms=BUDGET_MS, trials=6)
    starts = [mnasnet_space(classes=2).corner("largest"), *KNOWN.values()]
    first = make_search(settings, FakeTraining(), monkeypatch)
    budget = LatencyBudget(BUDGET_MS, first.budget.table, confidence=0.5)
    first.study.sampler = make_sampler(settings, first.priced, budget, first.fingerprints, starts)
    first.run()
    tried = set(studies.load("s")["fingerprint"])
    again = make_search(replace(settings, trials=12), FakeTraining(), monkeypatch)
    for _ in range(4):
        budget.learn(10.0, 10.2)
    again.study.sampler = make_sampler(settings, again.priced, budget, again.fingerprints, starts)
    assert budget.prediction_limit_ms <= BUDGET_MS
    again.run()
    df = studies.load("s")
    assert len(df) == 12
    assert df["fingerprint"].nunique() == 12
    sampler = again.study.sampler
    assert isinstance(sampler, BudgetSampler)
    points = {start.fingerprint for start in sampler._starts}
    assert len(points) == len(starts)
    assert points <= tried | set(df["fingerprint"])
    assert points <= tried  # none is shrunk anew


def test_every_trial_stores_what_it_was_and_what_came_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    make_search(Settings(budget_ms=BUDGET_MS, trials=3, seed=7), FakeTraining(), monkeypatch).run()
    df = studies.load("s")
    columns = ["fingerprint", "params", "macs", "predicted_latency_ms", "accuracy", "train_s", "seed", "spec"]
    assert df[columns].notna().all().all()
    assert (df["seed"] == 7).all()
    row = df.iloc[0]
    assert row["accuracy"] == pytest.approx(accuracy_of(int(row["params"])))
    assert row["predicted_latency_ms"] == pytest.approx(row["macs"] / 15e6)
    assert "stage3.kernel" in df.columns


def test_the_same_network_is_not_trained_again_after_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = FakeTraining(), FakeTraining()
    make_search(Settings(budget_ms=BUDGET_MS, trials=5), first, monkeypatch).run()
    make_search(Settings(budget_ms=BUDGET_MS, trials=10), second, monkeypatch).run()
    assert (first.calls, second.calls) == (5, 5)
    assert not set(first.networks) & set(second.networks)


def test_a_resumed_search_proposes_what_an_undisturbed_one_would(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = FakeTraining()
    make_search(Settings(budget_ms=BUDGET_MS, trials=14), whole, monkeypatch).run()
    monkeypatch.setenv("PHINAS_STUDIES", str(tmp_path / "other"))
    parts = FakeTraining()
    for trials in (6, 14):
        make_search(Settings(budget_ms=BUDGET_MS, trials=trials), parts, monkeypatch).run()
    assert parts.networks == whole.networks


@pytest.mark.parametrize(
    "error",
    [TrainingDiverged("the loss became nan in epoch 1"), MemoryError(), torch.OutOfMemoryError("CUDA out of memory")],
)
def test_a_failed_training_is_recorded_and_the_study_goes_on(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    make_search(Settings(budget_ms=BUDGET_MS, trials=4), FakeTraining({2: error}), monkeypatch).run()
    df = studies.load("s")
    assert list(df["status"]) == [Status.TRAINED, Status.FAILED, Status.TRAINED, Status.TRAINED]
    assert df["error"].iloc[1]


def test_a_bug_is_not_taken_for_a_failed_training(monkeypatch: pytest.MonkeyPatch) -> None:
    search = make_search(Settings(budget_ms=BUDGET_MS, trials=4), FakeTraining({1: RuntimeError("shape")}), monkeypatch)
    with pytest.raises(RuntimeError, match="shape"):
        search.run()


def test_five_failures_in_a_row_end_the_search_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    always = FakeTraining({n: TrainingDiverged("the loss became nan") for n in range(1, 10)})
    with pytest.raises(PhinasError, match="5 trainings in a row failed; the last one: the loss became nan"):
        make_search(Settings(budget_ms=BUDGET_MS, trials=9), always, monkeypatch).run()


def test_an_interrupted_trial_is_run_again_first(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = FakeTraining({3: KeyboardInterrupt()}), FakeTraining()
    settings = Settings(budget_ms=BUDGET_MS, trials=4)
    with pytest.raises(KeyboardInterrupt):
        make_search(settings, first, monkeypatch).run()
    assert list(studies.load("s")["status"]) == [Status.TRAINED, Status.TRAINED, Status.INTERRUPTED]
    make_search(settings, second, monkeypatch).run()
    assert second.networks[0] == first.networks[2]
    assert list(studies.load("s")["status"]).count(Status.TRAINED) == 4


def test_a_trial_killed_in_the_middle_is_closed_and_run_again_once(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(budget_ms=BUDGET_MS, trials=3)
    search = make_search(settings, FakeTraining(), monkeypatch)
    trial = search.study.ask(fixed_distributions=loop.distributions(search.priced.space))
    candidate = search.priced.price(trial.params)
    search._describe(trial, candidate)  # and then kill -9
    for expected_first in (True, False):
        training = FakeTraining()
        trials = 2 if expected_first else 3
        make_search(Settings(budget_ms=BUDGET_MS, trials=trials), training, monkeypatch).run()
        assert (training.networks[0] == candidate.fingerprint) is expected_first


def test_a_budget_below_the_fastest_network_names_it() -> None:
    priced = PricedSpace(mnasnet_space(), ByMacs("ms"))
    fastest = priced.fastest()
    with pytest.raises(InfeasibleBudget, match=fastest.fingerprint) as error:
        priced.fastest_within(fastest.latency_ms * 0.99)
    assert f"{fastest.latency_ms:.2f} ms" in str(error.value)
    assert priced.fastest_within(fastest.latency_ms) == fastest


def test_the_fastest_network_has_no_faster_neighbour() -> None:
    priced = PricedSpace(mnasnet_space(), ByMacs("ms"))
    fastest = priced.fastest()
    around = [priced.price(choices).latency_ms for choices in priced.space.neighbours(fastest.choices)]
    assert min(around) >= fastest.latency_ms


def test_time_that_is_used_up_ends_the_search_but_one_network_is_always_trained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    training = FakeTraining()
    search = make_search(Settings(budget_ms=BUDGET_MS, minutes=1), training, monkeypatch)
    search.clock = Clock(60.0, spent_before_s=1000.0)
    search.run()
    assert training.calls == 1
