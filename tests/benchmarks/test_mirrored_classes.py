"""The benchmark of mirrored classes, in short."""

import pytest

from tests.benchmarks import mirrored_classes


def test_each_way_is_trained_and_what_auto_decided_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mirrored_classes, "TASKS", {"b and d": mirrored_classes.TASKS["b and d"]})
    assert mirrored_classes.main(["--images", "40", "--tested", "4", "--epochs", "1"]) in (0, 1)
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("b and d")]
    assert "(shift,flip)" in row
    assert row.rstrip().endswith("(shift)")
