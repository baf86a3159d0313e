"""Which blocks and layers of one network another one can start from: any two networks, matched by place.

Blocks are matched in order, so that the map sizes, the places of strides and the beginnings of stages agree best.
`searchspace.nn.weights.transfer` moves the weights.
"""

from collections.abc import Sequence
from typing import NamedTuple

from searchspace.blocks import Block, MBConv, SeparableConv, UniversalIB
from searchspace.graph import Layer
from searchspace.spec import NetworkSpec


class BlockMatch(NamedTuple):
    """Where a block comes from.

    Attributes:
        name: Of the block, such as "stage3.1".
        origin: The other network's block, None for nothing.
        added: It has no place of its own there: it should change nothing at first, and `origin` lends it its weights.
    """

    name: str
    origin: str | None
    added: bool


class _Placed(NamedTuple):
    """A block with what its place tells: input channels, log2-like reduction behind it, and where it is in its run."""

    name: str
    channels: int
    block: Block
    reduction: int
    starts: bool
    order: int


def match_blocks(parent: NetworkSpec, spec: NetworkSpec) -> list[BlockMatch]:
    """For each block of `spec` in order, the block of `parent` that it takes after."""
    theirs, ours = _placed(parent), _placed(spec)
    partner = _aligned(theirs, ours)
    found: list[BlockMatch] = []
    lender: _Placed | None = None
    for index, mine in enumerate(ours):
        at = partner[index]
        if mine.starts:
            lender = None
        if at is not None:
            lender = theirs[at]
            found.append(BlockMatch(mine.name, lender.name, added=False))
        else:
            lends = lender is not None and _have_skips(lender.block, mine.block) and _alike(lender.block, mine.block)
            found.append(BlockMatch(mine.name, lender.name if lends and lender else None, added=True))
    return found


def layer_origins(parent: Sequence[Layer], layers: Sequence[Layer], blocks: Sequence[BlockMatch]) -> list[int | None]:
    """For each layer the parent's layer with the same task in the block that its block takes after."""
    known = {layer.name: index for index, layer in enumerate(parent)}
    by_name = {match.name: match.origin for match in blocks}
    found: list[int | None] = []
    for layer in layers:
        stage, number, *rest = layer.name.split(".")
        origin = by_name[f"{stage}.{number}"]
        index = None if origin is None else known.get(".".join((origin, *rest)))
        found.append(index if index is not None and parent[index].op == layer.op else None)
    return found


def _placed(spec: NetworkSpec) -> list[_Placed]:
    found: list[_Placed] = []
    reduction, order = 1, 0
    for name, channels, block in spec.walk():
        reduction *= block.reduction
        starts = block.reduction > 1 or block.channels_after(channels) != channels or not found
        order = 0 if starts else order + 1
        found.append(_Placed(name, channels, block, reduction, starts, order))
    return found


def _alike(parent: Block, block: Block) -> bool:
    """Whether one can take weights of the other. A block without expansion has no use for those of one that has it."""
    bottlenecks = (MBConv, UniversalIB)
    if isinstance(parent, bottlenecks) and isinstance(block, bottlenecks):
        return True
    return type(parent) is type(block) or (isinstance(parent, SeparableConv) and isinstance(block, MBConv))


def _have_skips(*blocks: Block) -> bool:
    return all(getattr(block, "skip", False) for block in blocks)


def _aligned(theirs: Sequence[_Placed], ours: Sequence[_Placed]) -> list[int | None]:
    """The partners, in order, whose likeness adds up to most; the earliest ones among equals."""
    best = [[0.0] * (len(theirs) + 1) for _ in range(len(ours) + 1)]
    for i in reversed(range(len(ours))):
        for j in reversed(range(len(theirs))):
            both = _likeness(theirs[j], ours[i]) + best[i + 1][j + 1]
            best[i][j] = max(both, best[i + 1][j], best[i][j + 1])
    found: list[int | None] = []
    j = 0
    for i, mine in enumerate(ours):
        while j < len(theirs) and best[i][j] == best[i][j + 1] > best[i + 1][j]:
            j += 1
        taken = j < len(theirs) and best[i][j] == _likeness(theirs[j], mine) + best[i + 1][j + 1] > best[i + 1][j]
        found.append(j if taken else None)
        j += taken
    return found


def _likeness(theirs: _Placed, ours: _Placed) -> float:
    """How well a block stands for another, at most 10; below 0 where it cannot."""
    if not _alike(theirs.block, ours.block):
        return -1.0
    if theirs.reduction != ours.reduction:
        return 0.1 if theirs.block.reduction == ours.block.reduction > 1 else -1.0
    likeness = 4.0 if theirs.block.reduction == ours.block.reduction else 0.5
    likeness += 3.0 if theirs.starts == ours.starts else 0.0
    likeness += 1.0 if (theirs.channels, theirs.block) == (ours.channels, ours.block) else 0.0
    likeness += 0.5 if theirs.order == ours.order else 0.0
    for one, other in (
        (theirs.channels, ours.channels),
        (theirs.block.channels_after(0), ours.block.channels_after(0)),
        (getattr(theirs.block, "kernel", 1), getattr(ours.block, "kernel", 1)),
    ):
        likeness += 0.5 * min(one, other) / max(one, other, 1)
    return likeness
