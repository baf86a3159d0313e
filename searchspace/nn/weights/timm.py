"""timm's names (its EfficientNet and MobileNetV3 classes): one scheme for all of its mobile networks."""

from collections.abc import Iterator

from searchspace.blocks import (
    Block,
    Classifier,
    ConvBN,
    FusedConv,
    FusedMBConv,
    MBConv,
    MixConv,
    SeparableConv,
    UniversalIB,
)
from searchspace.nn.weights.names import Family, Joined, Name, Rows, Sections, parts, stacked

_UNIVERSAL = {"start": "dw_start", "expand": "pw_exp", "depthwise": "dw_mid", "project": "pw_proj"}


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
    return isinstance(block, MBConv | MixConv | FusedMBConv | FusedConv | UniversalIB)


def _is_v4(net: Sections) -> bool:
    """Whether it is a MobileNetV4: its inverted bottlenecks are timm's universal ones, the plain ones among them."""
    return getattr(net.head.block, "hidden_norm", False) or any(isinstance(row.block, UniversalIB) for row in net.body)


def _names(net: Sections) -> Iterator[Name]:
    yield from ("conv_stem", "bn1")
    stacks, last, head = net.stacks, net.last, net.head.block
    assert isinstance(head, Classifier)
    if head.hidden_features and last:  # MobileNetV3: the last convolution is one of the blocks
        stacks, last = stacked([*net.body, last]), None
    block_names = _universal if _is_v4(net) else _block
    for number, stack in enumerate(stacks):
        for index, row in enumerate(stack):
            place = f"blocks.{number}.{index}"
            if isinstance(row.block, MixConv):
                yield from _mixed(row.block, place)
            else:
                yield from (f"{place}.{name}" for name in block_names(row.block))
    if last:
        yield from ("conv_head", "bn2")
    if head.hidden_features:
        yield from ("conv_head", "norm_head")[: 1 + head.hidden_norm]  # a 1x1 convolution; ours may be a linear layer
    yield "classifier"


def _universal(block: Block) -> Iterator[str]:
    if not isinstance(block, MBConv | UniversalIB):
        yield from _block(block)
        return
    for part in parts(block):
        if part == "squeeze":
            yield from ("se.conv_reduce", "se.conv_expand")
        else:
            yield from (f"{_UNIVERSAL[part]}.{name}" for name in ("conv", "bn"))


def _mixed(block: MixConv, place: str) -> Iterator[Name]:
    """Timm has a convolution for each group and each kernel, and one batch norm behind all of them."""
    yield from (_grouped(f"{place}.conv_pw", block.expand_groups), f"{place}.bn1")
    first = 0
    for index, channels in enumerate(block.parts):
        yield f"{place}.conv_dw.{index}" if block.kernels > 1 else f"{place}.conv_dw"
        yield Rows(f"{place}.bn2", first, first + channels)
        first += channels
    if block.squeeze_channels:
        yield from (f"{place}.se.conv_reduce", f"{place}.se.conv_expand")
    yield from (_grouped(f"{place}.conv_pwl", block.project_groups), f"{place}.bn3")


def _grouped(name: str, groups: int) -> Name:
    return name if groups == 1 else Joined(tuple(f"{name}.{group}" for group in range(groups)))


def _block(block: Block) -> Iterator[str]:
    if isinstance(block, ConvBN | FusedConv):
        yield from ("conv", "bn1")
        return
    if isinstance(block, FusedMBConv):
        yield from ("conv_exp", "bn1", "conv_pwl", "bn2")
        return
    convs = iter(("conv_pw", "conv_dw", "conv_pwl") if isinstance(block, MBConv) else ("conv_dw", "conv_pw"))
    norms = iter(("bn1", "bn2", "bn3"))
    for part in parts(block):
        yield from ("se.conv_reduce", "se.conv_expand") if part == "squeeze" else (next(convs), next(norms))


FAMILIES = (
    Family(
        "MobileNet V1 to V4, MnasNet, EfficientNet V1 and V2, FBNet-C, Single-Path NAS, TinyNet, HardCoRe-NAS, MixNet "
        "and LCNet (inverted residuals, fused, universal or depthwise separable blocks, linear classifier)",
        _fits,
        _names,
        lambda net, padding: (1e-3 if padding == "same" else 1e-5, 0.1),
    ),
)
