"""The comparison runs in short, says what it lacks, and its landscapes are what they say."""

from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.block_landscapes import landscape, neighbours
from tests.benchmarks.block_sampler import main
from tests.benchmarks.block_surrogates import main as compare_surrogates


def test_it_compares_and_goes_on_and_says_what_it_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--parts", "free,limited", "--landscapes", "accel,widths", "--methods", "random,evolution,local,block"]
    flags += ["--seeds", "1", "--trials", "50", "--csv", str(tmp_path / "none.csv"), "--json", str(tmp_path / "r.json")]
    assert main(flags) == 0
    out = capsys.readouterr().out
    assert "accel is skipped: it needs" in out
    rows = [line.split() for line in out.splitlines() if line.startswith("block")]
    assert len(rows) == 2
    for cells in rows:
        assert float(cells[1]) < 1.5  # points below the best; random points spread by 3
        assert cells[-3:] == ["0.0", "0.0", "1"]  # repeats, over the limit, runs
    assert main(flags) == 0
    assert capsys.readouterr().out == out


def test_the_front_is_compared_with_all_points(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--parts", "front", "--landscapes", "widths", "--methods", "random,block", "--seeds", "1"]
    assert main([*flags, "--trials", "50", "--json", str(tmp_path / "r.json")]) == 0
    shares = [float(line.split()[1]) for line in capsys.readouterr().out.splitlines() if line[:5] in ("rando", "block")]
    assert 0 < shares[0] < shares[1] <= 1


def test_surrogates_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare_surrogates(["--seeds", "1", "--csv", str(tmp_path / "none.csv")]) == 0
    out = capsys.readouterr().out
    assert "accel is skipped" in out
    assert sum(line.startswith(("main", "ridge", "smooth", "all", "extra")) for line in out.splitlines()) == 6


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--parts", "all"]) == 2
    assert "free, limited, front, workers, speed; got 'all'" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["pairs", "cell", "widths"])
def test_nothing_is_better_than_the_best_of_a_landscape(name: str) -> None:
    land = landscape(name, 0, Path("none"))
    points = land.draw(3000, np.random.default_rng(1))
    best = land.best()
    assert land.values(points).max() <= best
    around = np.concatenate([neighbours(point, land.sizes) for point in points[:20]])
    assert land.values(around).max() <= best
    assert np.mean(land.price(points) <= land.limit(0.3)) == pytest.approx(0.3, abs=0.05)
