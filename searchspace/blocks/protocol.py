"""What every kind of block answers, and the one registry of kinds.

A kind is two frozen dataclasses in one file: a `Block`, the row of a NetworkSpec (integers), and a `Row`, the row of a
Template (ratios and repeats). `register` makes a kind known; nothing else lists kinds. The torch side is registered
for the same class in `searchspace.nn.blocks`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Self, TypeVar

from searchspace.blocks.rules import PADDINGS, check_fields, shared_fields
from searchspace.errors import InvalidSpec
from searchspace.layers import GraphBuilder
from searchspace.rounding import conv_out
from searchspace.strict_json import checked

SMALLEST_KERNEL = 3
Value = int | float | bool | str


class CoupledChannels(NamedTuple):
    """What a block says of its channels beyond its layers. Layers are given by the ending of their names.

    Attributes:
        counts: {field of the row: the layer whose output channels it counts}. A field that counts the inside of an SE
            layer names that layer.
        depthwise: Convolutions that hand channels on one to one.
        dense: Convolutions that are not depthwise, but would be with as many channels in and out as groups.
        tied: {layer: an earlier one whose output channels are its own one to one, None for what it reads}.
    """

    counts: Mapping[str, str]
    depthwise: tuple[str, ...] = ()
    dense: tuple[str, ...] = ()
    tied: Mapping[str, str | None] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Block(ABC):
    """A row of a NetworkSpec: absolute integers, checked by `rules` where the row is made.

    Its input channels are the output channels of the row before, so a row cannot disagree with its neighbour.
    A kind is a frozen dataclass with slots (in its methods `super()` does not work). It states the class variables that
    differ from these, writes `lower`, and overrides what else is not so for it.
    """

    label: ClassVar[str] = ""
    """Its name in the printed table, such as "Shuffle/{0.groups}"; "" for the kind's own."""
    prints_ratio: ClassVar[bool] = False
    """Whether papers write its expansion ratio behind its name: MBConv6."""
    counts: ClassVar[Mapping[str, str]] = {}
    """See `CoupledChannels`."""
    depthwise: ClassVar[tuple[str, ...]] = ()
    """See `CoupledChannels`."""
    is_head: ClassVar[bool] = False
    """Whether it gives the logits and ends a network."""
    removable: ClassVar[bool] = False
    """Whether a network works without it where its output has the shape of its input."""
    kernel_shrinks: ClassVar[bool] = False
    """Whether NetAdapt may make its kernel smaller."""
    unused: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """{field: the fields that mean nothing while it is 0}."""
    paddings: ClassVar[tuple[str, ...]] = PADDINGS
    """The words that its `padding` may be."""

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def reduction(self) -> int:
        """Input pixels per pixel of the output: the stride, 1 where there is none."""
        stride: int = getattr(self, "stride", 1)
        return stride

    def channels_after(self, in_channels: int) -> int:
        """Channels that it hands on behind `in_channels` channels: its `out_channels`, or these if it has none."""
        channels: int = getattr(self, "out_channels", in_channels)
        return channels

    def size_after(self, size: int) -> int:
        """Height or width behind a map of `size` px; below 1 where an unpadded kernel does not fit."""
        padding = getattr(self, "padding", "half")
        if padding == "half":
            return -(-size // self.reduction)
        return conv_out(size, self.reduction, kernel=getattr(self, "kernel", 1), padding=padding)

    def check(self, in_channels: int) -> None:
        """Raises InvalidSpec if it cannot follow `in_channels` channels. By default it can."""
        return

    @abstractmethod
    def lower(self, graph: GraphBuilder, name: str) -> None:
        """Append its layers. Each has the name of its module: `name`, or `name` and ".expand" for a submodule."""

    def channels(self, in_channels: int) -> CoupledChannels:
        """Which layers' channels the fields count, and which layers are depthwise, behind `in_channels` channels."""
        return CoupledChannels(self.counts, self.depthwise)

    def without_se(self) -> Self | None:
        """The row without its SE block; None where it has none."""
        return None

    def deployed(self) -> "Block":
        """The row as it is deployed: itself, but for blocks of parallel branches that become one convolution."""
        return self

    def with_smaller_kernel(self) -> Self | None:
        """The row with the next smaller odd kernel, at least 3; None where there is none or no padding to follow it."""
        smaller: dict[str, Any] = {"kernel": getattr(self, "kernel", 0) - 2}
        may = self.kernel_shrinks and getattr(self, "padding", "half") == "half"
        return replace(self, **smaller) if may and smaller["kernel"] >= SMALLEST_KERNEL else None

    def printed(self) -> str:
        """Its name in the printed table, at most 10 characters; its kernel, activation and stride stand beside it."""
        return self.label.format(self) or type(self).__name__

    def identity(self) -> tuple[str, dict[str, Value]]:
        """The kind and the fields that are not at their defaults: two rows share it exactly when they are one layer.

        `unused` fields are left out. A field that a later version adds with a default changes no identity; changing a
        default would.
        """
        names, values, defaults = shared_fields(type(self), type(self))
        given = {
            name: value for name, value, default in zip(names, values(self), defaults, strict=True) if value != default
        }
        for size, idle in self.unused.items():
            if size not in given:
                for field in idle:
                    given.pop(field, None)
        return type(self).__name__, given

    def to_dict(self) -> dict[str, Any]:
        """The row as a flat dict of JSON types, its kind under "block"."""
        return {"block": type(self).__name__} | {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Head(Block):
    """A block that gives the logits, the last one of a network. `dropout_percent` is before its last layer."""

    is_head: ClassVar[bool] = True

    classes: int = 1000
    dropout_percent: int = 0

    def channels_after(self, in_channels: int) -> int:
        """The classes."""
        return self.classes


@dataclass(frozen=True, slots=True, kw_only=True)
class Row(ABC):
    """A row of a Template: one kind's block before scaling, `repeats` times; only the first has the stride.

    Depth scaling changes `repeats` where `grows_deeper`. Fields with the names of the block's mean the same.
    """

    is_head: ClassVar[bool] = False
    """Whether its block is a head."""
    choices: ClassVar[tuple[str, ...] | None] = None
    """What a SearchSpace may choose of the row beside its width and repeats; None where it cannot have the row."""

    repeats: int = 1
    stride: int = 1
    grows_deeper: bool = True

    @abstractmethod
    def blocks(self, in_channels: int, width_mult: float, repeats: int) -> list[Block]:
        """`repeats` blocks behind `in_channels` channels, their widths multiplied and rounded by the paper's rule."""

    def make(self, kind: type[Block], **changes: Any) -> Block:
        """A block with the row's values for the fields that both have, and these changes."""
        names, values, _ = shared_fields(type(self), kind)
        return kind(**dict(zip(names, values(self), strict=True)) | changes)

    @classmethod
    def from_blocks(cls, in_channels: int, run: Sequence[Any]) -> Self:
        """The row for blocks of its kinds behind `in_channels` channels that are alike after the first one.

        Whether the row explains the run (`blocks` gives it back) is for the caller to see. It explains a run of one.
        """
        return cls.like(run)

    @classmethod
    def like(cls, run: Sequence[Any], **more: Any) -> Self:
        """A row with the first block's values for the fields that both have, its width, and `more`."""
        names, values, _ = shared_fields(cls, run[0].__class__)
        given = dict(zip(names, values(run[0]), strict=True))
        if "width" in cls.__dataclass_fields__:
            given["width"] = run[0].out_channels
        return cls(**{**given, "repeats": len(run), **more})

    def input_divisor(self, output_divisor: int) -> int:
        """What the row's input channels must be divisible by, where its output channels must be by `output_divisor`."""
        return 1

    def divisible_by(self, divisor: int) -> Self:
        """The row with output channels that stay divisible by `divisor` however it is scaled, if that is its to say."""
        return self

    def ratios(self) -> tuple[float | None, float | None]:
        """(expansion, SE) channels per input channel, for the printed table; None where they mean nothing."""
        return None, None

    @classmethod
    def from_choices(cls, chosen: Mapping[str, Any], *, width: int, stride: int, repeats: int, se_ratio: float) -> Self:
        """The row that a search space's choices mean; by default each choice is a field, and so is `width`.

        `chosen` has a value for each of `choices`; `se_ratio` is the space's own, for kinds with an SE block.
        """
        given: dict[str, Any] = {"width": width, **chosen}
        return cls(stride=stride, repeats=repeats, **given)

    @classmethod
    def check_choices(cls, values: Mapping[str, tuple[Any, ...]], *, stride: int) -> str | None:
        """What is wrong with the values of a stage's choices, beginning with a choice's name; by default nothing.

        What can be said of one value of a choice that several kinds have is said elsewhere.
        """
        return None

    @classmethod
    def may_give(cls, block: Block) -> bool:
        """Whether `blocks` may give a block of this kind; by default it gives those of its own kinds."""
        return ROWS.get(type(block)) is cls

    @classmethod
    def choices_of(cls, block: Any) -> dict[str, Value]:
        """The choices that can be read off a block of this kind; `encode` tries all values of the others."""
        return {name: getattr(block, name) for name in cls.choices or () if hasattr(block, name)}


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadRow(Row):
    """The last row of a Template."""

    is_head: ClassVar[bool] = True

    classes: int = 1000
    dropout_percent: int = 0
    grows_deeper: bool = False


BLOCKS: dict[str, type[Block]] = {}
"""Every registered kind by its name, which is its "block" in a spec's JSON."""
ROWS: dict[type[Block], type[Row]] = {}
"""The template row of every kind."""
Kind = TypeVar("Kind", bound=type[Block])


def register(*, row: type[Row]) -> Callable[[Kind], Kind]:
    """A class decorator that makes a kind of block known, with its template row.

    Raises InvalidSpec where another kind has that name.
    """

    def add(kind: Kind) -> Kind:
        if BLOCKS.setdefault(kind.__name__, kind) is not kind:
            raise InvalidSpec(f"a block kind must have a name of its own, {kind.__name__!r} is taken")
        ROWS[kind] = row
        return kind

    return add


def block_from_dict(data: object, where: str) -> Block:
    """The row that `Block.to_dict` wrote. Raises InvalidSpec that names `where` and what is wrong."""
    kind = data.get("block") if isinstance(data, dict) else None
    if not isinstance(kind, str) or kind not in BLOCKS:
        raise InvalidSpec(f'{where}: "block" must be one of {", ".join(BLOCKS)}; got {kind!r}')
    make = BLOCKS[kind]
    known = {f.name: f.default is MISSING for f in fields(make)}
    row = dict(checked(data, {"block": True} | known, where))
    del row["block"]
    try:
        return make(**row)
    except InvalidSpec as error:
        raise InvalidSpec(f"{where}: {error}") from None
