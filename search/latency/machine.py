"""What the runtimes of this machine share: its name, the modules of loose blocks, quiet."""

import gc
import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from search.latency.kernels import PlacedBlock
from searchspace.nn import fold_batch_norm
from searchspace.nn.blocks import initialise, make_block

CPUINFO = Path("/proc/cpuinfo")


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
    return f"{_processor()} {torch.backends.cpu.get_cpu_capability()} x{os.cpu_count()}"


def _processor() -> str:
    """By /proc/cpuinfo; on boards whose processors have no name there, the board's; on a Mac what sysctl says."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for field in ("model name", "Model", "Hardware"):
        for line in lines:
            name, _, value = line.partition(":")
            if name.strip() == field and value.strip():
                return value.strip()
    found = ""
    if platform.system() == "Darwin":
        told = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False)
        found = told.stdout.strip()
    return found or platform.processor() or platform.machine()
