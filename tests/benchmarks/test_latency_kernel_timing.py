"""The comparison of designs, in short: every design tells every network."""

import re

import pytest

from tests.benchmarks.latency_kernel_timing import DESIGNS, main, report

pytestmark = pytest.mark.usefixtures("one_thread")


def test_every_design_is_told_by_its_share_of_the_networks(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--networks", "1", "--fitted", "4", "--resolution", "32", "--threads", "1", "--seconds", "0.5"]
    assert main(flags) == 0
    cells = [re.split(r"\s{2,}", row) for row in capsys.readouterr().out.splitlines()[2:-1]]
    rows = {design: figures for design, *figures in cells}
    assert tuple(rows) == DESIGNS
    for least, median, most, error in rows.values():
        assert 0.1 < float(least) <= float(median) <= float(most) < 4
        assert error.endswith("%")


@pytest.mark.parametrize("flags", [["--networks", "0"], ["--fitted", "3"], ["--seconds", "0"]])
def test_what_cannot_be_timed_or_fitted_is_told(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(flags) == 2
    assert f"{flags[0]}: must be a" in capsys.readouterr().err


def test_the_error_is_about_the_median() -> None:
    row, _ = report({"in a loop": [0.5, 0.5, 0.6]}).splitlines()[2:]
    assert re.split(r"\s{2,}", row) == ["in a loop", "0.50", "0.50", "0.60", "6.7%"]


def test_the_winner_is_told_and_by_how_much() -> None:
    found = {"in a loop": [0.5, 0.5], "in order": [1.1, 0.9], "in block batches": [0.96, 1.02]}
    assert report(found).splitlines()[-1] == (
        "winner: in block batches, off by 3.0%, before in order by 7.0 points; up to one factor for all networks: "
        "in a loop, off by 0.0%, before in block batches by 3.0 points"
    )
