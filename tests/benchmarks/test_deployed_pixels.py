"""The short version of the study of the deployed size."""

import json
from pathlib import Path

import pytest

from tests.benchmarks import deployed_pixels


def test_every_stage_is_told_and_nothing_worse_is_kept(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "R.json"
    flags = ["--data", "digits:60,missing.tar", "--width", "0.25", "--trained-at", "32", "--pixels", "64"]
    assert deployed_pixels.main([*flags, "--epochs", "1", "--seconds", "1", "--json", str(path)]) in (0, 1)
    assert "digits:60, validation at 64 px: as trained" in capsys.readouterr().out
    (row,) = json.loads(path.read_text())["rows"].values()
    accuracies = {stage["name"]: stage["accuracy"] for stage in row["stages"]}
    assert accuracies[row["kept"]] == max(accuracies.values())
