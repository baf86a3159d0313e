"""timm's names (its EfficientNet and MobileNetV3 classes): one scheme for all of its mobile networks."""

from collections.abc import Iterator

from searchspace.blocks import Classifier, ConvBN, MBConv, SeparableConv
from searchspace.nn.weights.names import Family, Named, Row, Sections, conv_bn, parts, squeeze_excite, stacked


def _fits(net: Sections) -> bool:
    return (
        isinstance(net.stem.block, ConvBN)
        and isinstance(net.head.block, Classifier)
        and all(_known(row) for row in (net.stem, *net.body, *([net.last] if net.last else [])))
    )


def _known(row: Row) -> bool:
    match row.block:
        case ConvBN(groups=groups):
            return groups == 1
        case SeparableConv(activation=inner, project_activation=outer):
            return outer in ("identity", inner)
        case MBConv():
            return True
    return False


def _names(net: Sections) -> Iterator[Named]:
    yield from conv_bn("conv_stem", "bn1", net.stem.where)
    stacks, last, head = net.stacks, net.last, net.head
    assert isinstance(head.block, Classifier)
    if head.block.hidden_features and last:  # MobileNetV3: the last convolution is one of the blocks
        stacks, last = stacked([*net.body, last]), None
    for number, stack in enumerate(stacks):
        for index, row in enumerate(stack):
            yield from _block(f"blocks.{number}.{index}", row)
    if last:
        yield from conv_bn("conv_head", "bn2", last.where)
    if head.block.hidden_features:
        yield Named("conv_head", f"{head.where}.hidden", pointwise=True)
    yield Named("classifier", f"{head.where}.linear")


def _block(theirs: str, row: Row) -> Iterator[Named]:
    block = row.block
    if isinstance(block, ConvBN):
        yield from conv_bn(f"{theirs}.conv", f"{theirs}.bn1", row.where)
        return
    convs = ["conv_pw", "conv_dw", "conv_pwl"] if isinstance(block, MBConv) else ["conv_dw", "conv_pw"]
    number = 0
    for part in parts(block):
        ours = f"{row.where}.{part}"
        if part == "squeeze":
            yield from squeeze_excite(f"{theirs}.se.conv_reduce", f"{theirs}.se.conv_expand", ours)
        else:
            number += 1
            yield from conv_bn(f"{theirs}.{convs[number - 1]}", f"{theirs}.bn{number}", ours)


def _norm(_: Sections, padding: str) -> tuple[float, float]:
    return (1e-3 if padding == "same" else 1e-5), 0.1


FAMILIES = (
    Family(
        "MobileNet V1 to V3, MnasNet, EfficientNet, FBNet-C and Single-Path NAS (inverted residuals or depthwise "
        "separable blocks, linear classifier)",
        _fits,
        _names,
        _norm,
    ),
)
