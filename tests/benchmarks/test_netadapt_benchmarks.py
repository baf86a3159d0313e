"""The short versions of the studies of pruning."""

import json
import subprocess
from pathlib import Path

import pytest
import torch

from search.latency.measurement import Measurement
from search.latency.runtimes.eager import Eager
from search.netadapt.history import StoredHistory
from search.netadapt.records import Iteration, ProposalRecord
from search.netadapt.specs import PrunableSpec
from search.netadapt.timing import Subject, Timing
from search.run import parser as search_parser
from searchspace import zoo
from searchspace.latency.table import Correction, LatencyTable
from searchspace.nn import build
from tests.benchmarks import netadapt_last_stage, netadapt_resume, netadapt_retest, netadapt_screening


@pytest.mark.slow
def test_a_killed_pruning_loses_nothing_and_ends_as_an_undisturbed_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert netadapt_resume.main(["--unit", "macs", "--share", "0.9", "--kills", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["kills"], found["files_that_changed"], found["runs_that_ended_otherwise"]) == (1, 0, 0)
    assert found["iterations"] > 1


def test_proposals_evaluated_together_have_the_accuracies_of_each_alone(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--network", "squeezenet1_1", "--pixels", "32", "--images", "25", "--repeats", "1", "--json"]
    assert netadapt_screening.main(flags) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["proposals"] == 17
    assert found["largest_gap_of_accuracies"] <= 0.04  # one image of 25: rounding may turn it


@pytest.mark.parametrize("more", [[], ["--together"]])
def test_the_stage_is_compared_by_searches_that_differ_in_nothing_else(
    more: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands: list[list[str]] = []

    def run(words: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(words[2:])
        if words[2] == "search.run":
            search_parser().parse_args(words[3:])
        with_stage = "1.15" in words
        winner = {"test_accuracy": 0.9 + 0.01 * with_stage, "validation_accuracy": 0.9, "measured_latency_ms": 18.0}
        summary = {
            "winner": winner,
            "budget_ms": 20.0,
            "within_budget": True,
            "refined": {} if with_stage else None,
            "trials": {"trained": 7},
            "spent_s": 540.0,
        }
        return subprocess.CompletedProcess(words, 0, json.dumps(summary), "")

    monkeypatch.setattr(subprocess, "run", run)
    assert netadapt_last_stage.main(["--seeds", "2", *more]) == 0
    assert "91.00 % with the stage, 90.00 % without" in capsys.readouterr().out
    searches = [words for words in commands if words[0] == "search.run"]
    assert len(searches) == 4
    for seed in ("0", "1"):
        one, other = (words for words in searches if words[words.index("--seed") + 1] == seed)
        assert {*zip(one, other, strict=True)} >= {("--overshoot", "--overshoot")}
        differing = {pair for pair in zip(one, other, strict=True) if pair[0] != pair[1]}
        assert len(differing) == 2  # the overshoot and the study's name


def test_a_search_that_fails_ends_the_comparison_with_what_it_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = subprocess.CompletedProcess([], 2, "", "search.run: no network meets 1 ms")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    assert netadapt_last_stage.main(["--seeds", "1"]) == 2
    assert "no network meets 1 ms" in capsys.readouterr().err


@pytest.mark.parametrize(
    "commands",
    [["--more", "fresh"], ["--together", "--more", "epochs=1"], ["--together", "--data", "x"], ["--seeds", "0"]],
)
def test_a_mistake_is_told_before_anything_is_searched(
    commands: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(subprocess, "run", None)
    assert netadapt_last_stage.main(commands) == 2
    assert "got" in capsys.readouterr().err


def test_accepted_cuts_are_timed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each accepted step once, by a device on which one of them is slower now."""
    specs = [zoo.get("mobilenet_v3_small", width=width, classes=10, resolution=64) for width in (1.0, 0.75, 0.5)]

    def timing(ratio: float) -> Timing:
        return Timing(2.0, 2.0 * ratio, ratio, ratio - 0.02, ratio + 0.02, 20)

    monkeypatch.setenv("PHINAS_STUDIES", str(tmp_path))
    history = StoredHistory(tmp_path / "one", keep_all=True)
    for number, spec in enumerate(specs):
        row = ProposalRecord(
            move="channels",
            where="x",
            channels=8,
            name=f"step {number}",
            spec="",
            fingerprint=spec.fingerprint(),
            params=1,
            macs=1,
            cost=1.0,
            screened=0.5,
            timing=timing(0.9),
            accepted=True,
        )
        network = PrunableSpec(build(spec, generator=torch.Generator().manual_seed(0)))
        rows = (row,) if number else ()
        one = Iteration(number=number, spec=spec, cost=1.0, accuracy=0.5, target=1.0, proposals=rows)
        history.commit(one, network)

    class Device:
        def pair(self, before: Subject, after: Subject) -> Timing:
            return timing(1.05 if after == specs[2] else 0.8)

        def alone(self, subject: Subject) -> Measurement:
            raise NotImplementedError

    steps = netadapt_retest.retested([history], Device(), seed=0)
    assert [(one.name, one.accepted, one.ratio) for one in steps] == [("step 1", 0.9, 0.8), ("step 2", 0.9, 1.05)]
    text = netadapt_retest.report(steps)
    assert "1 of 2 accepted steps (50%) are not slower when timed again, 1 surely slower" in text
    table = LatencyTable({**Eager().identity(64), "machine": "a phone"}, 1.0, {}, Correction(1.0, 0.1, 0.03))
    (tmp_path / "phone.json").write_text(table.to_json())
    assert netadapt_retest.main(["one", "--latency", str(tmp_path / "phone.json")]) == 2
    assert "must be a table of this machine" in capsys.readouterr().err
