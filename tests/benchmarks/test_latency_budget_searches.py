"""Searches within a latency budget, in short: on a device that its table is wrong about."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from search.device import Device
from search.latency import Measurement
from search.latency.kernels import placed_blocks, rough_cost
from searchspace.graph import lower
from searchspace.latency.table import SCHEMA, Correction, Identity, LatencyTable
from searchspace.spaces.mnasnet import mnasnet_space
from searchspace.spec import NetworkSpec
from tests.benchmarks.latency_budget_searches import budgets_over, main, search, verdict

SPACE = mnasnet_space(resolution=64, classes=10).with_choices(
    {"*.activation": ("relu",), "*.kernel": (3, 5), "*.se": (False,)}
)
IDENTITY = Identity(
    schema=SCHEMA,
    machine="abacus x2",
    runtime="beads",
    threads=2,
    dtype="float32",
    batch=1,
    memory_format="channels_last",
    resolution=64,
    versions={},
)


KERNELS = {layer.signature: rough_cost(layer) for block in placed_blocks(SPACE) for layer in block.layers}
TABLE = LatencyTable(IDENTITY, 1.0, KERNELS, Correction(1.0, 0.2, 0.03))


class BiasedDevice(Device):
    """Takes `bias` times what its table says, and a network more or less of its own."""

    def __init__(self, bias: float) -> None:
        self.bias = bias

    def is_of(self, table: LatencyTable) -> bool:
        return True

    def measure(self, specs: Sequence[NetworkSpec], **_: Any) -> list[Measurement]:
        return [self.one(spec) for spec in specs]

    def one(self, spec: NetworkSpec) -> Measurement:
        own = random.Random(spec.fingerprint()).gauss(0, 0.01)
        ms = TABLE.latency_ms(lower(spec)) * self.bias * (1 + own)
        return Measurement(
            latency_ms=ms, low_ms=0.995 * ms, high_ms=1.005 * ms, rounds=9, raw_median_ms=ms, noisy=False
        )


@pytest.mark.parametrize("bias", [0.95, 1.05])
def test_winners_are_within_the_budget_and_use_it_though_the_table_is_off(bias: float) -> None:
    device = BiasedDevice(bias)
    found = [
        search(SPACE, TABLE, bias * budget_ms, trials=10, seed=place, device=device)
        for place, budget_ms in enumerate(budgets_over(SPACE, TABLE, 3))
    ]
    for one in found:
        assert one.measured_ms <= one.budget_ms
        assert one.measured_ms == device.one(NetworkSpec.from_json(one.spec)).latency_ms
    used = sorted(one.measured_ms / one.budget_ms for one in found)
    assert used[1] >= 0.9
    for one in found:
        assert abs(one.correction - bias) <= 0.02
    rows = [{**vars(one), "again_ms": one.measured_ms, "noisy": False} for one in found]
    assert "3 of 3 winners within their budget" in verdict(rows).text
    rows[0]["measured_ms"] = 1.01 * rows[0]["budget_ms"]
    assert not verdict(rows).reached


def test_a_search_by_a_quick_table_of_a_scripted_machine_finds_a_winner_within_its_budget(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--scripted", "--searches", "1", "--trials", "4", "--resolution", "64"]
    for _ in range(2):
        assert main([*flags, "--json", str(tmp_path / "searches.json")]) in (0, 1)
        assert "1 of 1 winners within their budget" in capsys.readouterr().out
    (kept,) = (tmp_path / "searches.cache").glob("latency-*.json")
    assert ".quick" in kept.name


def test_counts_below_one_are_refused_before_anything_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    for flag in ("--searches", "--trials"):
        assert main([flag, "0"]) == 2
        assert f"{flag}: must be at least 1, got 0" in capsys.readouterr().err
