"""What runtimes of ONNX models share: a new one is a file with a class that loads a model and profiles it.

Nothing is assumed of what a runtime fuses: its own profile of isolated blocks says which layer's kernels take the time.
"""

from __future__ import annotations

import platform
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from importlib import import_module
from time import perf_counter_ns
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from search.latency.interleave import Timer
from search.latency.kernels import PlacedBlock
from search.latency.machine import isolated_block, machine, noise, without_garbage_collection
from search.latency.reference import REFERENCE
from searchspace.errors import InvalidArgument
from searchspace.graph import Layer, lower
from searchspace.latency.table import SCHEMA, Identity
from searchspace.nn import Network, untrained
from searchspace.nn.onnx_model import INPUT, OnnxGraph, to_onnx
from searchspace.spec import NetworkSpec

_LAYER = re.compile(r"^block(\d+)\.(\d+)/")  # nodes of a block_batch: blockBLOCK.LAYER/PART
FEED_CHANNELS = 8
Feeds = dict[str, Any]
Run = list[tuple[str, int]]


class OnnxModels(ABC):
    """A runtime (see search.latency.interleave.Runtime) of the models that searchspace.nn.onnx_model writes.

    `title` is its name and that of its package, `extra` what brings it.
    """

    title: ClassVar[str]
    extra: ClassVar[str]

    def __init__(self, device: str, dtype: str, threads: int) -> None:
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
        """A network that searchspace.nn built, in its deployed form, or a module that has `to_onnx` itself.

        Raises InvalidArgument for another module, and naming the layer for a network that the runtime cannot run.
        """
        make = partial(to_onnx, module) if isinstance(module, Network) else getattr(module, "to_onnx", None)
        if make is None:
            raise InvalidArgument(
                f"{self.title} measures networks that searchspace.nn built, got a {type(module).__name__}: load its "
                "weights into searchspace.nn.build(spec)"
            )
        model = make().SerializeToString()
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
                model, feeds = kernel(layer)
                self.load(self.prepared(model))(feeds)
            except Exception as alone:
                space = "" if name == REFERENCE.name else " or a --space without it"  # all is timed beside that
                return InvalidArgument(
                    f"{self.title} cannot run layer {layer.name or layer.op} of {name}: {alone}; it is a layer "
                    f"{layer.op} with {layer.activation}: choose another --runtime or --dtype{space}"
                )
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


def kernel(layer: Layer) -> tuple[bytes, Feeds]:
    """One layer as a model of its own, with random weights, and its inputs by name."""
    model, layer = OnnxGraph(), layer._replace(name="kernel")
    channels, height, width = layer.in_shape
    second = layer.out_shape[0] - channels if layer.op == "concat" else channels
    counts = [channels, second] if layer.op in ("add", "concat") else [channels]
    shapes = {f"input{number}": (1, count, height, width) for number, count in enumerate(counts)}
    inputs = [model.input(name, shape) for name, shape in shapes.items()]
    out = model.layer(layer, inputs, random_weights(layer), "kernel")
    model.output(out, (1, layer.out_shape[0]) if layer.op == "linear" else (1, *layer.out_shape))
    feeds = {name: torch.zeros(shape).numpy() for name, shape in shapes.items()}
    return model.proto("kernel").SerializeToString(), feeds


def random_weights(layer: Layer) -> dict[str, Tensor]:
    """Random weights of a layer under the names that OnnxGraph.layer reads."""
    channels, out, inner = layer.in_shape[0], layer.out_shape[0], layer.squeeze_channels
    shapes: dict[str, tuple[int, ...]] = {}
    if layer.op == "conv":
        shapes = {"conv.weight": (out, channels // layer.groups, layer.kernel, layer.kernel), "conv.bias": (out,)}
    elif layer.op == "linear":
        shapes = {"weight": (out, channels), "bias": (out,)}
    elif layer.op == "se":
        shapes = {"reduce.weight": (inner, channels, 1, 1), "reduce.bias": (inner,)}
        shapes |= {"expand.weight": (channels, inner, 1, 1), "expand.bias": (channels,)}
    elif layer.op == "norm" and layer.scalars:
        shapes = {"scale": (), "bias": ()}
    generator = torch.Generator().manual_seed(0)
    return {f"{layer.name}.{name}": torch.randn(shape, generator=generator) / 8 for name, shape in shapes.items()}


def block_batch(blocks: Sequence[PlacedBlock]) -> tuple[bytes, Feeds]:
    """Isolated blocks as one model, and its inputs by name.

    A block of 3 input channels gets an image; another gets a convolution's output, in the layout that convolutions
    leave. The outputs are pooled, so that nothing large is copied out.
    """
    model = OnnxGraph()
    feeds: Feeds = {}
    for number, placed in enumerate(blocks):
        size = placed.resolution
        channels = placed.in_channels if placed.in_channels == 3 else FEED_CHANNELS
        source = f"input{channels}x{size}"
        if source not in feeds:
            model.input(source, (1, channels, size, size))
            feeds[source] = noise(channels, size).numpy()
        if channels != placed.in_channels:
            weight = torch.randn(placed.in_channels, channels, 1, 1, generator=torch.Generator().manual_seed(number))
            weights = [model.weight(f"feed{number}.weight", weight / 4)]
            source = model.node("Conv", [source, *weights], f"feed{number}/conv", kernel_shape=[1, 1])
        out = _block(model, number, placed, source)
        if not placed.block.is_head:
            out = model.node("GlobalAveragePool", [out], f"tail{number}/pool")
        last = placed.layers[-1]
        model.output(out, (1, last.out_shape[0]) if last.op == "linear" else (1, last.out_shape[0], 1, 1))
    return model.proto("block_batch").SerializeToString(), feeds


def _block(model: OnnxGraph, number: int, placed: PlacedBlock, source: str) -> str:
    prefix = f"block{number}"
    tensors = {f"{prefix}.{name}": tensor for name, tensor in isolated_block(placed).state_dict().items()}
    values = [source]  # NETWORK_INPUT is -1: the values behind it are one place further
    for index, layer in enumerate(placed.layers):
        inside = layer._replace(name=f"{prefix}.{layer.name}".rstrip("."))
        inputs = [values[place + 1] for place in layer.inputs]
        values.append(model.layer(inside, inputs, tensors, f"{prefix}.{index}"))
    return values[-1]
