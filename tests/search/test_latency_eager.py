"""The real machine, small and quick: the deployed form runs, its parts make a whole, a table can be built."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from search.latency import measure, measure_modules, table_for
from search.latency.eager import Eager
from search.latency.kernels import placed_blocks
from searchspace.graph import lower
from searchspace.mnasnet_space import mnasnet_space
from searchspace.nn import build

SPACE = mnasnet_space(resolution=32, classes=3).with_choices(
    {
        "*.expand_ratio": (3,), "*.kernel": (3,), "*.se": (False, True), "*.activation": ("relu",), "*.layers": (1,),
        "*.width_mult": (0.75,), "stage1.expand_ratio": (1,), "stage5.layers": (0, 1), "stage7.layers": (0,),
    }
)  # fmt: skip


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
    (fresh,) = measure([spec], table=table, seconds=0.5)
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


def test_help_of_the_command_does_not_import_torch() -> None:
    code = (
        "import sys; from search.latency.__main__ import parser; parser().format_help(); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
