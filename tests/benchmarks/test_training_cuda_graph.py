"""The study of training steps on a GPU runs where there is one, and says so where there is none."""

import pytest
import torch

from tests.benchmarks.training_cuda_graph import main

SHORT = ["--network", "mobilenet_v3_small", "--pixels", "32", "--batch", "8", "--steps", "8", "--rounds", "1"]


def test_it_says_what_it_needs_or_tells_both_ways(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(SHORT) == 0
    said = ("kernel by kernel", "one graph") if torch.cuda.is_available() else ("needs a GPU",)
    out = capsys.readouterr().out
    assert all(words in out for words in said)


def test_bad_numbers_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--steps", "0"]) == 2
    assert "--steps: must be at least 1, got 0" in capsys.readouterr().err
