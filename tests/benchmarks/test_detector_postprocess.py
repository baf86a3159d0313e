"""The study of post-processing runs in short, and its hard outputs are what they are called."""

import pytest
import torch

from scaling.efficientdet.neck import LEVELS
from scaling.efficientdet.postprocess import detections
from scaling.efficientdet.presets import get
from tests.benchmarks.detector_postprocess import hard, main


def test_all_outputs_are_timed_beside_the_network(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--pixels", "128", "--classes", "2", "--rounds", "1", "--target", "1000"]) == 0
    out = capsys.readouterr().out
    for name in ("the network's own", "all high", "piled up", "all equal"):
        assert name in out
    assert "reached" in out


def test_hard_outputs_are_hard() -> None:
    spec = get("d0", classes=4).with_resolution(128)
    own = [[torch.zeros(1, 9 * last, 128 >> level, 128 >> level) for level in LEVELS] for last in (4, 4)]
    cases = hard((own[0], own[1]), spec)
    assert min(each.sigmoid().mean() for each in cases["all high"][0]) > 0.9
    assert all((each == 3).all() for each in cases["all equal"][0])
    (found,) = detections(cases["piled up"], spec)
    assert set(found.labels.tolist()) == {0}
    assert 16 <= len(found.labels) < 100, "all candidates are looked at"
