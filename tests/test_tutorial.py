"""The tutorial runs, on the smallest search."""

from pathlib import Path

import pytest

from tests.small_search import flags
from tests.tutorial import tutorial


@pytest.mark.usefixtures("one_thread")
def test_the_tutorial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PHINAS_STUDIES", str(tmp_path / "studies"))
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path / "cache"))
    words = flags(tmp_path)
    space, latency = words[words.index("--space") + 1], words[words.index("--latency") + 1]
    find = {"budget_ms": 1000, "epochs": 1, "trials": 1, "overshoot": 1.0, "space": space, "latency": latency}
    prune = {"epochs": 1, "step": 0.25, "short_steps": 1, "shortlist": 1, "validation_images": 20}
    accuracy = tutorial("digits:60", 32, find, prune)
    assert 0 <= accuracy <= 1
    told = capsys.readouterr().out
    assert "Winner of tutorial" in told
    assert "predicted_latency_ms" in told
    assert "M MACs, grown to" in told
