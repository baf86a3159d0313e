"""What runtimes share: the machine's name, the modules of isolated blocks, a process without garbage collection."""

import gc
import os
import platform
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from search.latency.kernels import PlacedBlock
from searchspace.nn import fold_batch_norm
from searchspace.nn.blocks import initialise, make_block
from searchspace.nn.build import busy
from searchspace.spec import DEFAULT_CONVENTIONS

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
    block = make_block(placed.in_channels, placed.block, replace(DEFAULT_CONVENTIONS, padding=placed.padding))
    initialise(block, torch.Generator().manual_seed(0))
    return fold_batch_norm(busy(block))


@contextmanager
def entered(module: nn.Module) -> Iterator[list[tuple[str, nn.Module, tuple[Any, ...]]]]:
    """The submodules that are called in the context, in order: name, module, inputs. TorchScript does not tell."""
    found: list[tuple[str, nn.Module, tuple[Any, ...]]] = []
    hooks = [
        part.register_forward_pre_hook(lambda own, inputs, name=name: found.append((name, own, inputs)))
        for name, part in module.named_modules()
        if not isinstance(part, torch.jit.ScriptModule)
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def noise(channels: int, resolution: int) -> Tensor:
    """(1, channels, resolution, resolution), the same each time."""
    return torch.randn(1, channels, resolution, resolution, generator=torch.Generator().manual_seed(0))


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
