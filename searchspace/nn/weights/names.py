"""What a published implementation calls the modules of a network: the words that its name files share. No torch."""

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import NamedTuple

from searchspace.blocks import Block, ConvBN, MBConv, SeparableConv
from searchspace.spec import NetworkSpec


class Named(NamedTuple):
    """A module of theirs and the one of ours that holds the same weights, both dotted.

    `pointwise`: theirs is a 1x1 convolution, ours a linear layer.
    """

    theirs: str
    ours: str
    pointwise: bool = False


class Row(NamedTuple):
    """A block row with its place, as `NetworkSpec.walk` gives it."""

    where: str
    in_channels: int
    block: Block


class Sections(NamedTuple):
    """A network as implementations cut it: stem, stacks (our stages), the last convolution if there is one, head."""

    stem: Row
    stacks: tuple[tuple[Row, ...], ...]
    last: Row | None
    head: Row

    @property
    def body(self) -> list[Row]:
        """The rows of all stacks."""
        return [row for stack in self.stacks for row in stack]


class Family(NamedTuple):
    """One naming scheme of an implementation.

    Attributes:
        title: what messages call it.
        fits: whether a network is of this family, by its structure.
        names: its modules in the implementation's order.
        norm: the implementation's batch-norm (eps, momentum) for a padding.
        version: what the implementation's own loader asks a state dict's metadata for, None for nothing.
    """

    title: str
    fits: Callable[[Sections], bool]
    names: Callable[[Sections], Iterator[Named]]
    norm: Callable[[Sections, str], tuple[float, float]] = lambda net, padding: (1e-5, 0.1)
    version: int | None = None


def sections(spec: NetworkSpec) -> Sections:
    """The spec cut into stem, stacks, last convolution and head."""
    rows = [Row(*row) for row in spec.walk()]
    stem, body, head = rows[0], rows[1:-1], rows[-1]
    last = body.pop() if body and isinstance(body[-1].block, ConvBN) else None
    return Sections(stem, stacked(body), last, head)


def stacked(rows: list[Row]) -> tuple[tuple[Row, ...], ...]:
    """The rows stage by stage."""
    return tuple(tuple(stack) for _, stack in groupby(rows, key=lambda row: row.where.rpartition(".")[0]))


def conv_bn(conv: str, norm: str, ours: str) -> Iterator[Named]:
    """A convolution and its batch norm, ours being the ConvBNAct `ours`."""
    yield Named(conv, f"{ours}.conv")
    yield Named(norm, f"{ours}.norm")


def squeeze_excite(reduce: str, expand: str, ours: str) -> Iterator[Named]:
    """The two 1x1 convolutions of an SE block, ours being the SqueezeExcite `ours`."""
    yield Named(reduce, f"{ours}.reduce")
    yield Named(expand, f"{ours}.expand")


def parts(block: Block) -> list[str]:
    """The weighted layers of an inverted residual in order, by our names."""
    assert isinstance(block, MBConv | SeparableConv)
    expand = ["expand"] if isinstance(block, MBConv) else []
    squeeze = ["squeeze"] if block.squeeze_channels else []
    return [*expand, "depthwise", *squeeze, "project"]
