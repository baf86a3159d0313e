"""timm's names for networks that are not of its EfficientNet and MobileNetV3 classes: a scheme for each class."""

from collections.abc import Iterator

from searchspace.blocks import (
    AffineClassifier,
    BasicBlock,
    Bottleneck,
    Classifier,
    ConvBN,
    GhostBottleneck,
    HGBlock,
    HGStem,
    MaxPool,
    RepConv,
)
from searchspace.nn.weights.names import Family, Row, Sections, stacked


def _linear_head(net: Sections) -> bool:
    return isinstance(net.head.block, Classifier) and not net.head.block.hidden_features


def _dense_stem(net: Sections) -> bool:
    return isinstance(net.stem.block, ConvBN) and net.stem.block.groups == 1 and net.last is None


def _is_resnet(net: Sections) -> bool:
    pool, *blocks = (row.block for row in net.body) if net.body else (None,)
    kinds = {type(block) for block in blocks}
    return (
        _linear_head(net)
        and _dense_stem(net)
        and isinstance(pool, MaxPool)
        and kinds in ({BasicBlock}, {Bottleneck})
        and not any(getattr(block, "squeeze_channels", 0) for block in blocks)
    )


def _resnet(net: Sections) -> Iterator[str]:
    yield from ("conv1", "bn1")
    for number, stack in enumerate(stacked(net.body[1:]), 1):
        for index, row in enumerate(stack):
            assert isinstance(row.block, BasicBlock | Bottleneck)
            place = f"layer{number}.{index}"
            for conv in range(1, 3 if isinstance(row.block, BasicBlock) else 4):
                yield from (f"{place}.conv{conv}", f"{place}.bn{conv}")
            if row.block.projection:
                yield from (f"{place}.downsample.0", f"{place}.downsample.1")
    yield "fc"


def _is_regnet(net: Sections) -> bool:
    bottlenecks = all(isinstance(row.block, Bottleneck) for row in net.body)
    return _linear_head(net) and _dense_stem(net) and bool(net.body) and bottlenecks


def _regnet(net: Sections) -> Iterator[str]:
    yield from ("stem.conv", "stem.bn")
    for number, stack in enumerate(net.stacks, 1):
        for index, row in enumerate(stack, 1):
            yield from (f"s{number}.b{index}.{part}" for part in _regnet_block(row))
    yield "head.fc"


def _regnet_block(row: Row) -> Iterator[str]:
    assert isinstance(row.block, Bottleneck)
    yield from ("conv1.conv", "conv1.bn", "conv2.conv", "conv2.bn")
    if row.block.squeeze_channels:
        yield from ("se.fc1", "se.fc2")
    yield from ("conv3.conv", "conv3.bn")
    if row.block.projection:
        yield from ("downsample.conv", "downsample.bn")


def _is_rep_net(net: Sections) -> bool:
    return _linear_head(net) and bool(net.body) and all(isinstance(row.block, RepConv) for row in (net.stem, *net.body))


def _rep_net(net: Sections) -> Iterator[str]:
    rows = [net.stem, *net.body]
    # RepVGG's blocks all have a pointwise branch; MobileOne's number their k x k branches.
    plain = all(
        isinstance(row.block, RepConv) and (row.block.branches, row.block.pointwise) == (1, True) for row in rows
    )
    yield from (f"stem.{part}" for part in _rep_conv(net.stem, numbered=not plain))
    for number, stack in enumerate(net.stacks):
        for index, row in enumerate(stack):
            yield from (f"stages.{number}.{index}.{part}" for part in _rep_conv(row, numbered=not plain))
    yield "head.fc"


def _rep_conv(row: Row, *, numbered: bool) -> Iterator[str]:
    block = row.block
    assert isinstance(block, RepConv)
    convs = [f"conv_kxk.{branch}" if numbered else "conv_kxk" for branch in range(block.branches)]
    if not block.branches:
        yield "reparam_conv"
    elif block.skip:
        yield "identity"
    if block.branches and block.pointwise:
        convs.append("conv_scale" if numbered else "conv_1x1")
    yield from (f"{conv}.{part}" for conv in convs for part in ("conv", "bn"))
    if block.squeeze_channels:
        yield from ("attn.fc1", "attn.fc2")


def _is_ghostnet(net: Sections) -> bool:
    head, last = net.head.block, net.last and net.last.block
    ends = isinstance(net.stem.block, ConvBN) and isinstance(last, ConvBN) and net.stem.block.groups * last.groups == 1
    hidden = isinstance(head, Classifier) and bool(head.hidden_features) and not head.hidden_norm
    return ends and hidden and bool(net.body) and all(isinstance(row.block, GhostBottleneck) for row in net.body)


def _ghostnet(net: Sections) -> Iterator[str]:
    yield from ("conv_stem", "bn1")
    for number, stack in enumerate(net.stacks):
        for index, row in enumerate(stack):
            yield from (f"blocks.{number}.{index}.{part}" for part in _ghost(row))
    yield from (f"blocks.{len(net.stacks)}.0.{part}" for part in ("conv", "bn1"))
    yield from ("conv_head", "classifier")


def _ghost(row: Row) -> Iterator[str]:
    block = row.block
    assert isinstance(block, GhostBottleneck)
    modules = ("primary_conv.0", "primary_conv.1", "cheap_operation.0", "cheap_operation.1")
    yield from (f"ghost1.{part}" for part in modules)
    if block.stride > 1:
        yield from ("conv_dw", "bn_dw")
    if block.squeeze_channels:
        yield from ("se.conv_reduce", "se.conv_expand")
    yield from (f"ghost2.{part}" for part in modules)
    if block.projection:
        yield from (f"shortcut.{index}" for index in range(4))


def _is_hgnet(net: Sections) -> bool:
    downs = (row.block for row in net.body if not isinstance(row.block, HGBlock))
    return (
        isinstance(net.stem.block, HGStem)
        and isinstance(net.head.block, AffineClassifier)
        and net.last is None
        and bool(net.body)
        and all(isinstance(block, ConvBN) and block.activation == "identity" for block in downs)
        and len({getattr(row.block, "affine", True) for row in (net.stem, *net.body, net.head)}) == 1
        and all(isinstance(row.block, HGBlock) for stack in net.stacks for row in stack[1:])
    )


def _hgnet(net: Sections) -> Iterator[str]:
    assert isinstance(net.stem.block, HGStem)
    affine = net.stem.block.affine
    for part in ("stem1", "stem2a", "stem2b", "stem3", "stem4"):
        yield from _conv_norm(f"stem.{part}", affine)
    for number, stack in enumerate(net.stacks):
        rows, place = list(stack), f"stages.{number}"
        if isinstance(rows[0].block, ConvBN):
            rows.pop(0)
            yield from _conv_norm(f"{place}.downsample", False)
        for index, row in enumerate(rows):
            assert isinstance(row.block, HGBlock)
            for layer in range(row.block.layers):
                name = f"{place}.blocks.{index}.layers.{layer}"
                if row.block.light:
                    yield from (*_conv_norm(f"{name}.conv1", False), *_conv_norm(f"{name}.conv2", affine))
                else:
                    yield from _conv_norm(name, affine)
            for last in (0, 1):
                yield from _conv_norm(f"{place}.blocks.{index}.aggregation.{last}", affine)
    yield from ("head.last_conv.0", "head.last_conv.2", "head.fc") if affine else ("head.last_conv.0", "head.fc")


def _conv_norm(name: str, affine: bool) -> Iterator[str]:
    yield from (f"{name}.conv", f"{name}.bn", f"{name}.lab")[: 2 + affine]


RESNET = Family("ResNet (residual blocks behind a max pooling, no SE)", _is_resnet, _resnet)
FAMILIES = (
    RESNET,
    Family("RegNet (bottlenecks without a pooling before them)", _is_regnet, _regnet),
    Family("GhostNet (Ghost bottlenecks, a hidden layer in the head)", _is_ghostnet, _ghostnet),
    Family("PP-HGNetV2 (HGBlocks behind an HGStem)", _is_hgnet, _hgnet),
    Family("RepVGG and MobileOne (RepConvs, trained or deployed)", _is_rep_net, _rep_net),
)
