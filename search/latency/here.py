"""What the runtimes of this machine share: its name, the modules of loose blocks, quiet."""

import gc
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from search.latency.kernels import PlacedBlock
from searchspace.nn import fold_batch_norm
from searchspace.nn.layers import initialise, make_block


@contextmanager
def undisturbed() -> Iterator[None]:
    """Within it no garbage is collected."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def loose_block(placed: PlacedBlock) -> nn.Module:
    """The module of a block, random weights, batch norm folded. Its submodules are named like the block's layers."""
    block = make_block(placed.in_channels, placed.block)
    initialise(block, torch.Generator().manual_seed(0))
    return fold_batch_norm(block)


def machine() -> str:
    """Processor model, instruction set as torch uses it, and the number of cores."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    except OSError:
        pass
    return f"{model} {torch.backends.cpu.get_cpu_capability()} x{os.cpu_count()}"
