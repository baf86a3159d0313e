"""Benchmarks run small here: on one thread, with a cache of their own."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def small_and_apart(one_thread: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path / "cache"))
