"""The benchmarks of detectors run small, and say what they need."""

from pathlib import Path

import pytest

from searchspace.spec import write_spec
from tests.benchmarks import detector_accuracy, detector_learning, detector_predictions, detector_speed
from tests.scaling.efficientdet.small import small_backbone


def test_detectors_are_trained_once_for_each_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pycocotools")
    monkeypatch.chdir(tmp_path)
    write_spec(Path("small.json"), small_backbone())
    flags = ["--data", "digits:20", "--weights", "none", "--targets", "0", "--seeds", "0", "--minutes", "0.02"]
    flags += ["--resolution", "64", "--batch-size", "4", "--backbone", "small.json", "--json", "kept.json"]
    assert detector_accuracy.main(flags) == 0
    first = capsys.readouterr().out
    assert "to reach 0%" in first
    assert detector_accuracy.main(flags) == 0
    assert capsys.readouterr().out == first


@pytest.mark.usefixtures("one_thread")
def test_each_arm_of_the_short_trainings_has_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pycocotools")
    monkeypatch.chdir(tmp_path)
    write_spec(Path("small.json"), small_backbone())
    flags = ["--data", "digits:20", "--weights", "none", "--backbone", "small.json", "--steps", "1"]
    assert detector_learning.main([*flags, "--batch-size", "4", "--resolution", "64"]) == 0
    out = capsys.readouterr().out
    assert all(arm in out for arm in detector_learning.ARMS)


def test_without_the_data_it_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert detector_accuracy.main(["--data", "absent.tar"]) == 0
    assert "skipped" in capsys.readouterr().out


@pytest.mark.usefixtures("one_thread")
def test_the_plain_detector_is_the_same_function(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--resolution", "128", "--training-resolution", "128", "--batch", "2", "--classes", "2"]
    assert detector_speed.main([*flags, "--seconds", "0.01", "--threads", "1"]) in (0, 1)  # so few calls tell no speed
    assert "training step, batch 2, 128 px" in capsys.readouterr().out


@pytest.mark.slow
def test_a_detectors_latency_is_predicted(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--backbones", "2", "--resolution", "64", "--classes", "2", "--table-s", "2", "--seconds", "0.2"]
    assert detector_predictions.main([*flags, "--within", "5", "--threads", "1"]) == 0
    assert "2 of 2 within" in capsys.readouterr().out
