"""python -m search.run for real, on four small networks, a few images and two trials."""

import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import search
import studies
from scaling.compound import main as compound
from search.accuracy import Estimate, register
from search.accuracy.training import ShortTraining
from search.latency.runtimes import runtime
from search.netadapt.__main__ import main as netadapt
from search.run import main
from searchspace.cost import costs, macs
from searchspace.export import main as export
from searchspace.files import read_json
from searchspace.graph import lower
from searchspace.nn import build
from searchspace.spec import NetworkSpec, read_spec
from tests.small_search import RESOLUTION, TOML, flags, space_in

TEST_IMAGES = 36  # of digits:60
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Iterator[Path]:
    """A folder with a cache and studies of its own."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PHINAS_STUDIES", str(folder / "studies"))
        patch.setenv("PHINAS_CACHE", str(folder / "cache"))
        patch.setenv("OMP_NUM_THREADS", "1")  # of processes that are started
        yield folder


def asked(place: Path, *more: str) -> list[str]:
    """The command line of a search on this machine, by a table that says about what it takes."""
    return flags(place, "--trials", "2", *more, identity=runtime(threads=1).identity(RESOLUTION))


def printed_for(capsys: pytest.CaptureFixture[str], command: str) -> list[str]:
    """The arguments of the line that tells to run `command`."""
    line = next(line for line in capsys.readouterr().out.splitlines() if command in line)
    return shlex.split(line)[3:]


@pytest.fixture(scope="module")
def finished(place: Path) -> Path:
    """The folder of a study that has run to its end."""
    assert main(asked(place, "--study", "done")) == 0
    return place / "studies" / "done"


def test_the_winner_is_written_as_spec_and_weights_that_fit_each_other(finished: Path) -> None:
    spec = read_spec(finished / "best.json")
    network = build(spec)
    network.load_state_dict(load_file(finished / "best.safetensors"))
    assert network.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


def test_the_summary_agrees_with_the_spec_and_the_trials(finished: Path) -> None:
    summary = read_json(finished / "summary.json")
    spec, winner = read_spec(finished / "best.json"), summary["winner"]
    cost = costs(lower(spec))
    assert (winner["fingerprint"], winner["params"], winner["macs"]) == (spec.fingerprint(), cost.params, cost.macs)
    assert summary["within_budget"]
    assert winner["measured_latency_ms"] <= 1000
    assert winner["test_low"] <= winner["test_accuracy"] <= winner["test_high"]
    assert (winner["trained_at_px"], winner["tested_at_px"]) == (32, RESOLUTION)
    assert 0 <= winner["accuracy_at_training_px"] <= 1
    df = studies.load("done")
    assert (df["predicted_low_ms"] < df["predicted_latency_ms"]).all()
    assert (df["predicted_latency_ms"] < df["predicted_high_ms"]).all()
    own = df.set_index("trial").loc[winner["trial"]]
    assert own["accuracy"] == pytest.approx(winner["search_accuracy"])
    assert own["status"] == "trained"
    assert df.attrs["settings"]["budget_ms"] == 1000
    assert studies.best("done").spec.fingerprint() == spec.fingerprint()
    assert (finished / "trials.csv").exists()


def test_a_finished_study_is_printed_again_and_not_run_again(
    finished: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished / "best.json").read_bytes()
    began = time.monotonic()
    assert main(asked(place, "--study", "done", "--json")) == 0
    assert json.loads(capsys.readouterr().out) == read_json(finished / "summary.json")
    assert time.monotonic() - began < 5
    assert (finished / "best.json").read_bytes() == before


def test_find_gives_what_the_command_writes(finished: Path, place: Path, tmp_path: Path) -> None:
    table = next(place.glob("eager*.json"))
    found = search.find(
        budget_ms=1000,
        data="digits:60",
        proxy_resolution=32,
        epochs=1,
        trials=2,
        space=place / "space.toml",
        latency=table,
        study="done",
        quiet=True,
    )
    assert found.summary == read_json(finished / "summary.json")
    assert found.spec == read_spec(finished / "best.json")
    assert not found.module.training
    assert found.module(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
    assert found.study.attrs["name"] == "done"
    assert len(found.study) == 2
    saved = found.save(tmp_path / "mine")
    assert {path.name for path in saved.iterdir()} == {
        "best.json",
        "best.safetensors",
        "summary.json",
        "trials.csv",
    }


def test_the_printed_command_prunes_the_winner_whose_printed_command_grows_it(
    finished: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole chain: search, prune, grow, each with the files that the one before wrote."""
    assert main(asked(place, "--study", "done")) == 0
    words = printed_for(capsys, "search.netadapt")
    at = words.index("--budget-ms")
    before = read_spec(finished / "best.json")
    words[at : at + 2] = ["--budget-macs", str(0.85 * macs(before))]  # no device decides what is taken
    at = words.index("--latency")
    del words[at : at + 2]
    quick = "--short-steps 2 --shortlist 2 --validation-images 100 --epochs 1 --step 0.15 --seed 0"
    assert netadapt([*words, *quick.split(), "--proxy-resolution", "16", "--study", "pruned"]) == 0
    grow = printed_for(capsys, "scaling.compound")
    pruned = finished.with_name("pruned")
    assert 0.8 * macs(before) < macs(read_spec(pruned / "best.json")) <= 0.85 * macs(before)
    df = studies.load("pruned")
    assert {"iteration", "move", "where", "accepted", "channels"} <= set(df.columns)
    assert df.groupby("iteration")["accepted"].sum().eq(1).all()
    assert studies.best("pruned").summary["winner"]["test_images"] == TEST_IMAGES
    grow[grow.index("--epochs") + 1] = "1"
    assert compound([*grow, "--proxy-resolution", "16", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["weights"]["trained"]["test_images"] == TEST_IMAGES


def test_the_printed_command_grows_the_winner_and_trains_on_from_its_weights(
    finished: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(asked(place, "--study", "done")) == 0
    words = printed_for(capsys, "scaling.compound")
    words[words.index("--epochs") + 1] = "1"
    assert compound([*words, "--proxy-resolution", "16", "--json"]) == 0
    weights = json.loads(capsys.readouterr().out)["weights"]
    assert weights["difference"] <= 1e-4 or weights["reasons"]
    assert weights["trained"]["test_images"] == TEST_IMAGES
    network = build(read_spec(finished / "grown.json"))
    network.load_state_dict(load_file(finished / "grown.safetensors"))


def test_the_same_seed_gives_the_same_winner_with_the_same_weights(place: Path) -> None:
    """Where nothing is measured: which finalist passes the timing, a seed does not decide."""
    for name in ("one", "two"):
        assert main(flags(place, "--trials", "2", "--study", name)) == 0
    one, two = studies.load("one"), studies.load("two")
    assert list(one["fingerprint"]) == list(two["fingerprint"])
    assert list(one["accuracy"]) == list(two["accuracy"])
    weights = [(place / "studies" / name / "best.safetensors").read_bytes() for name in ("one", "two")]
    assert weights[0] == weights[1]


def test_a_killed_search_goes_on_and_loses_nothing(place: Path) -> None:
    command = [sys.executable, "-m", "search.run", *flags(place, "--trials", "3", "--study", "killed")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        next(line for line in run.stderr if "best so far" in line)
        run.kill()
    before = studies.load("killed")
    assert (before["status"] == "trained").sum() >= 1
    assert main(flags(place, "--trials", "3", "--study", "killed")) == 0
    after = studies.load("killed")
    trained = after[after["status"] == "trained"]
    assert len(trained) == 3
    assert trained["fingerprint"].is_unique
    assert before["accuracy"].iloc[0] == after["accuracy"].iloc[0]


class Interrupted(ShortTraining):
    """A short training; Ctrl-C is pressed in the first step of the second."""

    scores, pressed_at = 0, 0.0

    def score(self, spec: NetworkSpec, **more: Any) -> Estimate:
        self.scores += 1
        return super().score(spec, **more | ({"on_progress": self.press} if self.scores == 2 else {}))

    def press(self, share: float) -> None:
        Interrupted.pressed_at = time.monotonic()
        raise KeyboardInterrupt  # what Python makes of the signal; a real one ends a worker of pytest-xdist


def test_ctrl_c_ends_in_seconds_with_everything_kept(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    register("interrupted")(Interrupted)
    assert main(flags(place, "--trials", "4", "--study", "stopped", "--accuracy", "interrupted")) == 130
    assert time.monotonic() - Interrupted.pressed_at < 15
    rest = capsys.readouterr().err
    assert "everything done so far is kept" in rest
    assert "Traceback" not in rest
    assert list(studies.load("stopped")["status"]) == ["trained", "interrupted"]


def test_baselines_stand_in_one_table_with_the_winner(
    finished: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = asked(place, "--study", "done", "--baselines", "shufflenet_v2,squeezenet1_1")
    summary = read_json(finished / "summary.json")
    (finished / "summary.json").write_text(json.dumps({**summary, "spent_s": 3.0}))
    assert main(command) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "Of 2 published networks within the same budget, trained from scratch for 0.1 minutes each" in out
    assert "paired on the same test images" in out
    assert all(f" {name} " in out for name in ("winner: trial", "shufflenet_v2", "squeezenet1_1"))
    rows = read_json(finished / "summary.json")["baselines"]
    assert [(row["status"], row["width"], row["test_images"]) for row in rows] == [("trained", 1.0, TEST_IMAGES)] * 2
    assert all(row["versus_winner"]["verdict"] in ("better", "tied", "worse") for row in rows)
    assert all(row["train_s"] < 10 for row in rows)
    assert not list(finished.glob("*.ckpt"))
    assert main(command) == 0
    assert "training for" not in capsys.readouterr().err


def test_a_renamed_study_shows_its_own_folder_and_its_printed_command_goes_on(
    finished: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished, finished.with_name("renamed"))
    assert main(asked(place, "--study", "renamed")) == 0
    out = capsys.readouterr().out
    assert "Winner of renamed" in out
    assert f"Written to {finished.with_name('renamed')}/" in out
    printed = next(line for line in out.splitlines() if line.startswith("  python -m search.run"))
    without_minutes = shlex.split(printed)[3:-2]
    assert main([*without_minutes, "--trials", "2"]) == 0


def test_a_finished_study_whose_space_file_is_no_longer_one_is_refused(
    finished: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = asked(place, "--study", "done")
    try:
        (place / "space.toml").write_text("nonsense")
        assert main(words) == 2
        assert "must be a TOML file" in capsys.readouterr().err
    finally:
        space_in(place, TOML)


def test_a_search_for_onnxruntime_measures_there_and_its_winner_is_exported(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    identity = runtime("onnxruntime", threads=1).identity(RESOLUTION)
    assert main(flags(place, "--trials", "1", "--study", "ort", identity=identity)) == 0
    assert "onnxruntime, 1 thread: within the budget" in " ".join(capsys.readouterr().out.split())
    folder = place / "studies" / "ort"
    assert export([str(folder / "best.json"), "--resolution", "32"]) == 0
    assert "pixel - 127.5" in capsys.readouterr().out
    session = onnxruntime.InferenceSession(folder / "best.onnx", providers=["CPUExecutionProvider"])
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == list("0123456789")
