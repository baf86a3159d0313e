"""What runtimes share: the machine's name, the modules of isolated blocks, a process without garbage collection."""

import gc
import os
import platform
import re
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
def without_garbage_collection() -> Iterator[None]:
    """A context in which no garbage is collected."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def isolated_block(placed: PlacedBlock) -> nn.Module:
    """A block's module with random weights and folded batch norm; its submodules are named like the block's layers."""
    block = make_block(placed.in_channels, placed.block)
    initialise(block, torch.Generator().manual_seed(0))
    return fold_batch_norm(block)


def machine(cpuinfo: Path = CPUINFO) -> str:
    """Processor model, instruction set as torch uses it, and the number of cores."""
    return f"{_processor(cpuinfo)} {torch.backends.cpu.get_cpu_capability()} x{os.cpu_count()}"


def _processor(cpuinfo: Path) -> str:
    # /proc/cpuinfo names the processor, on boards whose processors have no name there the board; on a Mac sysctl does.
    try:
        text = cpuinfo.read_text(encoding="utf-8")
    except OSError:
        text = ""
    for field in ("model name", "Model", "Hardware"):
        if found := re.search(rf"^{field}[ \t]*:[ \t]*(\S.*)$", text, re.MULTILINE):
            return found[1].strip()
    name = ""
    if platform.system() == "Darwin":
        name = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True).stdout
    return name.strip() or platform.processor() or platform.machine()
