"""python -m search.shared: a checkpoint that a search takes; two processes of torchrun are one with the whole batch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from search.shared import main
from tests.search.weight_sharing import two_processes
from tests.small_search import space_in, table_of

pytestmark = pytest.mark.usefixtures("one_thread")

ROOT = Path(__file__).parents[2]
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHINAS_STUDIES", str(tmp_path / "studies"))
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path / "cache"))


def words(folder: Path, study: str, *more: str) -> list[str]:
    (folder / "table.json").write_text(table_of(space_in(folder)).to_json())
    given = ["--data", "digits:60", "--space", str(folder / "space.toml"), "--resolution", "64", "--study", study]
    return [*given, "--proxy-resolution", "32", "--images", "32", *more]


def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    """In four steps: single precision lets the two drift apart later, as it would any two machines."""
    script = Path(two_processes.__file__)
    command = [sys.executable, *TORCHRUN, str(script), str(tmp_path / "two.pt")]
    here = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | here)
    assert done.returncode == 0, done.stderr
    one, two = two_processes.trained(), torch.load(tmp_path / "two.pt", weights_only=True)
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert torch.allclose(value, two[name], rtol=1e-4, atol=1e-4), name


def test_a_budget_needs_its_table_and_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(tmp_path, "s", "--budget-ms", "1000")) == 2
    assert "belong together" in capsys.readouterr().err
    table = ("--latency", str(tmp_path / "table.json"))
    assert main(words(tmp_path, "s", "--budget-ms", "0.0001", *table)) == 2
    assert "needs its smallest network within the budget" in capsys.readouterr().err
    assert main(words(tmp_path, "s", "--budget-ms", "1000", *table)) == 0
    assert "search.run --accuracy shared --study s" in capsys.readouterr().out
