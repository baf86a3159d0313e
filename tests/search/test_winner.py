"""Which finalist is crowned: what time is left decides whether one that needs pruning comes first."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search.budget import LatencyBudget
from search.latency import Measurement
from search.winner import Finalist, _first_within, _in_order, _plan, _plan_key
from searchspace.latency.table import SCHEMA, Correction, Identity, LatencyTable

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


def finalist(number: int, ms: float) -> Finalist:
    attrs = {"fingerprint": str(number), "train_s": 28.0, "epochs": 4}
    trial: Any = SimpleNamespace(number=number, user_attrs=attrs)
    found = Measurement(latency_ms=ms, low_ms=ms, high_ms=ms, rounds=9, raw_median_ms=ms, noisy=False)
    return Finalist(trial, found)


def measured_budget() -> LatencyBudget:
    device: Any = SimpleNamespace(is_of=lambda table: True)
    return LatencyBudget(20.0, LatencyTable(IDENTITY, 1.0, {}, Correction(1.0, 0.0, 0.02)), device=device)


def search(left_s: float | None, *, overshoot: float = 1.15, decided: dict[str, Any] | None = None) -> Any:
    return SimpleNamespace(
        settings=SimpleNamespace(overshoot=overshoot, budget_ms=20.0),
        recipe=SimpleNamespace(epochs=4),
        budget=SimpleNamespace(times_over=lambda found: found.latency_ms / 20.0),
        clock=SimpleNamespace(left_s=lambda: left_s, limit_s=540.0),
        study=SimpleNamespace(user_attrs={"winner_epochs": decided or {}}),
    )


@pytest.mark.parametrize(("left_s", "first"), [(80.0, 2), (400.0, 1), (None, 1)])
def test_a_network_over_the_budget_comes_first_only_where_there_is_time_to_prune_and_train_it(
    left_s: float | None, first: int
) -> None:
    three = [finalist(1, 20.3), finalist(2, 18.0), finalist(3, 21.0)]
    order = [each.trial.number for each in _in_order(search(left_s), three)]
    assert order == ([1, 2, 3] if first == 1 else [2, 1, 3])


def test_what_an_interrupted_run_had_begun_to_train_stays_first() -> None:
    three = [finalist(1, 20.3), finalist(2, 18.0)]
    begun = _plan_key(search(80.0), three[0].trial)
    assert _in_order(search(80.0, decided={begun: [5, 2]}), three) == three
    assert _in_order(search(80.0, overshoot=1.0), three) == three


@pytest.mark.parametrize(
    ("ms", "high_ms", "last"), [(19.6, 20.2, 0), (19.8, 20.4, 1), (19.9, 19.99, 0), (20.3, 21.0, 1)]
)
def test_a_network_that_another_measurement_may_find_over_the_budget_is_pruned(
    ms: float, high_ms: float, last: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Measurement(latency_ms=ms, low_ms=ms, high_ms=high_ms, rounds=9, raw_median_ms=ms, noisy=False)
    here = search(None)
    here.budget = measured_budget()
    here.study.set_user_attr = here.study.user_attrs.__setitem__
    plan = _plan(here, finalist(1, ms).trial, found)
    assert bool(plan.last) == bool(last)
    assert here.budget.within(found) == (ms <= 20.0)  # what is said of one that is trained


@pytest.mark.parametrize(("ms", "taken"), [(19.9, True), (20.3, False)])
def test_a_network_within_the_budget_that_cannot_be_pruned_is_taken_as_it_is(
    ms: float, taken: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    one = finalist(1, ms)
    here = search(None)
    here.budget = measured_budget()
    here.study.set_user_attr = here.study.user_attrs.__setitem__
    here.progress = SimpleNamespace(line=lambda _: None)
    tried: list[str] = []
    trained: Any = SimpleNamespace(measured=one.found, refined=None)
    monkeypatch.setattr("search.winner._pruned", lambda *_: tried.append("pruned"))
    monkeypatch.setattr("search.winner._trained", lambda *_: tried.append("trained") or trained)
    rejected: list[dict[str, Any]] = []
    found = _first_within(here, tmp_path, [one._replace(found=replace(one.found, high_ms=1.03 * ms))], rejected)
    assert found is (trained if taken else None)
    assert tried == (["pruned", "trained"] if taken else ["pruned"])
    assert len(rejected) == (0 if taken else 1)
