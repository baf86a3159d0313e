"""What a network takes on a device beside time: parameters, flash and RAM, and limits on them. No torch."""

import math
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any, NamedTuple

from searchspace.cost import costs, layer_params_macs
from searchspace.graph import Graph

KB = 1024  # bytes, as makers of microcontrollers count
VALUE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 1}  # by the `dtype` of a latency table


class Sizes(NamedTuple):
    """Of one network, as it is deployed.

    params: learnable parameters, parallel branches as the one convolution that they become. flash_bytes: its weights,
    batch norms folded into their convolutions. ram_bytes: the most activations that are alive at once for one image:
    input and output of the layer that runs, and what a shortcut keeps (arXiv:2007.10319, section 3). Code, tables of
    the runtime and its scratch memory come on top.
    """

    params: int
    flash_bytes: int
    ram_bytes: int

    @property
    def taken(self) -> tuple[float, float, float]:
        """In the units of SizeLimits."""
        return self.params, self.flash_bytes / KB, self.ram_bytes / KB

    @property
    def kb(self) -> dict[str, float]:
        """Flash and RAM as a summary has them."""
        return {"flash_kb": round(self.flash_bytes / KB, 1), "ram_kb": round(self.ram_bytes / KB, 1)}


def sizes_of(graph: Graph, value_bytes: int = 4) -> Sizes:
    """What a network takes, each weight and activation a value of so many bytes."""
    whole = graph._replace(layers=tuple(layer.deployed for layer in graph.layers))
    cost = costs(whole, bytes_per_value=value_bytes)
    batch_norms = sum(
        layer_params_macs(layer)[0] - layer_params_macs(layer._replace(norm=False))[0]
        for layer in whole.layers
        if layer.op == "conv" and layer.norm
    )
    return Sizes(
        cost.params, (cost.params - batch_norms) * value_bytes, max(layer.peak_memory_bytes for layer in cost.layers)
    )


class SizeLimits(NamedTuple):
    """The most that a network may take; infinite where nothing was asked."""

    params: float = math.inf
    flash_kb: float = math.inf
    ram_kb: float = math.inf

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "SizeLimits":
        """Of the settings "max_params", "max_flash_kb" and "max_ram_kb", where there are any."""
        limits = (settings.get(f"max_{name}") for name in cls._fields)
        return cls(*(math.inf if limit is None else float(limit) for limit in limits))

    @property
    def given(self) -> dict[str, float]:
        """The finite ones, by name."""
        return {name: limit for name, limit in zip(self._fields, self, strict=True) if limit < math.inf}

    def share(self, sizes: Sizes) -> float:
        """The largest share of a limit that a network takes: up to 1 within all of them, 0 where there are none."""
        return max(value / limit for value, limit in zip(sizes.taken, self, strict=True))

    def parts(self) -> Iterator["SizeLimits"]:
        """Fewer of the limits at once, single ones first; all of them last."""
        for count in range(1, len(self.given) + 1):
            for some in combinations(self.given.items(), count):
                yield SizeLimits(**dict(some))

    def text(self, sizes: Sizes | None = None) -> str:
        """The flags with their limits, and what a network takes of each."""
        values = zip(self._fields, self, sizes.taken if sizes else self, strict=True)
        return " and ".join(
            f"--max-{name.replace('_', '-')} {_text(limit)}" + (f" (it takes {_text(value)})" if sizes else "")
            for name, limit, value in values
            if limit < math.inf
        )


def _text(value: float) -> str:
    """Whole numbers in full: a million parameters is no 1e+06."""
    return f"{value:.0f}" if value == round(value) else f"{value:g}"


NO_LIMITS = SizeLimits()
