"""What runtimes of ONNX models share: a new one is a file with a class that loads a model and profiles it.

Nothing is assumed of what a runtime fuses: its own profile of isolated blocks says which layer's kernels take the time.
"""

from __future__ import annotations

import platform
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from time import perf_counter_ns
from typing import Any, ClassVar

from torch import nn

from search.latency.interleave import Timer
from search.latency.kernels import PlacedBlock
from search.latency.machine import machine, without_garbage_collection
from search.latency.onnx_kernels import block_batch, kernel, kernel_feeds, noise
from searchspace.errors import InvalidArgument
from searchspace.graph import Layer, lower
from searchspace.latency.table import SCHEMA, Identity
from searchspace.nn import Network, untrained
from searchspace.nn.onnx_model import INPUT, to_onnx
from searchspace.spec import NetworkSpec

_LAYER = re.compile(r"^block(\d+)\.(\d+)/")  # nodes of a block_batch: blockBLOCK.LAYER/PART
Feeds = dict[str, Any]
Run = list[tuple[str, int]]


class OnnxModels(ABC):
    """A runtime (see search.latency.interleave.Runtime) of the models that searchspace.nn.onnx_model writes.

    `title` is its name and that of its package, `extra` what brings it.
    """

    title: ClassVar[str]
    extra: ClassVar[str]

    def __init__(self, threads: int, dtype: str = "float32") -> None:
        try:
            self._package = import_module(self.title)
        except ImportError:
            raise InvalidArgument(
                f'the runtime {self.title} is not installed: pip install "phinas[{self.extra}]" (in a clone of the '
                f'project: pip install -e ".[{self.extra}]"), or choose --runtime eager'
            ) from None
        self._threads = threads
        self._dtype = dtype

    def prepared(self, model: bytes) -> bytes:
        """A model in the runtime's dtype, where that is a matter of the model."""
        return model

    @abstractmethod
    def load(self, model: bytes) -> Callable[[Feeds], object]:
        """A prepared model as it is deployed, to be called with its inputs by name."""

    @abstractmethod
    def profile(self, model: bytes, feeds: Feeds) -> list[Run]:
        """The nodes of each run in order, as (name, time in any unit), without the first runs.

        Changes of layout are named "Reorder...".
        """

    def identity(self, resolution: int) -> Identity:
        """See Runtime."""
        return Identity(
            schema=SCHEMA,
            machine=machine(),
            runtime=self.title,
            threads=self._threads,
            dtype=self._dtype,
            batch=1,
            memory_format="runtime's own",
            resolution=resolution,
            versions={self.title: str(self._package.__version__), "python": platform.python_version()},
        )

    def network(self, spec: NetworkSpec) -> Timer:
        """See Runtime."""
        return self.module(untrained(spec), spec)

    def module(self, module: nn.Module, spec: NetworkSpec) -> Timer:
        """A network that searchspace.nn built, in its deployed form.

        Raises InvalidArgument for another module, and naming the layer for a network that the runtime cannot run.
        """
        if not isinstance(module, Network):
            raise InvalidArgument(
                f"{self.title} measures networks that searchspace.nn built, got a {type(module).__name__}: load its "
                "weights into searchspace.nn.build(spec)"
            )
        model = to_onnx(module).SerializeToString()
        feeds = {INPUT: noise(spec.in_channels, spec.resolution).numpy()}
        try:
            run = self.load(self.prepared(model))
            run(feeds)
        except Exception as error:
            raise self._refusal(lower(spec).layers, spec.name, error) from error
        return lambda: (timed(run, feeds),)

    def kernels(self, blocks: Sequence[PlacedBlock]) -> Timer:
        """Isolated blocks one after the other in one model, each behind a 1x1 convolution, as in a network.

        A layer has the share of a call's time that the runtime's profile of this model gives to its nodes. A change of
        memory layout counts for the layer that needs it; a layer that was fused into another takes 1 ns.
        """
        model, feeds = block_batch(blocks)
        try:
            model = self.prepared(model)
            runs = self.profile(model, feeds)
            run = self.load(model)
        except Exception as error:
            layers = [layer for placed in blocks for layer in placed.layers]
            raise self._refusal(layers, "isolated blocks", error) from error
        parts = shares(runs, [len(placed.layers) for placed in blocks])

        def call() -> list[int]:
            total = timed(run, feeds)
            return [max(1, round(total * part)) for part in parts]

        return call

    def quiet(self) -> AbstractContextManager[None]:
        """No garbage collection."""
        return without_garbage_collection()

    def _refusal(self, layers: Iterable[Layer], name: str, error: Exception) -> InvalidArgument:
        """The error for layers that could not be loaded or run; it names the first that fails alone, too."""
        for layer in layers:
            try:
                self.load(self.prepared(kernel(layer)))(kernel_feeds(layer))
            except Exception as alone:
                return InvalidArgument(f"{self.title} cannot run layer {layer.name or layer.op} of {name}: {alone}")
        return InvalidArgument(f"{self.title} cannot run {name}: {error}")


def timed(run: Callable[[Feeds], object], feeds: Feeds) -> int:
    """The ns of one call."""
    start = perf_counter_ns()
    run(feeds)
    return perf_counter_ns() - start


def shares(runs: Sequence[Run], layers: Sequence[int]) -> list[float]:
    """Each layer's share of a run, block by block: the mean over the runs without the slowest quarter of its own."""
    places = dict.fromkeys(((block, i) for block, count in enumerate(layers) for i in range(count)), 0.0)
    seen: list[list[float]] = []
    for run in runs:
        total, parts, waiting = sum(time for _, time in run), dict(places), 0
        for name, time in run:
            waiting += time
            if name.startswith("Reorder"):
                continue  # for the next node, which needs the other layout
            if found := _LAYER.match(name):
                parts[int(found[1]), int(found[2])] += waiting / total
            waiting = 0
        seen.append([*parts.values()])
    keep = max(1, len(runs) * 3 // 4)
    return [sum(sorted(values)[:keep]) / keep for values in zip(*seen, strict=True)]
