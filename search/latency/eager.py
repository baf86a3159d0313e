"""Eager torch on the CPU: batch norm folded, channels-last float32, batch 1, this process's threads."""

import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from time import perf_counter_ns

import torch
from torch import Tensor, nn

from search.latency.here import loose_block, machine, undisturbed
from search.latency.interleave import Timer
from search.latency.kernels import PlacedBlock
from searchspace.latency import SCHEMA, Identity
from searchspace.nn import fold_batch_norm, untrained
from searchspace.spec import NetworkSpec


class Eager:
    """The runtime `eager torch` (see search.latency.interleave.Runtime)."""

    def __init__(self) -> None:
        self._inputs: dict[tuple[int, int], Tensor] = {}

    def identity(self, resolution: int) -> Identity:
        """This machine and process, for tables at `resolution`."""
        return Identity(
            schema=SCHEMA, machine=machine(), runtime="eager torch", threads=torch.get_num_threads(), dtype="float32",
            batch=1, memory_format="channels_last", resolution=resolution,
            versions={"torch": str(torch.__version__), "python": platform.python_version()},
        )  # fmt: skip

    def network(self, spec: NetworkSpec) -> Timer:
        """A fresh network with random weights."""
        return self.module(untrained(spec), spec)

    def module(self, module: nn.Module, spec: NetworkSpec) -> Timer:
        """Any module that takes (1, in_channels, resolution, resolution) of the spec, in its deployed form."""
        folded = fold_batch_norm(module).cpu().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        image = self._input(spec.in_channels, spec.resolution)

        def call() -> tuple[int]:
            start = perf_counter_ns()
            folded(image)
            return (perf_counter_ns() - start,)

        return call

    def kernels(self, blocks: Sequence[PlacedBlock]) -> Timer:
        """Blocks one after the other, each with an input that was just written, as a network leaves it.

        A layer's time runs from the end of the layer before it to its own end, so that a block's parts make the
        whole block; weights come as cold as in a network that has just run through all its others.
        """
        ends: list[int] = []
        parts = []
        for placed in blocks:
            block = loose_block(placed)
            block.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            for layer in placed.layers:
                block.get_submodule(layer.name).register_forward_hook(lambda *_: ends.append(perf_counter_ns()))
            parts.append((block, self._input(placed.in_channels, placed.resolution), len(placed.layers)))

        def call() -> list[int]:
            times: list[int] = []
            for block, source, layers in parts:
                ends.clear()
                fresh = source.clone()
                ends.append(perf_counter_ns())
                block(fresh)
                assert len(ends) == layers + 1
                times.extend(end - start for start, end in pairwise(ends))
            return times

        return call

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """No autograd, no garbage collection."""
        with undisturbed(), torch.inference_mode():
            yield

    def _input(self, channels: int, resolution: int) -> Tensor:
        key = (channels, resolution)
        if key not in self._inputs:
            image = torch.randn(1, channels, resolution, resolution, generator=torch.Generator().manual_seed(0))
            self._inputs[key] = image.to(memory_format=torch.channels_last)
        return self._inputs[key]
