"""python -m search.shared: a checkpoint that a search takes; two processes of torchrun are one with the whole batch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from search.deployed import judged_resolution
from search.session import locked
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
    given = ["--data", "digits:60", "--space", str(folder / "space.toml"), "--resolution", "32", "--study", study]
    return [*given, "--proxy-resolution", "32", "--images", "32", *more]


@pytest.mark.slow
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
    assert main(words(tmp_path, "s", "--images", "64")) == 0
    assert "was finished before and is taken as it is" in capsys.readouterr().out


def test_two_at_once_in_one_study_would_overwrite_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with locked(tmp_path / "studies" / "s"):
        assert main(words(tmp_path, "s")) == 2
    assert "another process is searching in" in capsys.readouterr().err
    assert not (tmp_path / "studies" / "s" / "shared.pt").exists()


@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_a_checkpoint_that_is_none_is_refused_in_a_sentence(
    content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "studies" / "s" / "shared.pt"
    path.parent.mkdir(parents=True)
    torch.save({"key": "[1]"}, path)  # of something else that torch can read
    if content is not None:
        path.write_bytes(content)
    assert main(words(tmp_path, "s")) == 2
    assert "must be the checkpoint of a shared network" in capsys.readouterr().err


def test_sizes_are_given_as_to_a_search_and_pixels_must_be_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A search at its own automatic size would refuse the checkpoint of another."""
    assert main(words(tmp_path, "s", "--resolution", "auto")) == 2
    assert "give those that search.run is given" in capsys.readouterr().err
    assert main(words(tmp_path, "s", "--resolution", "32,64")) == 0
    assert "--resolution 32,64" in capsys.readouterr().out


def test_images_from_published_weights_have_their_own_pixels_as_in_a_search() -> None:
    assert judged_resolution(300, 48, (160, 224)) == 224
    assert judged_resolution(100, 48, (224,)) == 100
    assert judged_resolution(28, 48, (224,)) == 48
