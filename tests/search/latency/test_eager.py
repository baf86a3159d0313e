"""The real machine, small and quick: the deployed form runs, its parts make a whole, a table can be built."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from search.latency import measure_modules, table_for
from search.latency.kernels import placed_blocks
from search.latency.measurement import measure_specs
from search.latency.runtimes.eager import Eager
from searchspace.graph import lower
from searchspace.nn import build
from searchspace.spaces.mnasnet import mnasnet_space

SPACE = mnasnet_space(resolution=32, classes=3).with_choices(
    {
        "*.expand_ratio": (3,),
        "*.kernel": (3,),
        "*.se": (False, True),
        "*.activation": ("relu",),
        "*.layers": (1,),
        "*.width_mult": (0.75,),
        "stage1.expand_ratio": (1,),
        "stage5.layers": (0, 1),
        "stage7.layers": (0,),
    }
)


pytestmark = pytest.mark.usefixtures("one_thread")


def test_every_layer_of_every_block_gets_one_positive_time_in_each_call() -> None:
    blocks = placed_blocks(SPACE)
    runtime = Eager()
    timer = runtime.kernels(blocks)
    with runtime.quiet():
        for _ in range(2):
            times = timer()
            assert len(times) == sum(len(block.layers) for block in blocks)
            assert min(times) > 0


def test_a_table_of_a_small_space_is_built_and_near_what_its_networks_measure(tmp_path: Path) -> None:
    table = table_for(SPACE, cache_dir=tmp_path, budget_s=0.0)
    spec = SPACE.spec(SPACE.corner("largest"))
    (fresh,) = measure_specs([spec], table=table, seconds=0.5)
    (trained,) = measure_modules([build(spec)], [spec], table=table, seconds=0.5)
    predicted = table.latency_ms(lower(spec))
    assert 0.3 < predicted / fresh.latency_ms < 3
    assert 0.3 < trained.latency_ms / fresh.latency_ms < 3
    assert fresh.low_ms <= fresh.latency_ms <= fresh.high_ms


def test_measuring_leaves_a_module_in_training_mode_with_its_batch_norms(tmp_path: Path) -> None:
    spec = SPACE.spec(SPACE.corner("smallest"))
    module = build(spec)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    timer = Eager().module(module, spec)
    timer()
    assert module.training
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


class UnsteadyClock:
    """The first of five calls is a hundred times as slow as the others; a part takes longer the later it comes."""

    def __init__(self) -> None:
        self.calls = self.marks = 0

    def start(self) -> None:
        self.calls, self.marks = self.calls + 1, 0

    def mark(self) -> None:
        self.marks += 1

    def stop(self) -> list[int]:
        number = (self.calls - 1) % 5
        step = 1000 if number == 0 else 9 + number % 2
        return [step + place for place in range(self.marks - 1)]


def test_a_reading_on_a_gpu_is_each_part_s_median_of_five_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = UnsteadyClock()
    monkeypatch.setattr("search.latency.runtimes.eager.clock_of", lambda _: clock)
    spec = SPACE.spec(SPACE.corner("smallest"))
    device, blocks = Eager("cpu:0"), placed_blocks(SPACE)[:3]  # not "cpu" to it: as on a GPU
    network, kernels = device.network(spec), device.kernels(blocks)
    with device.quiet():
        assert (network(), clock.calls) == ([10], 5)
        parts = kernels()
        assert clock.calls == 10
    assert len(parts) == sum(len(block.layers) for block in blocks)
    assert parts == sorted(parts)
    assert max(parts) < 100


def test_help_of_the_command_does_not_import_torch() -> None:
    code = (
        "import sys; from search.latency.__main__ import parser; parser().format_help(); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
