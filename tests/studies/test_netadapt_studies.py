"""The short versions of the studies of pruning."""

import json
from pathlib import Path

import pytest

from studies.benchmarks import netadapt_iteration, netadapt_kill

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    place: Path = tmp_path_factory.getbasetemp() / "pruning-cache"
    monkeypatch.setenv("PHINAS_CACHE", str(place))


def test_a_killed_refinement_loses_nothing_and_ends_as_an_undisturbed_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert netadapt_kill.main(["--unit", "macs", "--share", "0.85", "--kills", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["files_that_changed"], found["same_history"], found["same_weights"]) == (0, True, True)
    assert found["iterations"] > 1


def test_proposals_evaluated_together_have_the_accuracies_of_each_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert netadapt_iteration.main(["--pixels", "32", "--images", "50", "--repeats", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["proposals"] == 14
    assert found["largest_gap_of_accuracies"] <= 0.02  # one image of 50: rounding may turn it
