"""Two tables compared: by how much the second says more, in ms and in units of the reference."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from search.latency.kernels import placed_blocks, rough_cost
from search.latency.runtimes.eager import Eager
from searchspace.latency.table import Correction, LatencyTable
from searchspace.spaces.mnasnet import mnasnet_space
from tests.benchmarks.latency_table_repeat import main


@pytest.fixture
def tables(tmp_path: Path) -> list[str]:
    """A table, and one of a slower moment: 3 % more by a reference that is 5 % slower."""
    space = mnasnet_space(resolution=32)
    kernels = {layer.signature: rough_cost(layer) for block in placed_blocks(space) for layer in block.layers}
    first = LatencyTable(Eager(threads=1).identity(32), 6.0, kernels, Correction(1.0, 0.0, 0.02))
    second = replace(first, reference_ms=6.3, correction=Correction(1.03, 0.0, 0.02))
    other = replace(first, identity=Eager(threads=2).identity(32))
    paths = [tmp_path / f"{name}.json" for name in ("first", "second", "other")]
    for path, table in zip(paths, (first, second, other), strict=True):
        path.write_text(table.to_json())
    return [str(path) for path in paths]


def test_the_second_table_is_text_against_the_first(tables: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*tables[:2], "--networks", "5"]) == 0
    text = capsys.readouterr().out
    assert "in ms: +3.0%, 90 % of the networks +3.0% to +3.0%" in text
    assert "in units of the reference: -1.9%" in text
    assert main([*tables[:2], "--networks", "5", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ms"] == pytest.approx([0.03] * 3)
    assert found["reference_ms"] == [6.0, 6.3]


def test_tables_of_two_settings_are_not_compared(tables: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([tables[0], tables[2]]) == 2
    assert "1 threads" in capsys.readouterr().err
    assert main([*tables[:2], "--networks", "0"]) == 2
    assert "at least 1, got 0" in capsys.readouterr().err
