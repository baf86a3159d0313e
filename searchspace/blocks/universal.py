"""MobileNetV4's universal inverted bottleneck: UniversalIB, and its template row UniversalRow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from searchspace.blocks.mbconv import MBConv, check_skip
from searchspace.blocks.protocol import SMALLEST_KERNEL, Block, Row, Value, register
from searchspace.errors import InvalidSpec
from searchspace.layers import GraphBuilder
from searchspace.rounding import expand_of, expand_ratio_of, scaled_width


@dataclass(frozen=True, slots=True, kw_only=True)
class UniversalRow(Row):
    """`repeats` universal inverted bottlenecks; a kernel of 0 leaves that depthwise convolution out.

    With the middle one alone a block is an MBConv, so that one network has one spec. The first of several blocks has
    the stride.
    """

    choices: ClassVar[tuple[str, ...] | None] = ("expand_ratio", "start_kernel", "middle_kernel", "activation")

    expand_ratio: float
    width: int
    start_kernel: int = 0
    middle_kernel: int = 3
    expand_divisor: int = 1
    activation: str = "relu"
    skip: bool = True
    divisor: int = 8

    def blocks(self, in_channels: int, width_mult: float, repeats: int) -> list[Block]:
        """`repeats` UniversalIB (or MBConv) rows; the first has the stride and the change of width."""
        channels = scaled_width(self.width, width_mult, divisor=self.divisor)
        rows = [self._block(in_channels, channels, self.stride)]
        return rows + [self._block(channels, channels, 1)] * (repeats - 1)

    def _block(self, in_channels: int, channels: int, stride: int) -> Block:
        own: dict[str, Any] = {
            "expand_channels": expand_of(in_channels, self.expand_ratio, divisor=self.expand_divisor),
            "out_channels": channels,
            "stride": stride,
            "skip": self.skip and stride == 1 and in_channels == channels,
        }
        if self.middle_kernel and not self.start_kernel:
            return self.make(MBConv, kernel=self.middle_kernel, **own)
        return self.make(UniversalIB, **own)

    @classmethod
    def from_blocks(cls, in_channels: int, run: "Sequence[UniversalIB]") -> Self:
        """A ratio that explains every block of the run's kind."""
        inputs = (in_channels, *(each.channels_after(0) for each in run[:-1]))
        inside = [(c, b) for c, b in zip(inputs, run, strict=True) if isinstance(b, UniversalIB)]
        ratio = expand_ratio_of([(c, b.expand_channels) for c, b in inside])
        refused = any(b.stride == 1 and b.out_channels == c and not b.skip for c, b in inside)
        return cls.like(run, expand_ratio=ratio, skip=not refused)

    def ratios(self) -> tuple[float | None, float | None]:
        """The expansion's; there is no SE."""
        return self.expand_ratio, None

    @classmethod
    def check_choices(cls, values: Mapping[str, tuple[Any, ...]], *, stride: int) -> str | None:
        """Kernels are odd or 0, and where there is a stride one of both is there."""
        for name in ("start_kernel", "middle_kernel"):
            for value in values[name]:
                if type(value) is not int or value not in (0, *range(3, 16, 2)):
                    return f"{name} must be 0 (none) or an odd integer from 3 to 15, got {value!r}"
        if stride > 1 and 0 in values["start_kernel"] and 0 in values["middle_kernel"]:
            return f"middle_kernel must be above 0, or start_kernel, where the stage has stride {stride}: take 0 out"
        return None

    @classmethod
    def may_give(cls, block: Block) -> bool:
        """A UniversalIB, or an MBConv without SE."""
        return isinstance(block, UniversalIB) or (isinstance(block, MBConv) and not block.squeeze_channels)

    @classmethod
    def choices_of(cls, block: "UniversalIB | MBConv") -> dict[str, Value]:
        """All but the expansion ratio, which rounding hides."""
        start, middle = (0, block.kernel) if isinstance(block, MBConv) else (block.start_kernel, block.middle_kernel)
        return {"start_kernel": start, "middle_kernel": middle, "activation": block.activation}


@register(row=UniversalRow)
@dataclass(frozen=True, slots=True, kw_only=True)
class UniversalIB(Block):
    """[A depthwise convolution without activation,] 1x1 expansion, [depthwise,] linear 1x1 projection, optional skip.

    With both depthwise convolutions it is the paper's ExtraDW, with the first alone ConvNeXt, with none FFN; the middle
    one alone is an MBConv. The stride is the middle one's, else the first one's.
    Source: MobileNetV4 (arXiv:2404.10518, section 3, Figure 4).
    """

    counts: ClassVar[Mapping[str, str]] = {"expand_channels": ".expand", "out_channels": ".project"}
    depthwise: ClassVar[tuple[str, ...]] = (".start", ".depthwise")
    removable: ClassVar[bool] = True

    expand_channels: int
    out_channels: int
    start_kernel: int = 0
    middle_kernel: int = 0
    stride: int = 1
    activation: str = "relu"
    skip: bool = False

    def __post_init__(self) -> None:
        Block.__post_init__(self)
        if self.middle_kernel and not self.start_kernel:
            raise InvalidSpec(
                f"a UniversalIB with its middle depthwise convolution alone is an MBConv, got middle_kernel "
                f"{self.middle_kernel} and start_kernel 0: write it as one"
            )

    @property
    def kernel(self) -> int:
        """The middle depthwise convolution's, else the first one's; 1 for none."""
        return self.middle_kernel or self.start_kernel or 1

    def check(self, in_channels: int) -> None:
        """A skip sums equal shapes, and a stride needs a depthwise convolution."""
        check_skip(self, in_channels)
        if self.stride > 1 and not self.start_kernel:
            raise InvalidSpec(
                f"a UniversalIB needs a depthwise convolution for its stride, got stride {self.stride} and no kernel: "
                "give one, or stride 1"
            )

    def lower(self, graph: GraphBuilder, name: str) -> None:
        """[start,] expand, [depthwise,] project, [add]."""
        start, channels, inner = graph.index, graph.shape[0], self.expand_channels
        if self.start_kernel:
            stride = 1 if self.middle_kernel else self.stride
            graph.conv(name + ".start", channels, self.start_kernel, stride, channels)
        graph.conv(name + ".expand", inner, activation=self.activation)
        if self.middle_kernel:
            graph.conv(name + ".depthwise", inner, self.middle_kernel, self.stride, inner, self.activation)
        graph.conv(name + ".project", self.out_channels)
        if self.skip:
            graph.add(name + ".add", start)

    def with_smaller_kernel(self) -> Self | None:
        """The row with its larger kernel, of equal ones the middle one, two pixels smaller."""
        field = "middle_kernel" if self.middle_kernel >= self.start_kernel else "start_kernel"
        smaller: dict[str, Any] = {field: getattr(self, field) - 2}
        return replace(self, **smaller) if smaller[field] >= SMALLEST_KERNEL else None

    def printed(self) -> str:
        """The paper's name; the first kernel behind a stroke where there are two."""
        if self.middle_kernel:
            return f"ExtraDW/{self.start_kernel}"
        return "ConvNeXt" if self.start_kernel else "FFN"
