"""Block rows of a NetworkSpec: absolute integers, one frozen class per block kind.

A row says what a paper's row says after scaling. Its input channels are the output channels of the row before,
so a row cannot disagree with its neighbour. Whether a block has a skip is a field, never inferred.
"""

from dataclasses import dataclass, fields
from operator import attrgetter

from searchspace.errors import InvalidSpec

ACTIVATIONS = ("identity", "relu", "relu6", "h_swish", "swish")
GATES = ("sigmoid", "hard_sigmoid")


def _positive(row: object, *fields: str) -> None:
    for field in fields:
        value = getattr(row, field)
        if type(value) is not int or value < 1:
            raise InvalidSpec(f"{type(row).__name__}.{field} must be an integer of at least 1, got {value!r}")


def _member(row: object, field: str, known: tuple[str, ...]) -> None:
    value = getattr(row, field)
    if value not in known:
        raise InvalidSpec(f"{type(row).__name__}.{field} must be one of {', '.join(known)}; got {value!r}")


def _odd_kernel(row: "ConvBN | MBConv | SeparableConv") -> None:
    _positive(row, "kernel", "stride", "out_channels")
    if row.kernel % 2 == 0:
        raise InvalidSpec(f"{type(row).__name__}.kernel must be odd (symmetric padding), got {row.kernel}")


def _squeeze(row: "MBConv | SeparableConv") -> None:
    if type(row.squeeze_channels) is not int or row.squeeze_channels < 0:
        raise InvalidSpec(
            f"{type(row).__name__}.squeeze_channels must be 0 (no SE) or a positive integer, "
            f"got {row.squeeze_channels!r}"
        )
    _member(row, "squeeze_activation", ACTIVATIONS)
    _member(row, "gate", GATES)
    if type(row.skip) is not bool:
        raise InvalidSpec(f"{type(row).__name__}.skip must be true or false, got {row.skip!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvBN:
    """Convolution, batch norm, activation: the stem and the 1x1 head of every network here."""

    out_channels: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    activation: str = "relu"

    def __post_init__(self) -> None:
        _odd_kernel(self)
        _positive(self, "groups")
        _member(self, "activation", ACTIVATIONS)


@dataclass(frozen=True, slots=True, kw_only=True)
class MBConv:
    """Inverted residual: 1x1 expansion, depthwise, optional SE, linear 1x1 projection, optional skip.

    Source: MobileNetV2 (arXiv:1801.04381, Table 1); SE after the depthwise as in MnasNet (arXiv:1807.11626).
    `squeeze_channels` = 0 means no SE.
    """

    expand_channels: int
    out_channels: int
    kernel: int = 3
    stride: int = 1
    activation: str = "relu"
    squeeze_channels: int = 0
    squeeze_activation: str = "relu"
    gate: str = "sigmoid"
    skip: bool = False

    def __post_init__(self) -> None:
        _odd_kernel(self)
        _positive(self, "expand_channels")
        _member(self, "activation", ACTIVATIONS)
        _squeeze(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeparableConv:
    """Depthwise, optional SE, 1x1 projection: MnasNet's SepConv and EfficientNet's MBConv1.

    `project_activation` is "identity" there and an activation in MobileNetV1 (arXiv:1704.04861, Table 1).
    """

    out_channels: int
    kernel: int = 3
    stride: int = 1
    activation: str = "relu"
    project_activation: str = "identity"
    squeeze_channels: int = 0
    squeeze_activation: str = "relu"
    gate: str = "sigmoid"
    skip: bool = False

    def __post_init__(self) -> None:
        _odd_kernel(self)
        _member(self, "activation", ACTIVATIONS)
        _member(self, "project_activation", ACTIVATIONS)
        _squeeze(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier:
    """Global average pooling, dropout, linear layer with bias. Always the last row, and only there."""

    classes: int = 1000
    dropout_percent: int = 0

    def __post_init__(self) -> None:
        _positive(self, "classes")
        if type(self.dropout_percent) is not int or not 0 <= self.dropout_percent < 100:
            raise InvalidSpec(f"Classifier.dropout_percent must be 0 to 99, got {self.dropout_percent!r}")


Block = ConvBN | MBConv | SeparableConv | Classifier
BLOCKS: dict[str, type[Block]] = {kind.__name__: kind for kind in (ConvBN, MBConv, SeparableConv, Classifier)}

_DEFAULTS = {kind: [(field.name, field.default) for field in fields(kind)] for kind in BLOCKS.values()}
_VALUES = {kind: attrgetter(*(name for name, _ in names)) for kind, names in _DEFAULTS.items()}


def identity(block: Block) -> tuple[str, dict[str, int | str | bool]]:
    """The kind and the fields that are not at their defaults: two rows share it exactly when they are one layer.

    Without SE, its activation and gate mean nothing and are left out. A field that a later version adds with a
    default changes no identity; changing a default would.
    """
    kind = type(block)
    given = {
        name: value
        for (name, default), value in zip(_DEFAULTS[kind], _VALUES[kind](block), strict=True)
        if value != default
    }
    if "squeeze_channels" not in given:
        given.pop("squeeze_activation", None)
        given.pop("gate", None)
    return kind.__name__, given


def out_channels(block: Block) -> int:
    """Channels (or classes) that `block` hands on."""
    return block.classes if isinstance(block, Classifier) else block.out_channels


def check_block(block: Block, in_channels: int, where: str) -> None:
    """Raises InvalidSpec if `block` cannot follow `in_channels` channels; `where` names it in the message."""
    if isinstance(block, ConvBN) and (in_channels % block.groups or block.out_channels % block.groups):
        raise InvalidSpec(
            f"{where}: groups must divide input and output channels, "
            f"got groups={block.groups} for {in_channels} -> {block.out_channels}"
        )
    if not isinstance(block, (MBConv, SeparableConv)) or not block.skip:
        return
    if block.stride != 1 or block.out_channels != in_channels:
        raise InvalidSpec(
            f"{where}: a skip needs stride 1 and equal channels, got stride {block.stride} "
            f"for {in_channels} -> {block.out_channels}: set skip to false or mend the row"
        )
