"""Eager torch on the CPU or a GPU: batch norm folded, channels-last, batch 1.

On a GPU float32 is what torch makes of it there: convolutions multiply in TF32 where the GPU has it.
"""

import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from search.cores import default_threads
from search.latency.clock import Clock, clock_of
from search.latency.interleave import Timer
from search.latency.kernels import PlacedBlock
from search.latency.machine import entered, isolated_block, machine, noise, without_garbage_collection
from search.latency.runtimes import DEVICES, RuntimeInfo
from searchspace.errors import InvalidArgument
from searchspace.latency.table import SCHEMA, Identity
from searchspace.nn import Network, fold_batch_norm, untrained
from searchspace.nn.copies import copied, first_line
from searchspace.spec import NetworkSpec

GPU_CALLS = 5  # of a network, or of blocks, in one reading: the first of a row is often slower


class Eager:
    """The runtime `eager torch` (see search.latency.interleave.Runtime).

    `threads`: those that networks are timed with, whatever the process uses otherwise (None: those it uses now).
    `clock`: the device's own if none is given. `calls`: those in one reading (None: 1 on the CPU, else GPU_CALLS).
    """

    def __init__(
        self,
        device: str = "cpu",
        dtype: str = "float32",
        threads: int | None = None,
        *,
        clock: Clock | None = None,
        calls: int | None = None,
    ) -> None:
        self._threads = threads or default_threads()
        self._device = device
        self._dtype: torch.dtype = getattr(torch, dtype)
        self._clock = clock or clock_of(device, self._threads)
        self._calls = calls or (1 if device == "cpu" else GPU_CALLS)
        self._inputs: dict[tuple[int, int], Tensor] = {}

    def identity(self, resolution: int) -> Identity:
        """This machine and process; a GPU's identity names the machine that fills its queue, too."""
        where = machine()
        if self._device != "cpu":
            gpu = torch.cuda.get_device_name() if self._device == "cuda" else "Apple GPU"
            where = f"{gpu} in {where}"
        return Identity(
            schema=SCHEMA,
            machine=where,
            runtime=self._named("eager torch"),
            threads=self._threads,
            dtype=str(self._dtype).removeprefix("torch."),
            batch=1,
            memory_format="channels_last",
            resolution=resolution,
            versions={"torch": str(torch.__version__), "python": platform.python_version()},
        )

    def network(self, spec: NetworkSpec) -> Timer:
        """See Runtime."""
        return self.module(untrained(spec), spec)

    def module(self, module: nn.Module, spec: NetworkSpec) -> Timer:
        """Any module of images (1, in_channels, resolution, resolution) of the spec, in its deployed form.

        One that does not take channels-last images (`x.view(...)` behind a feature map) has them contiguous, as it is
        deployed then. Raises InvalidArgument for one that does not run here, naming the layer, and UnsupportedModule
        for one that cannot be copied.
        """
        name = spec.name if isinstance(module, Network) else f"the {type(module).__name__}"
        _check_weights(module, name)
        deployed = self._copy(module, torch.channels_last)
        image = self._input(spec.in_channels, spec.resolution)
        try:
            self._try(deployed, image, name)
        except InvalidArgument:
            deployed = self._copy(module, torch.contiguous_format)
            image = image.contiguous()
            self._try(deployed, image, name)
        runs, clock = self._ready(deployed, image), self._clock

        def call() -> list[int]:
            clock.start()
            clock.mark()
            runs(image)
            clock.mark()
            return clock.stop()

        return self._reading(call)

    def kernels(self, blocks: Sequence[PlacedBlock]) -> Timer:
        """Isolated blocks one after the other, each with an input that was just written, as in a network.

        A layer's time runs from the end of the layer before it to its own end, so a block's parts sum to the block.
        Its weights are as cold in the caches as in a network that has just run through all others.
        """
        clock = self._clock
        parts = []
        wanted: list[bool] = []
        for placed in blocks:
            block = self._deployed(isolated_block(placed))
            image = self._input(placed.in_channels, placed.resolution)
            self._try(block, image, f"a {type(placed.block).__name__} at {placed.resolution} px")
            for layer in placed.layers:
                block.get_submodule(layer.name).register_forward_hook(lambda *_: clock.mark())
            parts.append((block, image))
            wanted += [False, *[True] * len(placed.layers)]  # not the writing of a block's input
        if self._device != "cpu":  # its queue is empty at first, as in a network: once, whatever comes first
            parts.insert(0, parts[0])
            wanted = [False] * (1 + len(blocks[0].layers)) + wanted

        def call() -> list[int]:
            clock.start()
            for block, source in parts:
                written = source.clone()
                clock.mark()
                block(written)
            return [ns for ns, kept in zip(clock.stop(), wanted[1:], strict=True) if kept]

        return self._reading(call)

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """No autograd, no garbage collection, and the runtime's own number of threads."""
        before = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        try:
            with without_garbage_collection(), torch.inference_mode():
                yield
        finally:
            torch.set_num_threads(before)

    def _reading(self, call: Callable[[], list[int]]) -> Timer:
        """Each part's median over the calls of one reading."""
        if self._calls == 1:
            return call
        return lambda: [
            sorted(part)[self._calls // 2] for part in zip(*(call() for _ in range(self._calls)), strict=True)
        ]

    def _named(self, title: str) -> str:
        return title if self._device == "cpu" else f"{title} on {self._device}"

    def _ready(self, module: nn.Module, image: Tensor) -> Callable[[Tensor], object]:
        return module

    def _deployed(self, module: nn.Module, memory_format: torch.memory_format = torch.channels_last) -> nn.Module:
        return module.to(self._device, self._dtype, memory_format=memory_format)  # type: ignore[call-overload,no-any-return]

    def _copy(self, module: nn.Module, memory_format: torch.memory_format) -> nn.Module:
        if isinstance(module, torch.jit.ScriptModule):  # frozen, it cannot be moved
            return fold_batch_norm(self._deployed(copied(module), memory_format))
        return self._deployed(fold_batch_norm(module), memory_format)

    def _try(self, module: nn.Module, image: Tensor, name: str) -> None:
        # One call: not every operator exists for every device and dtype.
        with entered(module) as layers, torch.inference_mode():
            try:
                module(image)
            except Exception as error:  # whatever a user's forward raises
                last = layers[-1][0] if layers else ""
                where = f"layer {last} of {name}" if last else name
                _, channels, pixels, _ = image.shape
                raise InvalidArgument(
                    f"eager torch in {self._dtype} on {self._device} cannot run {where} on one image of {channels} x "
                    f"{pixels} x {pixels}: {first_line(error)}; give the pixels and the dtype that it takes"
                ) from error

    def _input(self, channels: int, resolution: int) -> Tensor:
        key = (channels, resolution)
        if key not in self._inputs:
            self._inputs[key] = noise(*key).to(self._device, self._dtype, memory_format=torch.channels_last)
        return self._inputs[key]


def _check_weights(module: nn.Module, name: str) -> None:
    if any(tensor.is_meta for tensor in (*module.parameters(), *module.buffers())):
        raise InvalidArgument(f"{name} must have weights to run, and is on the meta device: load them first")


RUNTIME = RuntimeInfo("eager torch", ("fp32", "bf16", "fp16"), Eager, DEVICES)
