"""What differs between two latency tables is said in a user's words, and a kept table is what it is told by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from searchspace.latency.changes import changes, keep_table, told_changes
from searchspace.latency.table import Identity, LatencyTable
from tests.fuzz.subjects import table

TABLE = table()
FIRST, *_, LAST = TABLE.kernels


def of(**changed: object) -> LatencyTable:
    return replace(TABLE, identity=Identity(**{**TABLE.identity, **changed}))  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (
            of(runtime="ONNX Runtime", threads=4),
            "it is of ONNX Runtime and was of beads, it is of 4 threads and was of 2",
        ),
        (of(resolution=64), "it is of 64 px and was of 32 px"),
        (of(versions={"beads": "1.3"}), "it is of beads 1.3 and was of beads 1.2"),
        (
            of(versions={"string": "7"}),
            "it is of beads none and was of beads 1.2, it is of string 7 and was of string none",
        ),
        (replace(TABLE, kernels={FIRST: TABLE.kernels[FIRST]}), f"it has 1 kernels and had {len(TABLE.kernels)}"),
        (replace(TABLE, reference_ms=9.0), "its kernels are the same, but it was fitted or checked otherwise"),
    ],
)
def test_a_change_is_named(now: LatencyTable, said: str) -> None:
    assert changes(TABLE, now).startswith(said)


def test_of_changed_kernels_the_number_and_the_largest_change_are_told() -> None:
    kernels = {**TABLE.kernels, FIRST: 1.1 * TABLE.kernels[FIRST], LAST: TABLE.kernels[LAST] / 4}
    said = changes(TABLE, replace(TABLE, kernels=kernels))
    assert said.startswith(f"2 of {len(kernels)} kernels take another time, the most the kernel")
    assert f"{kernels[LAST]:.3g} ms in place of {TABLE.kernels[LAST]:.3g}" in said


def test_the_first_table_of_a_study_is_kept_and_a_study_of_before_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "latency.json"
    assert told_changes(path, TABLE) == ""
    keep_table(path, TABLE)
    keep_table(path, of(threads=4))
    assert told_changes(path, of(threads=3)) == "it is of 3 threads and was of 2 threads"
    path.write_text("{}")
    assert told_changes(path, TABLE) == ""
