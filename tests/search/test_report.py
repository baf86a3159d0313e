"""What a search says of its winner's latency: predicted, measured, and whether the promise held."""

from typing import Any

import pytest

from search.report import latency_rows


def summary(**winner: Any) -> dict[str, Any]:
    own = {
        "predicted_latency_ms": 14.26,
        "predicted_low_ms": 13.74,
        "predicted_high_ms": 14.83,
        "measured_latency_ms": 14.74,
        "measured_low_ms": 14.5,
        "measured_high_ms": 15.0,
        "noisy": False,
        "as_predicted": True,
        "estimated_layers": 0,
        **winner,
    }
    return {
        "winner": own,
        "budget_ms": 20.0,
        "within_budget": (own["measured_latency_ms"] or 14.26) <= 20,
        "resolution": 224,
        "settings": {"runtime": "eager"},
        "threads": 2,
        "correction": {"factor": 1.021, "networks": 4},
    }


def test_what_was_predicted_and_measured_is_told_and_that_the_promise_held() -> None:
    (_, measured), (_, predicted) = latency_rows(summary())
    assert (
        "measured 14.74 ms (14.50 to 15.00) at 224 px, eager torch, 2 threads: within the budget of 20 ms" in measured
    )
    assert "predicted 14.26 ms (13.74 to 14.83 in 9 of 10 networks): as predicted" in predicted
    assert "corrected by +2.1% after 4 measured" in predicted


@pytest.mark.parametrize(
    ("winner", "told"),
    [
        ({"measured_latency_ms": 20.4}, "NOT within the budget of 20 ms"),
        ({"as_predicted": False}, "outside the prediction"),
        ({"noisy": True}, "the machine was noisy"),
        ({"measured_latency_ms": None}, "not measured: the table is of another device or setting"),
        ({"measured_latency_ms": None, "estimated_layers": 3}, "in 9 of 10 networks, 3 of its layers estimated)"),
    ],
)
def test_a_promise_that_did_not_hold_or_is_weaker_is_told(winner: dict[str, Any], told: str) -> None:
    assert told in str(latency_rows(summary(**winner)))
    assert told not in str(latency_rows(summary()))
