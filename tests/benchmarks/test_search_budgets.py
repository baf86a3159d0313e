"""One study for several budgets beside a study for each: what is run, kept and reported."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.benchmarks.search_budgets import main


def test_each_run_is_made_once_and_pairs_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[dict[str, Any]] = []

    def found(budget: float, test: float) -> SimpleNamespace:
        winner: dict[str, Any] = {"test_accuracy": test, "validation_accuracy": test, "measured_latency_ms": budget}
        winner |= {"network": None, "trial": 1}
        summary = {"winner": winner, "budget_ms": budget, "within_budget": True, "spent_s": 60.0}
        return SimpleNamespace(summary=summary, front=[])

    def find(**how: Any) -> SimpleNamespace:
        asked.append(how)
        if "budget_ms" in how:
            return found(how["budget_ms"], 0.8)
        every = found(10, 0.9)
        every.front = [found(ms, 0.9) for ms in how["budgets_ms"]]
        return every

    monkeypatch.setattr("search.find", find)
    kept = str(tmp_path / "kept.json")
    words = ["--data", "digits", "--budgets", "10,5", "--seeds", "0,1", "--minutes", "6", "--json", kept]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert [each["minutes"] for each in asked] == [6, 3, 3] * 2  # a study for one has its share
    assert len({each["study"] for each in asked}) == 6
    assert "in the mean +10.00 ± 0.00 points: target reached" in printed
    assert main(words) == 0
    assert len(asked) == 6
    assert main([*words, "--times", "2"]) == 2  # a file of other settings
