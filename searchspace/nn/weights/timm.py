"""timm's names (its EfficientNet and MobileNetV3 classes): one scheme for all of its mobile networks."""

from collections.abc import Iterator

from searchspace.blocks import Block, Classifier, ConvBN, MBConv, SeparableConv
from searchspace.nn.weights.names import Family, Sections, parts, stacked


def _fits(net: Sections) -> bool:
    rows = (net.stem, *net.body, *([net.last] if net.last else []))
    ends = isinstance(net.stem.block, ConvBN) and isinstance(net.head.block, Classifier)
    return ends and all(_is_known(row.block) for row in rows)


def _is_known(block: Block) -> bool:
    match block:
        case ConvBN(groups=groups):
            return groups == 1
        case SeparableConv(activation=inner, project_activation=outer):
            return outer in ("identity", inner)
    return isinstance(block, MBConv)


def _names(net: Sections) -> Iterator[str]:
    yield from ("conv_stem", "bn1")
    stacks, last, head = net.stacks, net.last, net.head.block
    assert isinstance(head, Classifier)
    if head.hidden_features and last:  # MobileNetV3: the last convolution is one of the blocks
        stacks, last = stacked([*net.body, last]), None
    for number, stack in enumerate(stacks):
        for index, row in enumerate(stack):
            yield from (f"blocks.{number}.{index}.{name}" for name in _block(row.block))
    if last:
        yield from ("conv_head", "bn2")
    if head.hidden_features:
        yield "conv_head"  # a 1x1 convolution where ours is a linear layer
    yield "classifier"


def _block(block: Block) -> Iterator[str]:
    if isinstance(block, ConvBN):
        yield from ("conv", "bn1")
        return
    convs = iter(("conv_pw", "conv_dw", "conv_pwl") if isinstance(block, MBConv) else ("conv_dw", "conv_pw"))
    norms = iter(("bn1", "bn2", "bn3"))
    for part in parts(block):
        yield from ("se.conv_reduce", "se.conv_expand") if part == "squeeze" else (next(convs), next(norms))


FAMILIES = (
    Family(
        "MobileNet V1 to V3, MnasNet, EfficientNet, FBNet-C and Single-Path NAS (inverted residuals or depthwise "
        "separable blocks, linear classifier)",
        _fits,
        _names,
        lambda net, padding: (1e-3 if padding == "same" else 1e-5, 0.1),
    ),
)
