"""A kind of block from outside the package, both of its sides in one file.

`ToyBlock`: a kernel x kernel convolution with batch norm and activation, a 1x1 convolution with batch norm,
and the sum with the input where `skip` says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from searchspace.blocks import Block, Row, register
from searchspace.errors import InvalidSpec
from searchspace.layers import GraphBuilder
from searchspace.nn.blocks import MakeConv, module_of
from searchspace.nn.layers import Add, ConvBNAct
from searchspace.rounding import expand_of, scaled_width


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyRow(Row):
    """`repeats` ToyBlocks of `width` channels, `mid_ratio` x the output wide inside."""

    choices: ClassVar[tuple[str, ...] | None] = ("mid_ratio", "kernel", "activation")

    width: int
    mid_ratio: float = 0.5
    kernel: int = 3
    activation: str = "relu"
    skip: bool = True
    divisor: int = 8

    def blocks(self, in_channels: int, width_mult: float, repeats: int) -> list[Block]:
        channels = scaled_width(self.width, width_mult, divisor=self.divisor)
        found: list[Block] = []
        for index in range(repeats):
            stride = self.stride if index == 0 else 1
            skip = self.skip and stride == 1 and channels == in_channels
            inner = expand_of(channels, self.mid_ratio)
            found.append(self.make(ToyBlock, mid_channels=inner, out_channels=channels, stride=stride, skip=skip))
            in_channels = channels
        return found

    @classmethod
    def from_blocks(cls, in_channels: int, run: "Sequence[ToyBlock]") -> "ToyRow":
        block = run[0]
        refused = block.stride == 1 and block.out_channels == in_channels and not block.skip
        return cls.like(run, mid_ratio=block.mid_channels / block.out_channels, skip=not refused)


@register(row=ToyRow)
@dataclass(frozen=True, slots=True, kw_only=True)
class ToyBlock(Block):
    """See the module."""

    label: ClassVar[str] = "Toy/{0.mid_channels}"
    counts: ClassVar[Mapping[str, str]] = {"mid_channels": ".first", "out_channels": ".second"}
    removable: ClassVar[bool] = True
    kernel_shrinks: ClassVar[bool] = True

    mid_channels: int
    out_channels: int
    kernel: int = 3
    stride: int = 1
    activation: str = "relu"
    skip: bool = False

    def check(self, in_channels: int) -> None:
        if self.skip and (self.stride != 1 or self.out_channels != in_channels):
            raise InvalidSpec(f"a ToyBlock with a skip keeps its shape, got {in_channels} -> {self.out_channels}")

    def lower(self, graph: GraphBuilder, name: str) -> None:
        start = graph.index
        graph.conv(name + ".first", self.mid_channels, self.kernel, self.stride, activation=self.activation)
        graph.conv(name + ".second", self.out_channels)
        if self.skip:
            graph.add(name + ".add", start)


@module_of(ToyBlock)
class ToyModule(nn.Module):
    """ToyBlock rows: first, second, [add]."""

    def __init__(self, in_channels: int, row: ToyBlock, conv: MakeConv) -> None:
        super().__init__()
        self.first = conv(in_channels, row.mid_channels, row.kernel, row.stride, act=row.activation)
        self.second = conv(row.mid_channels, row.out_channels)
        self.add = Add() if row.skip else None

    @property
    def residual_end(self) -> ConvBNAct | None:
        return self.second if self.add is not None else None

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(self.first(x))
        return out if self.add is None else self.add(out, x)
