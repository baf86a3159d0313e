"""Which finalist is crowned: what time is left decides whether one that needs pruning comes first."""

from types import SimpleNamespace
from typing import Any

import pytest

from search.latency import Measurement
from search.winner import Finalist, _in_order, _plan_key


def finalist(number: int, ms: float) -> Finalist:
    attrs = {"fingerprint": str(number), "train_s": 28.0, "epochs": 4}
    trial: Any = SimpleNamespace(number=number, user_attrs=attrs)
    found = Measurement(latency_ms=ms, low_ms=ms, high_ms=ms, rounds=9, raw_median_ms=ms, noisy=False)
    return Finalist(trial, found)


def search(left_s: float | None, *, overshoot: float = 1.15, decided: dict[str, Any] | None = None) -> Any:
    return SimpleNamespace(
        settings=SimpleNamespace(overshoot=overshoot, budget_ms=20.0), recipe=SimpleNamespace(epochs=4),
        meter=SimpleNamespace(held_ms=lambda found: found.latency_ms),
        clock=SimpleNamespace(left_s=lambda: left_s, limit_s=540.0),
        study=SimpleNamespace(user_attrs={"winner_epochs": decided or {}}),
    )  # fmt: skip


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
