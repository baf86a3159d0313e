"""The smallest reference set: its command line, on some digits at 32 px."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.small_search import TOML

BUDGET = 0.665e6
Command = Callable[..., list[str]]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """A small set's command line; the cache stands in the test's own folder."""
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "space.toml").write_text(TOML)

    def flags(*more: str) -> list[str]:
        return [
            *("--reference", str(tmp_path / "set.csv"), "--budget-macs", str(BUDGET), "--data", "digits:60"),
            *("--space", str(tmp_path / "space.toml"), "--resolution", "32", "--images-each", "32"),
            *("--accuracy", "scripted", *more),
        ]

    return flags
