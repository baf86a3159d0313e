"""torch.compile on the CPU or a GPU: networks as in eager torch, compiled, by default with inductor."""

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from search.latency.interleave import Timer
from search.latency.kernels import PlacedBlock
from search.latency.machine import entered
from search.latency.runtimes import DEVICES, RuntimeInfo, check_profiles_layers
from search.latency.runtimes.eager import Eager
from searchspace.errors import InvalidArgument
from searchspace.latency.table import Identity

_RECOMPILATIONS = 4096  # torch runs a ninth module of one class uncompiled where it is not told otherwise


class Compiled(Eager):
    """The runtime `torch.compile` (see search.latency.interleave.Runtime).

    It fuses differently in each network, and a compiled network cannot be timed layer by layer. So it has no kernels
    of its own: its tables are adapted from those of eager torch. `compiler` is what tests replace.
    """

    compiler: ClassVar[Callable[..., Callable[..., object]]] = staticmethod(torch.compile)

    def identity(self, resolution: int) -> Identity:
        """See Runtime."""
        return {**super().identity(resolution), "runtime": self._named("torch.compile")}

    def kernels(self, blocks: Sequence[PlacedBlock]) -> Timer:
        """Raises InvalidArgument: layers cannot be timed."""
        check_profiles_layers("compile")
        raise AssertionError

    def _ready(self, module: nn.Module, image: Tensor) -> Callable[[Tensor], object]:
        """The compiled module, made with the threads that it runs with: the code is made for them."""
        for limit in ("recompile_limit", "cache_size_limit", "accumulated_recompile_limit"):
            if hasattr(torch._dynamo.config, limit):
                setattr(torch._dynamo.config, limit, _RECOMPILATIONS)
        try:
            compiled = self.compiler(module)
            with self.quiet():
                compiled(image)
        except Exception as error:  # whatever the compilers say
            raise self._refusal(module, image, error) from error
        return compiled

    def _refusal(self, module: nn.Module, image: Tensor, error: Exception) -> InvalidArgument:
        """The error for a network that cannot be compiled: it names the first layer that cannot be compiled alone.

        If that is the very first layer, nothing can be compiled here.
        """
        with self.quiet():
            with entered(module) as called:
                module(image)
            layers = [one for one in called if not [*one[1].children()]]
            for name, layer, inputs in layers:
                try:
                    self.compiler(layer)(*inputs)
                except Exception as alone:
                    if name == layers[0][0]:
                        break
                    return InvalidArgument(f"torch.compile cannot compile layer {name}: {_first_line(alone)}")
        return InvalidArgument(
            f"torch.compile cannot compile a network here ({_first_line(error)}): it needs a C++ compiler, such as g++"
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


RUNTIME = RuntimeInfo("torch.compile", ("fp32", "bf16", "fp16"), Compiled, DEVICES, profiles_layers=False)
