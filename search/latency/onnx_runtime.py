"""ONNX Runtime on the CPU: all its graph optimisations, float32, batch 1.

What fuses is not assumed: kernels are those that ONNX Runtime itself runs, by its own profile of loose blocks.
"""

from __future__ import annotations

import json
import platform
import re
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import torch
from torch import Tensor, nn

from search.latency.here import loose_block, machine, undisturbed
from search.latency.interleave import Timer
from search.latency.kernels import PlacedBlock
from searchspace.blocks import HEADS
from searchspace.errors import InvalidArgument
from searchspace.latency import SCHEMA, Identity
from searchspace.nn import Network, untrained
from searchspace.nn.onnx_model import INPUT, OnnxGraph, to_onnx
from searchspace.spec import NetworkSpec

PROFILED_RUNS = 12
FEED_CHANNELS = 8
_LAYER = re.compile(r"^block(\d+)\.(\d+)/")  # nodes of a bag: blockBLOCK.LAYER/PART


class OnnxRuntime:
    """The runtime `onnxruntime` (see search.latency.interleave.Runtime).

    Every session has `threads` threads of its own, which stop spinning when its call returns: those of idle sessions
    would spin beside the timed one.
    """

    def __init__(self, threads: int) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise InvalidArgument(
                'the runtime onnxruntime is not installed: pip install "phinas[onnx]" (in a clone of the project: '
                'pip install -e ".[onnx]"), or choose --runtime eager'
            ) from None
        self._ort = onnxruntime
        self._threads = threads

    def identity(self, resolution: int) -> Identity:
        """This machine and process, for tables at `resolution`."""
        return Identity(
            schema=SCHEMA, machine=machine(), runtime="onnxruntime", threads=self._threads, dtype="float32",
            batch=1, memory_format="runtime's own", resolution=resolution,
            versions={"onnxruntime": str(self._ort.__version__), "python": platform.python_version()},
        )  # fmt: skip

    def network(self, spec: NetworkSpec) -> Timer:
        """A fresh network with random weights."""
        return self.module(untrained(spec), spec)

    def module(self, module: nn.Module, spec: NetworkSpec) -> Timer:
        """A network that searchspace.nn built, in its deployed form. Raises InvalidArgument for another module."""
        if not isinstance(module, Network):
            raise InvalidArgument(
                f"ONNX Runtime measures networks that searchspace.nn built, got a {type(module).__name__}: load its "
                "weights into searchspace.nn.build(spec)"
            )
        session = self._session(to_onnx(module).SerializeToString())
        feeds = {INPUT: _noise(spec.in_channels, spec.resolution).numpy()}
        return lambda: (_timed(session, feeds),)

    def kernels(self, blocks: Sequence[PlacedBlock]) -> Timer:
        """Blocks one after the other in one session, each fed by a 1x1 convolution, as in a network.

        Each layer has that share of a call's time that ONNX Runtime's profile of this session gives to its nodes.
        A change of memory layout counts for the layer that needs it; a layer that was fused into another takes 1 ns.
        """
        model, feeds = _bag(blocks)
        shares = _shares(self._profile(model, feeds), [len(placed.layers) for placed in blocks])
        session = self._session(model)

        def call() -> list[int]:
            total = _timed(session, feeds)
            return [max(1, round(total * share)) for share in shares]

        return call

    def quiet(self) -> AbstractContextManager[None]:
        """No garbage collection."""
        return undisturbed()

    def _session(self, model: bytes, prepare: Callable[[Any], None] = lambda _: None) -> Any:
        options = self._ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.log_severity_level = 3
        prepare(options)
        return self._ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def _profile(self, model: bytes, feeds: dict[str, Any]) -> list[list[tuple[str, int]]]:
        """Each run's nodes in order: (name, microseconds). The first runs are left out."""
        with tempfile.TemporaryDirectory() as folder:

            def prepare(options: Any) -> None:
                options.enable_profiling = True
                options.profile_file_prefix = str(Path(folder) / "profile")

            session = self._session(model, prepare)
            for _ in range(PROFILED_RUNS + 2):
                session.run(None, feeds)
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        runs: list[list[tuple[str, int]]] = [[]]
        for event in events:
            if event["name"] == "model_run":  # stands behind its nodes
                runs.append([])
            elif event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
                runs[-1].append((event["name"], event["dur"]))
        return runs[2:-1]


def _timed(session: Any, feeds: dict[str, Any]) -> int:
    start = perf_counter_ns()
    session.run(None, feeds)
    return perf_counter_ns() - start


def _noise(channels: int, resolution: int) -> Tensor:
    return torch.randn(1, channels, resolution, resolution, generator=torch.Generator().manual_seed(0))


def _bag(blocks: Sequence[PlacedBlock]) -> tuple[bytes, dict[str, Any]]:
    """Loose blocks as one model, and its inputs by name.

    A block that takes an image gets one; another a convolution's output, in the layout that convolutions leave. Its
    own output is pooled, so that nothing large is copied out.
    """
    model = OnnxGraph()
    feeds: dict[str, Any] = {}
    for number, placed in enumerate(blocks):
        size = placed.resolution
        channels = placed.in_channels if placed.in_channels == 3 else FEED_CHANNELS
        source = f"input{channels}x{size}"
        if source not in feeds:
            model.input(source, (1, channels, size, size))
            feeds[source] = _noise(channels, size).numpy()
        if channels != placed.in_channels:
            weight = torch.randn(placed.in_channels, channels, 1, 1, generator=torch.Generator().manual_seed(number))
            weights = [model.weight(f"feed{number}.weight", weight / 4)]
            source = model.node("Conv", [source, *weights], f"feed{number}/conv", kernel_shape=[1, 1])
        out = _block(model, number, placed, source)
        if not isinstance(placed.block, HEADS):
            out = model.node("GlobalAveragePool", [out], f"tail{number}/pool")
        last = placed.layers[-1]
        model.output(out, (1, last.out_shape[0]) if last.op == "linear" else (1, last.out_shape[0], 1, 1))
    return model.proto("bag").SerializeToString(), feeds


def _block(model: OnnxGraph, number: int, placed: PlacedBlock, source: str) -> str:
    prefix = f"block{number}"
    tensors = {f"{prefix}.{name}": tensor for name, tensor in loose_block(placed).state_dict().items()}
    values = [source]  # NETWORK_INPUT is -1: the values behind it are one place further
    for index, layer in enumerate(placed.layers):
        inside = layer._replace(name=f"{prefix}.{layer.name}".rstrip("."))
        inputs = [values[place + 1] for place in layer.inputs]
        values.append(model.layer(inside, inputs, tensors, f"{prefix}.{index}"))
    return values[-1]


def _shares(runs: Sequence[Sequence[tuple[str, int]]], layers: Sequence[int]) -> list[float]:
    """Each layer's share of a run, block by block: the mean over the runs without the slowest quarter of its own."""
    places = {
        (block, layer): place
        for place, (block, layer) in enumerate((b, i) for b, count in enumerate(layers) for i in range(count))
    }
    seen: list[list[float]] = [[] for _ in places]
    for run in runs:
        total = sum(microseconds for _, microseconds in run)
        parts = [0.0] * len(places)
        waiting = 0
        for name, microseconds in run:
            waiting += microseconds
            if name.startswith("Reorder"):
                continue  # for the next node, which needs the other layout
            if found := _LAYER.match(name):
                parts[places[int(found[1]), int(found[2])]] += waiting / total
            waiting = 0
        for values, part in zip(seen, parts, strict=True):
            values.append(part)
    keep = max(1, len(runs) * 3 // 4)
    return [sum(sorted(values)[:keep]) / keep for values in seen]
