"""The comparison of designs, in short: every design predicts every network."""

import re

import pytest
import torch

from search.latency.kernels import blocks_of
from searchspace import zoo
from tests.benchmarks.latency_kernel_timing import DESIGNS, layers_in_loops, main, measured, parser, report
from tests.scripted_runtime import NETWORK_FACTOR, ScriptedRuntime

SMALL = zoo.get("mobilenet_v3_small", resolution=32)


def test_every_design_is_the_share_of_the_networks_that_its_kernels_take() -> None:
    """A device on which networks take 1.05 times the sum of their kernels, however those are timed."""
    device = ScriptedRuntime()
    args = parser().parse_args(["--networks", "1", "--fitted", "4", "--resolution", "32", "--seconds", "0.01"])
    shares = measured(args, device, lambda placed: device.kernels([placed]))
    assert tuple(shares) == DESIGNS
    *sums, fitted = shares.values()
    assert sums == [[pytest.approx(1 / NETWORK_FACTOR, rel=1e-3)]] * 4
    assert fitted == [pytest.approx(1.0, rel=0.01)]


def test_layers_in_loops_are_timed_one_by_one() -> None:
    (placed, *_) = blocks_of(SMALL)
    with torch.inference_mode():
        times = layers_in_loops(placed)()
    assert len(times) == len(placed.layers)
    assert min(times) > 0


@pytest.mark.parametrize("flags", [["--networks", "0"], ["--fitted", "3"], ["--seconds", "0"]])
def test_what_cannot_be_timed_or_fitted_is_refused(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(flags) == 2
    assert f"{flags[0]}: must be a" in capsys.readouterr().err


def test_the_error_is_about_the_median() -> None:
    row, _ = report({"in a loop": [0.5, 0.5, 0.6]}).splitlines()[2:]
    assert re.split(r"\s{2,}", row) == ["in a loop", "0.50", "0.50", "0.60", "6.7%"]


def test_the_winner_is_named_and_by_how_much() -> None:
    found = {"in a loop": [0.5, 0.5], "in order": [1.1, 0.9], "in block batches": [0.96, 1.02]}
    assert report(found).splitlines()[-1] == (
        "winner: in block batches, off by 3.0%, before in order by 7.0 points; up to one factor for all networks: "
        "in a loop, off by 0.0%, before in block batches by 3.0 points"
    )
