"""What stays on disk of a pruning, what a version before wrote, what is said of damage."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from search.data import Dataset
from search.netadapt.history import History, StoredHistory
from search.netadapt.records import Part
from search.netadapt.timing import Timing
from searchspace.cost import macs
from searchspace.errors import StudyMismatch
from searchspace.files import read_json
from tests.search.netadapt.scripted import ScriptedTimer, pruner, tiny

pytestmark = pytest.mark.usefixtures("one_thread")
VERSION_1 = Path(__file__).parent / "version_1"  # a pruning of `tiny()` that was cut off in iteration 2, by schema 1


def test_without_keep_all_only_the_weights_that_are_needed_stay(images: Dataset, tmp_path: Path) -> None:
    job, history = pruner(images, tmp_path, 0.7 * macs(tiny()), keep_all=False)
    job.run()
    last = history.iterations[-1].number
    assert last > 1
    assert [path.stem for path in tmp_path.rglob("*.safetensors")] == [f"{last:03d}"]


def test_one_that_goes_on_without_keep_all_keeps_the_networks_that_it_has(images: Dataset, tmp_path: Path) -> None:
    pruner(images, tmp_path, 0.8 * macs(tiny()))[0].run()
    before = {path.name for path in tmp_path.rglob("*.safetensors")}
    assert len(before) > 2
    job, history = pruner(images, tmp_path, 0.6 * macs(tiny()), keep_all=False)
    job.run()
    after = {path.name for path in tmp_path.rglob("*.safetensors")}
    assert before - after <= {max(before)}
    assert f"{len(history.iterations) - 1:03d}.safetensors" in after


def test_in_memory_the_networks_that_met_a_budget_and_the_last_one_stay(images: Dataset) -> None:
    job, history = pruner(images, History(), 0.8 * macs(tiny()))
    job.run()
    last = history.iterations[-1]
    assert history.snapshot(0.8 * macs(tiny())) == last
    assert history.network(last.number).spec == last.spec
    with pytest.raises(KeyError):
        history.network(0)


@pytest.mark.parametrize("name", ["000.safetensors", "000.iteration.json"])
def test_a_damaged_file_is_named_with_how_to_begin_anew(name: str, images: Dataset, tmp_path: Path) -> None:
    pruner(images, tmp_path, 1.0 * macs(tiny()))[0].run()
    (tmp_path / "iterations" / name).write_text("{'")
    with pytest.raises(StudyMismatch, match=rf"{name} is missing or damaged .*--fresh"):
        StoredHistory(tmp_path, keep_all=True).network(0)


def test_a_record_of_a_later_version_is_refused_with_what_to_do(images: Dataset, tmp_path: Path) -> None:
    pruner(images, tmp_path, 1.0 * macs(tiny()))[0].run()
    path = tmp_path / "iterations" / "000.iteration.json"
    path.write_text(json.dumps(read_json(path) | {"schema": 3}))
    with pytest.raises(StudyMismatch, match=r"later version .*schema 3, this one reads up to 2.* with that version"):
        StoredHistory(tmp_path, keep_all=True)


def test_a_pruning_that_schema_1_left_half_done_opens_and_goes_on(images: Dataset, tmp_path: Path) -> None:
    """With what was trained in the iteration that was cut off."""
    shutil.copytree(VERSION_1, tmp_path / "iterations")
    found = StoredHistory(tmp_path, keep_all=True)
    begun, first = found.iterations
    assert begun.spec == tiny()
    assert first.accepted is not None
    assert first.accepted.accuracy == first.accuracy
    assert first.accepted.timing is not None
    assert found.network(1).fingerprint == first.accepted.fingerprint
    (trained,) = found.part().trained.values()
    assert trained
    job, history = pruner(images, tmp_path, 0.8 * macs(tiny()) / 1e3, timer=ScriptedTimer())
    job.run()
    second = history.iterations[2]
    known = {row.name: row.accuracy for row in second.proposals if row.name in trained and not row.accepted}
    assert known == {name: trained[name]["accuracy"] for name in known}
    assert json.loads((tmp_path / "iterations" / "002.iteration.json").read_text())["schema"] == 2


def test_a_part_is_read_as_it_was_written_and_anew_where_it_cannot_be_read(tmp_path: Path) -> None:
    history = StoredHistory(tmp_path, keep_all=True)
    part = Part(0, {"0.5": {"a to 8 channels": {"accuracy": 0.5, "seconds": 1.0, "diverged": False}}})
    part.timings["a b"] = Timing(2.0, 1.0, 0.5, 0.4, 0.6, 12)
    history.keep(part)
    assert history.part() == part
    (tmp_path / "iterations" / "part.json").write_text("{'")
    assert history.part() == Part(0)


def test_an_iteration_is_written_with_the_weights_it_names(images: Dataset, tmp_path: Path) -> None:
    job, history = pruner(images, tmp_path, 0.85 * macs(tiny()))
    job.run()
    again = StoredHistory(tmp_path, keep_all=True)
    assert again.iterations == history.iterations
    for one in again.iterations:
        network = again.network(one.number)
        assert network.spec == one.spec
        assert all(torch.isfinite(tensor).all() for tensor in network.module.state_dict().values())
