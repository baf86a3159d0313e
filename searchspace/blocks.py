"""Block rows of a NetworkSpec: absolute integers, one frozen class per block kind.

A row says what a paper's row says after scaling. Its input channels are the output channels of the row before,
so a row cannot disagree with its neighbour. Whether a block has a skip is a field, never inferred.
"""

from dataclasses import dataclass, fields
from operator import attrgetter

from searchspace.errors import InvalidSpec
from searchspace.rounding import conv_out

ACTIVATIONS = ("identity", "relu", "relu6", "h_swish", "swish")
GATES = ("sigmoid", "hard_sigmoid")
PADDINGS = ("half", "valid", "ceil")


def _positive(row: object, *fields: str) -> None:
    for field in fields:
        value = getattr(row, field)
        if type(value) is not int or value < 1:
            raise InvalidSpec(f"{type(row).__name__}.{field} must be an integer of at least 1, got {value!r}")


def _member(row: object, field: str, known: tuple[str, ...]) -> None:
    value = getattr(row, field)
    if value not in known:
        raise InvalidSpec(f"{type(row).__name__}.{field} must be one of {', '.join(known)}; got {value!r}")


def _odd_kernel(row: "ConvBN | Conv | MaxPool | MBConv | SeparableConv | ShuffleUnit | ShuffleUnitV2") -> None:
    _positive(row, "kernel", "stride")
    if row.kernel % 2 == 0:
        raise InvalidSpec(f"{type(row).__name__}.kernel must be odd (symmetric padding), got {row.kernel}")


def _zero_or_positive(row: object, field: str, absent: str) -> None:
    value = getattr(row, field)
    if type(value) is not int or value < 0:
        raise InvalidSpec(f"{type(row).__name__}.{field} must be 0 ({absent}) or a positive integer, got {value!r}")


def _dropout(row: "Classifier | ConvClassifier") -> None:
    percent = row.dropout_percent
    if type(percent) is not int or not 0 <= percent < 100:
        raise InvalidSpec(f"{type(row).__name__}.dropout_percent must be 0 to 99, got {percent!r}")


def _squeeze(row: "MBConv | SeparableConv") -> None:
    _zero_or_positive(row, "squeeze_channels", "no SE")
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
        _positive(self, "out_channels", "groups")
        _member(self, "activation", ACTIVATIONS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conv:
    """Convolution with bias and activation, without batch norm: SqueezeNet's stem (arXiv:1602.07360, Table 1).

    `padding`: "half" pads (kernel - 1) / 2 on every side, "valid" not at all.
    """

    out_channels: int
    kernel: int = 1
    stride: int = 1
    padding: str = "half"
    activation: str = "relu"

    def __post_init__(self) -> None:
        _odd_kernel(self)
        _positive(self, "out_channels")
        _member(self, "padding", ("half", "valid"))
        _member(self, "activation", ACTIVATIONS)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxPool:
    """Max pooling; the channels stay.

    `padding`: "half" pads (kernel - 1) / 2 on every side, "valid" not at all, "ceil" not at all with the last,
    incomplete window kept (Caffe's rule, SqueezeNet's).
    """

    kernel: int = 3
    stride: int = 2
    padding: str = "half"

    def __post_init__(self) -> None:
        _odd_kernel(self)
        _member(self, "padding", PADDINGS)


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
        _positive(self, "out_channels", "expand_channels")
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
        _positive(self, "out_channels")
        _member(self, "activation", ACTIVATIONS)
        _member(self, "project_activation", ACTIVATIONS)
        _squeeze(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fire:
    """Squeeze 1x1, then a 1x1 and a 3x3 expansion side by side, concatenated; convolutions with bias, no batch norm.

    Source: SqueezeNet (arXiv:1602.07360, section 3.2).
    """

    squeeze_channels: int
    expand1x1_channels: int
    expand3x3_channels: int
    activation: str = "relu"

    def __post_init__(self) -> None:
        _positive(self, "squeeze_channels", "expand1x1_channels", "expand3x3_channels")
        _member(self, "activation", ACTIVATIONS)

    @property
    def out_channels(self) -> int:
        """Both expansions."""
        return self.expand1x1_channels + self.expand3x3_channels


@dataclass(frozen=True, slots=True, kw_only=True)
class ShuffleUnit:
    """ShuffleNetV1's unit: grouped 1x1 reduction, channel shuffle, depthwise, grouped 1x1 expansion.

    Stride 1 sums with the input; a larger stride concatenates the average-pooled input (3x3), so that the branch
    hands on `out_channels` less the input's. `reduce_groups` are the groups of the first 1x1 (1 in the paper's very
    first unit), `groups` those of the shuffle and of the last 1x1.
    Source: arXiv:1707.01083, Figure 2 (b) and (c).
    """

    bottleneck_channels: int
    out_channels: int
    groups: int = 1
    reduce_groups: int = 1
    kernel: int = 3
    stride: int = 1
    activation: str = "relu"

    def __post_init__(self) -> None:
        _odd_kernel(self)
        _positive(self, "bottleneck_channels", "out_channels", "groups", "reduce_groups")
        _member(self, "activation", ACTIVATIONS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShuffleUnitV2:
    """ShuffleNetV2's unit: half of the channels pass (stride 1) or take a depthwise branch of their own (larger
    stride), the others go through 1x1, depthwise, 1x1; concatenated and shuffled in two groups.

    `mid_channels` is the width of the 1x1 - depthwise - 1x1 branch inside. Source: arXiv:1807.11164, Figure 3 (c), (d).
    """

    mid_channels: int
    out_channels: int
    kernel: int = 3
    stride: int = 1
    activation: str = "relu"

    def __post_init__(self) -> None:
        _odd_kernel(self)
        _positive(self, "mid_channels", "out_channels")
        if self.out_channels % 2:
            raise InvalidSpec(f"ShuffleUnitV2.out_channels must be even (two equal halves), got {self.out_channels}")
        _member(self, "activation", ACTIVATIONS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier:
    """Global average pooling, [a hidden linear layer with activation,] dropout, linear layer with bias.

    `hidden_features` 0 means no hidden layer; MobileNetV3's slim head has one (arXiv:1905.02244, section 5.1).
    """

    classes: int = 1000
    dropout_percent: int = 0
    hidden_features: int = 0
    hidden_activation: str = "h_swish"

    def __post_init__(self) -> None:
        _positive(self, "classes")
        _dropout(self)
        _zero_or_positive(self, "hidden_features", "no hidden layer")
        _member(self, "hidden_activation", ACTIVATIONS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvClassifier:
    """Dropout, 1x1 convolution with bias to the classes, activation, global average pooling.

    Source: SqueezeNet (arXiv:1602.07360, Table 1).
    """

    classes: int = 1000
    dropout_percent: int = 0
    activation: str = "relu"

    def __post_init__(self) -> None:
        _positive(self, "classes")
        _dropout(self)
        _member(self, "activation", ACTIVATIONS)


Head = Classifier | ConvClassifier
Block = ConvBN | Conv | MaxPool | MBConv | SeparableConv | Fire | ShuffleUnit | ShuffleUnitV2 | Head
HEADS = (Classifier, ConvClassifier)
BLOCKS: dict[str, type[Block]] = {
    kind.__name__: kind
    for kind in (ConvBN, Conv, MaxPool, MBConv, SeparableConv, Fire, ShuffleUnit, ShuffleUnitV2, *HEADS)
}

_DEFAULTS = {kind: [(field.name, field.default) for field in fields(kind)] for kind in BLOCKS.values()}
_VALUES = {kind: attrgetter(*(name for name, _ in names)) for kind, names in _DEFAULTS.items()}
# Fields that mean nothing while another one is 0.
_IDLE = {"squeeze_channels": ("squeeze_activation", "gate"), "hidden_features": ("hidden_activation",)}


def identity(block: Block) -> tuple[str, dict[str, int | str | bool]]:
    """The kind and the fields that are not at their defaults: two rows share it exactly when they are one layer.

    Without SE, its activation and gate mean nothing and are left out, as is the activation of an absent hidden layer.
    A field that a later version adds with a default changes no identity; changing a default would.
    """
    kind = type(block)
    given = {
        name: value
        for (name, default), value in zip(_DEFAULTS[kind], _VALUES[kind](block), strict=True)
        if value != default
    }
    for size, idle in _IDLE.items():
        if size not in given:
            for field in idle:
                given.pop(field, None)
    return kind.__name__, given


def out_channels(block: Block, in_channels: int) -> int:
    """Channels (or classes) that `block` hands on behind `in_channels` channels."""
    if isinstance(block, HEADS):
        return block.classes
    return in_channels if isinstance(block, MaxPool) else block.out_channels


def stride_of(block: Block) -> int:
    """Pixels of the block's input per pixel of its output; 1 for a head."""
    return 1 if isinstance(block, (Fire, *HEADS)) else block.stride


def out_size(block: Block, size: int) -> int:
    """Height or width behind `block`; below 1 where the kernel does not fit."""
    if isinstance(block, (Conv, MaxPool)):
        return conv_out(size, block.stride, kernel=block.kernel, padding=block.padding)
    return conv_out(size, stride_of(block))


def check_block(block: Block, in_channels: int, where: str) -> None:
    """Raises InvalidSpec if `block` cannot follow `in_channels` channels; `where` names it in the message."""
    match block:
        case ConvBN():
            _check_groups(where, block.groups, in_channels, block.out_channels)
        case MBConv() | SeparableConv():
            if block.skip and (block.stride != 1 or block.out_channels != in_channels):
                raise InvalidSpec(
                    f"{where}: a skip needs stride 1 and equal channels, got stride {block.stride} "
                    f"for {in_channels} -> {block.out_channels}: set skip to false or mend the row"
                )
        case ShuffleUnit():
            _check_shuffle_unit(block, in_channels, where)
        case ShuffleUnitV2():
            if block.stride == 1 and block.out_channels != in_channels:
                raise InvalidSpec(
                    f"{where}: a ShuffleUnitV2 of stride 1 passes half of its input on, so its channels stay; got "
                    f"{in_channels} -> {block.out_channels}"
                )
        case _:
            pass


def _check_groups(where: str, groups: int, in_channels: int, channels: int) -> None:
    if in_channels % groups or channels % groups:
        raise InvalidSpec(
            f"{where}: groups must divide input and output channels, got groups={groups} "
            f"for {in_channels} -> {channels}"
        )


def _check_shuffle_unit(block: ShuffleUnit, in_channels: int, where: str) -> None:
    branch = block.out_channels if block.stride == 1 else block.out_channels - in_channels
    if block.stride == 1 and branch != in_channels:
        raise InvalidSpec(
            f"{where}: a ShuffleUnit of stride 1 is summed with its input, so its channels stay; got "
            f"{in_channels} -> {block.out_channels}"
        )
    if branch < 1:
        raise InvalidSpec(
            f"{where}: a ShuffleUnit of stride {block.stride} concatenates its input, so it must hand on more "
            f"channels than it gets; got {in_channels} -> {block.out_channels}"
        )
    _check_groups(where, block.reduce_groups, in_channels, block.bottleneck_channels)
    _check_groups(where, block.groups, block.bottleneck_channels, branch)
