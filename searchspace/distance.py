"""How far apart two networks are, for choosing whose weights a network starts from."""

from collections import defaultdict
from itertools import zip_longest
from math import log2
from typing import NamedTuple

from searchspace.blocks.protocol import ROWS, Block
from searchspace.spec import NetworkSpec

MISSING = 1.0
"""What a block costs that only one network has; twice as many channels cost as much."""
KERNEL, SQUEEZE, ACTIVATION = 0.5, 0.5, 0.25
"""What two pixels of kernel, SE in one of two blocks, and another activation cost."""


class _Shape(NamedTuple):
    """What of a block is compared."""

    kind: str
    inner: int
    outer: int
    kernel: int
    squeezes: bool
    activation: str


def distance(one: NetworkSpec, other: NetworkSpec) -> float:
    """0 for the same blocks, larger the more differ; resolution and classes do not count.

    Blocks that work at the same part of the input's pixels are compared in order: channels, inner channels, kernel, SE
    and activation. A block without a partner costs `MISSING`.
    """
    first, second = _levels(one), _levels(other)
    pairs = [pair for level in first.keys() | second.keys() for pair in zip_longest(first[level], second[level])]
    return sum(_between(a, b) if a and b else MISSING for a, b in pairs)


def _levels(spec: NetworkSpec) -> dict[int, list[_Shape]]:
    """{input pixels per pixel of the output: the shapes of the blocks there}, the head under 0."""
    levels: dict[int, list[_Shape]] = defaultdict(list)
    stride = 1
    for _, channels, block in spec.walk():
        stride *= block.reduction
        levels[0 if block.is_head else stride].append(_shape(channels, block))
    return levels


def _shape(channels: int, block: Block) -> _Shape:
    return _Shape(
        kind=ROWS[type(block)].__name__,
        inner=getattr(block, "expand_channels", 0) or channels,
        outer=channels if block.is_head else block.channels_after(channels),
        kernel=getattr(block, "kernel", 0),
        squeezes=getattr(block, "squeeze_channels", 0) > 0,
        activation=getattr(block, "activation", ""),
    )


def _between(one: _Shape, other: _Shape) -> float:
    if one.kind != other.kind:
        return MISSING
    return (
        abs(log2(one.inner / other.inner))
        + abs(log2(one.outer / other.outer))
        + KERNEL * abs(one.kernel - other.kernel) / 2
        + SQUEEZE * (one.squeezes != other.squeezes)
        + ACTIVATION * (one.activation != other.activation)
    )
