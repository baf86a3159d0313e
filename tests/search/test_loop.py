"""The search loop, with an instant stand-in for training: what is tried, stored, resumed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

import studies
from search.budget import CostModel, LatencyBudget
from search.candidates import PricedSpace, starting_points
from search.console import Progress
from search.device import Device
from search.latency import Measurement
from search.loop import BUSY_S, Search, measured_before, recover
from search.published import Published
from search.samplers import KINDS
from search.samplers.network_sampler import distributions
from search.session import StudyClock
from search.settings import Settings
from search.training.errors import OutOfMemory, TrainingDiverged
from searchspace import zoo
from searchspace.cost import costs
from searchspace.errors import InfeasibleBudget, PhinasError
from searchspace.graph import Graph, lower
from searchspace.latency.table import SCHEMA, Correction, Identity, LatencyTable, Prediction
from searchspace.spaces.encode import encode
from searchspace.spaces.mnasnet import mnasnet_space
from searchspace.spaces.space import Choices
from searchspace.spaces.universal import universal_space
from searchspace.spec import NetworkSpec
from studies.schema import Status
from studies.storage import open_study
from tests.scripted import ScriptedEstimator, Ticks

pytestmark = pytest.mark.usefixtures("one_thread")
BUDGET_MS = 20.0
SPACE = mnasnet_space(classes=2).with_choices({"*.activation": ("relu",), "*.layers": (1, 2), "*.se": (False,)})
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


PRICED = PricedSpace(SPACE, ByMacs("ms"))  # remembers prices from test to test


class TableByMacs(LatencyTable):
    """Predicts `latency`."""

    def predict(self, network: NetworkSpec | Graph, confidence: float = 0.9) -> Prediction:
        ms = latency(lower(network) if isinstance(network, NetworkSpec) else network)
        return Prediction(ms, *self.interval_ms(ms, confidence), ())

    def estimation_error(self, graph: Graph, latency_ms: float) -> float:
        return 0.01


TABLE = TableByMacs(ELSEWHERE, 1.0, {}, Correction(1.0, 0.0, 1e-9))


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHINAS_STUDIES", str(tmp_path / "studies"))


def make_search(
    settings: Settings,
    estimator: ScriptedEstimator,
    *,
    table: LatencyTable = TABLE,
    device: Device | None = None,
    learnt: Sequence[tuple[float, float]] = (),
    clock: StudyClock | None = None,
    starts: Sequence[Choices] = (),
    published: Sequence[Published] = (),
    priced: PricedSpace = PRICED,
) -> Search:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = open_study("s")
    known, _ = recover(study)
    budget = LatencyBudget(BUDGET_MS, table, confidence=0.5, device=device or Device(), measured=learnt)
    clock = clock or StudyClock(settings.time_limit_s)
    progress = Progress(lambda: None, quiet=True)
    return Search(study, settings, priced, budget, estimator, clock, progress, known, starts, published)


def for_trials(trials: int, *, sampler: str = "random", **more: Any) -> Settings:
    return Settings(budget_ms=BUDGET_MS, trials=trials, sampler=sampler, **more)


def test_no_trial_is_over_the_budget_and_none_is_trained_twice() -> None:
    estimator = ScriptedEstimator()
    make_search(for_trials(9, sampler="block"), estimator).run()
    df = studies.load("s")
    assert len(df) == 9
    assert (df["predicted_latency_ms"] <= BUDGET_MS).all()
    assert df["fingerprint"].nunique() == 9
    assert len(set(estimator.scored)) == len(estimator.scored)


def test_choices_that_hang_on_others_are_searched_within_the_budget_from_a_published_network() -> None:
    spec = zoo.get("mobilenetv4_conv_small", classes=2)
    space = universal_space(classes=2)
    start = encode(space, spec)
    few = {name: values[:1] for name, values in space.parameters().items()} | {n: (v,) for n, v in start.items()}
    kept = ("stage4.block", "stage4b.middle_kernel", "stage4b.layers", "stage6.width_mult", "head.width")
    space = space.with_choices(few | {name: space.parameters()[name][:2] for name in kept} | {"stage4b.layers": (0, 4)})
    estimator = ScriptedEstimator()
    make_search(
        for_trials(9, sampler="block"),
        estimator,
        priced=PricedSpace(space, ByMacs("ms")),
        starts=starting_points(space),
    ).run()
    df = studies.load("s")
    assert estimator.scored[0] == spec.fingerprint()
    assert df["fingerprint"].nunique() == 9
    assert (df["predicted_latency_ms"] <= BUDGET_MS).all()


@pytest.mark.parametrize("sampler", KINDS)
def test_a_space_of_one_network_is_judged_once(sampler: str) -> None:
    one = SPACE.with_choices({name: (value,) for name, value in SPACE.corner("smallest").items()})
    assert one.size() == 1
    estimator = ScriptedEstimator()
    search = make_search(for_trials(3, sampler=sampler), estimator, priced=PricedSpace(one, ByMacs("ms")))
    search.run()
    assert estimator.scored == [one.spec(one.corner("smallest")).fingerprint()]
    assert [trial.user_attrs["status"] for trial in search.finished()] == [Status.TRAINED]


def test_from_the_third_candidate_on_the_sampler_proposes_in_turn_with_published_networks() -> None:
    rng = random.Random(3)
    specs = [SPACE.spec(SPACE.sample(rng)).with_resolution(96) for _ in range(4)]  # no points of the space
    published = [Published(f"network {at}", spec, "parent", True) for at, spec in enumerate(specs)]
    make_search(for_trials(7), ScriptedEstimator(same), published=published).run()
    df = studies.load("s")
    assert [name if isinstance(name, str) else "-" for name in df["network"].astype(object)] == [
        *("network 0", "network 1", "-", "network 2", "-", "network 3", "-")
    ]


class SlowerDevice(Device):
    """A device on which every network takes `factor` times what the table says."""

    def __init__(self, factor: float, *, noisy: bool = False) -> None:
        self.factor, self.noisy = factor, noisy

    def is_of(self, table: LatencyTable) -> bool:
        return True

    def measure(self, specs: Sequence[NetworkSpec], **_: Any) -> list[Measurement]:
        found = [self.factor * latency(lower(spec)) for spec in specs]
        return [
            Measurement(latency_ms=ms, low_ms=ms, high_ms=ms, rounds=9, raw_median_ms=ms, noisy=self.noisy)
            for ms in found
        ]


@pytest.mark.parametrize("factor", [1.06, 0.94])
def test_networks_that_are_the_best_so_far_are_measured_and_later_ones_are_held_to_what_they_teach(
    factor: float,
) -> None:
    table = replace(TABLE, correction=Correction(1.0, 0.0, 0.05))
    search = make_search(for_trials(12), ScriptedEstimator(), table=table, device=SlowerDevice(factor))
    search.run()
    df = studies.load("s")
    measured = df["measured_latency_ms"].dropna()
    best = df["accuracy"].cummax()
    firsts = [place for place in range(len(df)) if place == 0 or best[place] > best[place - 1]]
    assert list(measured.index) == firsts
    assert (measured / df.loc[firsts, "predicted_latency_ms"]).tolist() == pytest.approx([factor] * len(firsts))
    assert abs(search.budget.correction - factor) < abs(1 - factor) / len(firsts)
    assert search.sampler.limit_ms == search.budget.prediction_limit_ms
    assert df["predicted_latency_ms"].iloc[-1] <= search.budget.prediction_limit_ms * 1.001
    # The same study opened again knows what was learnt, but for what was stated at another quiet speed.
    assert measured_before(search.study, PRICED, replace(table, reference_ms=2.0)) == []
    assert measured_before(search.study, PRICED, replace(table, drift=0.1)) == []
    assert measured_before(search.study, PRICED, table) == [
        (row["predicted_latency_ms"], row["measured_latency_ms"], 0.01) for _, row in df.loc[firsts].iterrows()
    ]


def test_what_was_measured_on_a_noisy_machine_teaches_nothing_now_or_later() -> None:
    search = make_search(for_trials(3), ScriptedEstimator(), device=SlowerDevice(1.3, noisy=True))
    before = search.budget.prediction_limit_ms
    search.run()
    assert (len(search.budget.measured), search.budget.prediction_limit_ms) == (0, before)
    assert measured_before(search.study, PRICED, search.budget.table) == []


@pytest.mark.parametrize(("takes_s", "measured"), [(BUSY_S - 1, 3), (BUSY_S + 1, 1)])
def test_where_measuring_takes_long_networks_are_measured_at_the_end_alone(takes_s: float, measured: int) -> None:
    """Seen: 90 s for each network that was the best so far, of nine minutes, on a machine that others hold."""
    now, times = [0.0], list[float]()

    class BusyDevice(SlowerDevice):
        def measure(self, specs: Sequence[NetworkSpec], **more: Any) -> list[Measurement]:
            now[0] += takes_s
            times.append(now[0])
            return super().measure(specs, **more)

    better = iter((0.5, 0.6, 0.7))
    estimator = ScriptedEstimator(lambda spec: next(better))
    clock = StudyClock(None, now=lambda: now[0], began=0.0)
    make_search(for_trials(3), estimator, device=BusyDevice(1.0, noisy=True), clock=clock).run()
    assert len(times) == measured


def test_starting_points_are_the_same_networks_after_the_budget_was_corrected() -> None:
    starts = [SPACE.corner("largest"), *map(SPACE.sample, map(random.Random, range(3)))]
    make_search(for_trials(4, sampler="block"), ScriptedEstimator(), starts=starts).run()
    tried = set(studies.load("s")["fingerprint"])
    again = make_search(
        for_trials(7, sampler="block"), ScriptedEstimator(), starts=starts, table=TABLE, learnt=[(10.0, 10.2)] * 4
    )
    assert again.budget.prediction_limit_ms < BUDGET_MS
    again.run()
    df = studies.load("s")
    assert (len(df), df["fingerprint"].nunique()) == (7, 7)
    assert {PRICED.price(start).fingerprint for start in again.sampler.starts} == tried  # none is shrunk anew


def test_every_trial_stores_what_it_was_and_what_came_of_it() -> None:
    make_search(for_trials(3, seed=7), ScriptedEstimator()).run()
    df = studies.load("s")
    columns = ["fingerprint", "params", "macs", "predicted_latency_ms", "accuracy", "train_s", "seed", "spec"]
    assert df[columns].notna().all().all()
    assert (df["seed"] == 7).all()
    row = df.iloc[0]
    assert row["accuracy"] == pytest.approx(0.5 + row["params"] / 40e6)
    assert row["predicted_latency_ms"] == pytest.approx(row["macs"] / 15e6)
    assert "stage3.kernel" in df.columns


def test_the_same_network_is_not_trained_again_after_a_restart() -> None:
    first, second = ScriptedEstimator(), ScriptedEstimator()
    make_search(for_trials(4), first).run()
    make_search(for_trials(8), second).run()
    assert (first.calls, second.calls) == (4, 4)
    assert not set(first.scored) & set(second.scored)


def same(_: NetworkSpec) -> float:
    """No training falls behind."""
    return 0.9


def test_a_resumed_search_proposes_what_an_undisturbed_one_would(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole, parts = ScriptedEstimator(), ScriptedEstimator()
    make_search(for_trials(10, sampler="block"), whole).run()
    monkeypatch.setenv("PHINAS_STUDIES", str(tmp_path / "other"))
    for trials in (4, 10):
        make_search(for_trials(trials, sampler="block"), parts).run()
    assert parts.scored == whole.scored


@pytest.mark.parametrize("error", [TrainingDiverged("the loss became nan"), OutOfMemory("CUDA"), MemoryError()])
def test_a_failed_training_is_recorded_and_the_study_goes_on(error: Exception) -> None:
    make_search(for_trials(3), ScriptedEstimator(lambda _: 0.9, fail={2: error})).run()
    df = studies.load("s")
    assert list(df["status"]) == [Status.TRAINED, Status.FAILED, Status.TRAINED]
    assert df["error"].iloc[1]


def test_a_bug_is_not_taken_for_a_failed_training() -> None:
    with pytest.raises(RuntimeError, match="shape"):
        make_search(for_trials(4), ScriptedEstimator(fail={1: RuntimeError("shape")})).run()


def test_five_failures_in_a_row_end_the_search_with_the_reason() -> None:
    always = ScriptedEstimator(fail={n: TrainingDiverged("the loss became nan") for n in range(1, 10)})
    with pytest.raises(PhinasError, match="5 trainings in a row failed; the last one: the loss became nan"):
        make_search(for_trials(9), always).run()


def test_an_interrupted_trial_is_run_again_first() -> None:
    first, second = ScriptedEstimator(same, fail={3: KeyboardInterrupt()}), ScriptedEstimator(same)
    with pytest.raises(KeyboardInterrupt):
        make_search(for_trials(4), first).run()
    assert list(studies.load("s")["status"]) == [Status.TRAINED, Status.TRAINED, Status.INTERRUPTED]
    make_search(for_trials(4), second).run()
    assert second.scored[0] == first.scored[2]
    assert list(studies.load("s")["status"]).count(Status.TRAINED) == 4


def test_a_trial_killed_in_the_middle_is_closed_and_run_again_once() -> None:
    search = make_search(for_trials(3), ScriptedEstimator())
    trial = search.study.ask(fixed_distributions=distributions(SPACE))
    candidate = PRICED.price(trial.params)
    search.begin(trial, candidate)  # and then kill -9
    for trials, is_first in ((2, True), (3, False)):
        estimator = ScriptedEstimator()
        make_search(for_trials(trials), estimator).run()
        assert (estimator.scored[0] == candidate.fingerprint) is is_first


def test_a_trial_killed_while_it_was_proposed_was_no_attempt() -> None:
    search = make_search(for_trials(3), ScriptedEstimator())
    search.study.ask(fixed_distributions=distributions(SPACE))  # and then kill -9
    estimator = ScriptedEstimator()
    make_search(for_trials(3), estimator).run()
    assert estimator.calls == 3


def test_a_training_that_falls_behind_is_stopped_early_and_its_partial_results_are_kept() -> None:
    accuracies = iter([0.9, 0.9, 0.9, 0.9, 0.1])
    make_search(for_trials(5), ScriptedEstimator(lambda _: next(accuracies))).run()
    df = studies.load("s")
    assert list(df["status"]) == [Status.TRAINED] * 4 + [Status.STOPPED_EARLY]
    assert df["accuracy"].iloc[4] == pytest.approx(0.1 * df["epochs"].iloc[4] / 4)
    assert df["epochs"].iloc[4] < 4


def test_a_budget_below_the_fastest_network_names_it() -> None:
    fastest = PRICED.fastest()
    with pytest.raises(InfeasibleBudget, match=fastest.fingerprint) as error:
        PRICED.fastest_within(fastest.latency_ms * 0.99)
    assert f"{fastest.latency_ms:.2f} ms" in str(error.value)
    assert PRICED.fastest_within(fastest.latency_ms) == fastest


def test_the_fastest_network_has_no_faster_neighbour() -> None:
    fastest = PRICED.fastest()
    around = [PRICED.price(choices).latency_ms for choices in SPACE.neighbours(fastest.choices)]
    assert min(around) >= fastest.latency_ms


def test_time_that_is_used_up_ends_the_search_but_one_network_is_always_trained() -> None:
    estimator = ScriptedEstimator()
    clock = StudyClock(60.0, spent_before_s=1000.0, now=Ticks())
    make_search(Settings(budget_ms=BUDGET_MS, minutes=1, sampler="random"), estimator, clock=clock).run()
    assert estimator.calls == 1


def test_the_search_takes_two_thirds_of_the_time_and_leaves_the_rest_to_the_winner() -> None:
    now = Ticks()
    estimator = ScriptedEstimator(lambda _: 0.9, seconds_each=10.0, clock=now)
    search = make_search(
        Settings(budget_ms=BUDGET_MS, minutes=2, sampler="random", weights="none"),
        estimator,
        clock=StudyClock(120.0, now=now),
    )
    search.run()
    assert estimator.calls == 8  # of 10 s each, within two thirds of 120 s
    assert search.schedule.left_s() == pytest.approx(40.0)


def test_without_a_time_limit_the_time_left_follows_what_trainings_take() -> None:
    now = Ticks()
    search = make_search(
        for_trials(4), ScriptedEstimator(same, seconds_each=10.0, clock=now), clock=StudyClock(None, now=now)
    )
    assert search.schedule.left_s() is None
    search.run()
    assert search.schedule.left_s() == pytest.approx(40.0)  # four more for the winner
