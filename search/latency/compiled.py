"""torch.compile on the CPU or a GPU: networks as in eager torch, compiled by its default backend (inductor)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from search.latency.eager import Eager
from search.latency.interleave import Timer
from search.latency.kernels import PlacedBlock
from search.latency.runtimes import check_kernels
from searchspace.errors import InvalidArgument
from searchspace.latency import Identity

_RECOMPILATIONS = 4096  # torch runs a ninth module of one class uncompiled where it is not told otherwise


class Compiled(Eager):
    """The runtime `torch.compile` (see search.latency.interleave.Runtime).

    What it fuses differs from network to network, and a compiled network does not say what a layer takes: it has no
    kernels of its own. Its tables are adapted from those of eager torch.
    """

    def identity(self, resolution: int) -> Identity:
        """As eager torch's."""
        return {**super().identity(resolution), "runtime": self._named("torch.compile")}

    def kernels(self, blocks: Sequence[PlacedBlock]) -> Timer:
        """Raises InvalidArgument."""
        check_kernels("compile")
        raise AssertionError

    def _ready(self, module: nn.Module, image: Tensor) -> Callable[[Tensor], object]:
        """Compiled, with the threads that it runs with: the code is made for them."""
        for limit in ("recompile_limit", "cache_size_limit", "accumulated_recompile_limit"):
            if hasattr(torch._dynamo.config, limit):
                setattr(torch._dynamo.config, limit, _RECOMPILATIONS)
        compiled: Callable[[Tensor], object] = torch.compile(module)
        try:
            with self.quiet():
                compiled(image)
        except Exception as error:  # whatever the compilers say
            why = str(error).strip().partition("\n")[0] or type(error).__name__
            raise InvalidArgument(
                f"torch.compile cannot compile a network here ({why}): it needs a C++ compiler, such as g++"
            ) from error
        return compiled
