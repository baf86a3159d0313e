"""What published implementations share in naming the modules of a network, and how they cut it. No torch.

A name stands for a module with weights. An implementation's names come in the order of its modules, which is the order
of ours too, so they need not say which module of ours they stand for. Where an implementation has several modules for
one of ours it is `Joined`, and where it has one for several of ours each is some `Rows` of it.
"""

from collections.abc import Callable, Iterator, Set
from itertools import groupby
from typing import NamedTuple

from searchspace.blocks import Block, Classifier, ConvBN, MBConv, SeparableConv, UniversalIB
from searchspace.spec import NetworkSpec

InvertedResidual = MBConv | SeparableConv


class Joined(NamedTuple):
    """Modules of the implementation that have the output channels of one of ours, equally many each."""

    names: tuple[str, ...]


class Rows(NamedTuple):
    """The output channels from `start` to `stop` of a module of the implementation, which are one of our modules."""

    name: str
    start: int
    stop: int


Name = str | Joined | Rows


class Row(NamedTuple):
    """A block row, the name of its stage and the channels that it reads."""

    stage: str
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
        padding: the only one that the implementation has, None where it has the spec's.
        version: what the implementation's own loader asks a state dict's metadata for, None for nothing.
    """

    title: str
    fits: Callable[[Sections], bool]
    names: Callable[[Sections], Iterator[Name]]
    norm: Callable[[Sections, str], tuple[float, float]] = lambda net, padding: (1e-5, 0.1)
    padding: str | None = None
    version: int | None = None


def sections(spec: NetworkSpec) -> Sections:
    """The spec cut into stem, stacks, last convolution and head."""
    stem, *body, head = (Row(where.rpartition(".")[0], channels, block) for where, channels, block in spec.walk())
    last = body.pop() if body and isinstance(body[-1].block, ConvBN) else None
    return Sections(stem, stacked(body), last, head)


def stacked(rows: list[Row]) -> tuple[tuple[Row, ...], ...]:
    """The rows stage by stage."""
    return tuple(tuple(stack) for _, stack in groupby(rows, key=lambda row: row.stage))


def parts(block: Block) -> list[str]:
    """The weighted layers of an inverted residual in order, by our names."""
    if isinstance(block, UniversalIB):
        left_out = {"start": not block.start_kernel, "depthwise": not block.middle_kernel}
        return [part for part in ("start", "expand", "depthwise", "project") if not left_out.get(part)]
    assert isinstance(block, InvertedResidual)
    expand = ["expand"] if isinstance(block, MBConv) else []
    squeeze = ["squeeze"] if block.squeeze_channels else []
    return [*expand, "depthwise", *squeeze, "project"]


def inverted_residuals(
    net: Sections,
    *,
    hidden: bool,
    activations: Set[str],
    squeezes: Set[tuple[str, ...]],
    kernels: Set[int] | None = None,
    free_stacks: int = 0,
) -> bool:
    """Whether the network is stem, inverted residuals, last convolution and linear classifier with these traits.

    `squeezes` are (activation, gate) of the SE blocks, () for none. Blocks behind the first `free_stacks` stacks have
    a skip wherever it fits, and no expansion to as many channels as they read.
    """
    blocks = [row.block for row in net.body if isinstance(row.block, InvertedResidual)]
    stem, head, last = net.stem.block, net.head.block, net.last and net.last.block
    if not blocks or len(blocks) < len(net.body) or not isinstance(head, Classifier):
        return False
    if not isinstance(stem, ConvBN) or not isinstance(last, ConvBN) or stem.groups * last.groups > 1:
        return False
    if any(isinstance(block, SeparableConv) and block.project_activation != "identity" for block in blocks):
        return False
    return (
        (hidden, False) == (head.hidden_features > 0, head.hidden_norm)
        and activations >= {block.activation for block in (stem, *blocks, last)}
        and squeezes >= {(each.squeeze_activation, each.gate) if each.squeeze_channels else () for each in blocks}
        and (kernels is None or kernels >= {block.kernel for block in blocks})
        and all(_as_built(row) for stack in net.stacks[free_stacks:] for row in stack)
    )


def _as_built(row: Row) -> bool:
    _, in_channels, block = row
    assert isinstance(block, InvertedResidual)
    skip_fits = block.stride == 1 and block.out_channels == in_channels
    return block.skip == skip_fits and not (isinstance(block, MBConv) and block.expand_channels == in_channels)
