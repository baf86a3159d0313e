"""Storages of studies compared, in short: each takes trials and gives them back."""

from pathlib import Path

import pytest

from tests.benchmarks.study_storage import STORAGES, alone


@pytest.mark.parametrize("kind", STORAGES)
def test_every_storage_takes_trials_and_gives_them_back(kind: str, tmp_path: Path) -> None:
    a_trial_s, read_s = alone(kind, tmp_path, 2)
    assert a_trial_s > 0
    assert read_s > 0
