"""torch.compile on the CPU or a GPU: networks as in eager torch, compiled by its default backend (inductor)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from search.latency.eager import Eager
from search.latency.interleave import Timer
from search.latency.kernels import PlacedBlock
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
        raise InvalidArgument(
            "torch.compile does not say what a layer takes, so a table for it is made from whole networks: python -m "
            "search.latency build --out eager.json, then python -m search.latency adapt --latency eager.json --runtime "
            "compile --out compiled.json, and --latency compiled.json uses it"
        )

    def _ready(self, module: nn.Module) -> Callable[[Tensor], object]:
        torch._dynamo.config.recompile_limit = _RECOMPILATIONS
        torch._dynamo.config.accumulated_recompile_limit = _RECOMPILATIONS
        compiled: Callable[[Tensor], object] = torch.compile(module)
        return compiled
