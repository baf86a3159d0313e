"""How far apart two networks are, for choosing whose weights a network starts from."""

from collections import defaultdict
from itertools import zip_longest
from math import log2

from searchspace.blocks import Block
from searchspace.spec import NetworkSpec

MISSING = 1.0
"""What a block costs that only one network has; twice as many channels cost as much."""
KERNEL, SQUEEZE, ACTIVATION = 0.5, 0.5, 0.25
"""What two pixels of kernel, SE in one of two blocks, and another activation cost."""

Placed = list[tuple[int, Block]]


def distance(one: NetworkSpec, other: NetworkSpec) -> float:
    """0 for the same blocks, larger the more differ; resolution and classes do not count.

    Blocks that work at the same part of the input's pixels are compared in order: channels, inner channels, kernel, SE
    and activation. A block without a partner costs `MISSING`.
    """
    first, second = _levels(one), _levels(other)
    pairs = [pair for level in first.keys() | second.keys() for pair in zip_longest(first[level], second[level])]
    return sum(MISSING if a is None or b is None else _between(*a, *b) for a, b in pairs)


def _levels(spec: NetworkSpec) -> dict[int, Placed]:
    """{input pixels per pixel of the output: blocks with their input channels}, the head under 0."""
    levels: dict[int, Placed] = defaultdict(list)
    stride = 1
    for _, channels, block in spec.walk():
        stride *= block.reduction
        levels[0 if block.is_head else stride].append((channels, block))
    return levels


def _between(channels: int, one: Block, other_channels: int, other: Block) -> float:
    if not one.is_head and hasattr(one, "squeeze_channels") != hasattr(other, "squeeze_channels"):
        return MISSING
    inner = [
        getattr(block, "expand_channels", 0) or before for before, block in ((channels, one), (other_channels, other))
    ]
    outer = [
        before if block.is_head else block.channels_after(before)
        for before, block in ((channels, one), (other_channels, other))
    ]
    kernels = [getattr(block, "kernel", 0) for block in (one, other)]
    squeezed = [bool(getattr(block, "squeeze_channels", 0)) for block in (one, other)]
    activations = [getattr(block, "activation", "") for block in (one, other)]
    unlike = KERNEL * abs(kernels[0] - kernels[1]) / 2
    unlike += SQUEEZE * (squeezed[0] != squeezed[1]) + ACTIVATION * (activations[0] != activations[1])
    return unlike + abs(log2(inner[0] / inner[1])) + abs(log2(outer[0] / outer[1]))
