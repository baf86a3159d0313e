"""State dicts of published implementations, filled with noise that anybody can make again."""

import math
import zlib
from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor

from searchspace.nn import Network, to_published
from searchspace.spec import NetworkSpec

State = dict[str, Tensor]


def fill(key: str, shape: tuple[int, ...]) -> Tensor:
    """One entry of a state dict: noise that depends on nothing but its key and shape."""
    if key.endswith("num_batches_tracked"):
        return torch.tensor(0)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(key.encode())))
    if key.endswith("running_var"):
        return 1 + 0.2 * noise.abs()
    if len(shape) > 1:
        return noise * math.sqrt(2 / math.prod(shape[1:]))
    return 1 + 0.1 * noise if key.endswith("weight") else 0.1 * noise


def image(resolution: int) -> Tensor:
    return torch.randn(2, 3, resolution, resolution, generator=torch.Generator().manual_seed(resolution))


@cache
def shapes(spec: NetworkSpec, implementation: str) -> Mapping[str, tuple[int, ...]]:
    """The names and shapes of a state dict of the network as the implementation has it, in its order."""
    with torch.device("meta"):
        state = to_published(Network(spec), implementation)
    return {key: tuple(tensor.shape) for key, tensor in state.items()}


def filled(spec: NetworkSpec, implementation: str) -> State:
    """A state dict of the network as the implementation has it."""
    return {key: fill(key, shape) for key, shape in shapes(spec, implementation).items()}


def equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """The same keys in the same order, shapes and values."""
    return list(one) == list(other) and all(torch.equal(one[key], other[key]) for key in one)
