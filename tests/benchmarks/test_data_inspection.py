"""The inspection's benchmark, in short."""

from pathlib import Path

import pytest

from search.data import inspect
from tests.benchmarks.data_inspection import made, main


def test_the_images_made_are_all_different_and_can_be_read(tmp_path: Path) -> None:
    found = inspect(made(tmp_path / "x.tar", images=60, side=16))
    assert (found.images, found.copies, found.unusable, found.decoded) == (60, 0, {}, 60)


@pytest.mark.parametrize(("limit_s", "code"), [("600", 0), ("0.000001", 1)])
def test_the_limit_decides_the_exit_code(limit_s: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--images", "40", "--side", "16", "--limit-s", limit_s]) == code
    assert "40, " in capsys.readouterr().out
