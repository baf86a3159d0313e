"""torchvision's names: a scheme and a batch norm of its own for every network."""

from collections.abc import Callable, Iterator, Set
from functools import partial

from searchspace.blocks import (
    Classifier,
    Conv,
    ConvBN,
    ConvClassifier,
    Fire,
    MaxPool,
    MBConv,
    SeparableConv,
    ShuffleUnitV2,
)
from searchspace.nn.weights.names import Family, Named, Row, Sections, conv_bn, parts, squeeze_excite

InvertedResidual = MBConv | SeparableConv


def _inverted_residuals(
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
        hidden == (head.hidden_features > 0)
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


def _features(
    net: Sections, names_of: Callable[[str, Row], Iterator[Named]], *, staged: bool = False
) -> Iterator[Named]:
    """Stem, blocks and last convolution under `features`, numbered through or (`staged`) stack by stack."""
    yield from conv_bn("features.0.0", "features.0.1", net.stem.where)
    stacks = net.stacks if staged else [(row,) for row in net.body]
    for number, stack in enumerate(stacks, 1):
        for index, row in enumerate(stack):
            yield from names_of(f"features.{number}.{index}" if staged else f"features.{number}", row)
    assert net.last
    end = f"features.{len(stacks) + 1}"
    yield from conv_bn(f"{end}.0", f"{end}.1", net.last.where)


def _v2_block(theirs: str, row: Row) -> Iterator[Named]:
    for index, part in enumerate(parts(row.block)):
        inner = f"{theirs}.conv.{index}"
        names = (inner, f"{theirs}.conv.{index + 1}") if part == "project" else (f"{inner}.0", f"{inner}.1")
        yield from conv_bn(*names, f"{row.where}.{part}")


def _se_block(theirs: str, row: Row) -> Iterator[Named]:
    for index, part in enumerate(parts(row.block)):
        inner, ours = f"{theirs}.block.{index}", f"{row.where}.{part}"
        if part == "squeeze":
            yield from squeeze_excite(f"{inner}.fc1", f"{inner}.fc2", ours)
        else:
            yield from conv_bn(f"{inner}.0", f"{inner}.1", ours)


def _mobilenet_v2(net: Sections) -> Iterator[Named]:
    yield from _features(net, _v2_block)
    yield Named("classifier.1", f"{net.head.where}.linear")


def _mobilenet_v3(net: Sections) -> Iterator[Named]:
    yield from _features(net, _se_block)
    yield Named("classifier.0", f"{net.head.where}.hidden")
    yield Named("classifier.3", f"{net.head.where}.linear")


def _efficientnet(net: Sections) -> Iterator[Named]:
    yield from _features(net, _se_block, staged=True)
    yield Named("classifier.1", f"{net.head.where}.linear")


def _is_mnasnet(net: Sections) -> bool:
    if not _inverted_residuals(net, hidden=False, activations={"relu"}, squeezes={()}, free_stacks=1):
        return False
    (first, *more), *stacks = net.stacks
    return (
        not more
        and isinstance(first.block, SeparableConv)
        and not first.block.skip
        and all(isinstance(row.block, MBConv) for stack in stacks for row in stack)
        and all(len({getattr(row.block, "kernel", 0) for row in stack}) == 1 for stack in stacks)
    )


def _mnasnet(net: Sections) -> Iterator[Named]:
    """The stem and the first block lie flat in `layers`: convolution, batch norm, activation, three numbers each."""
    (first,), *stacks = net.stacks
    assert net.last
    flat = (net.stem.where, f"{first.where}.depthwise", f"{first.where}.project")
    for index, ours in enumerate(flat):
        yield from conv_bn(f"layers.{3 * index}", f"layers.{3 * index + 1}", ours)
    after = 3 * len(flat) - 1  # the linear projection has no activation
    for number, stack in enumerate(stacks, after):
        for position, row in enumerate(stack):
            theirs = f"layers.{number}.{position}.layers"
            for index, part in enumerate(("expand", "depthwise", "project")):
                yield from conv_bn(f"{theirs}.{3 * index}", f"{theirs}.{3 * index + 1}", f"{row.where}.{part}")
    end = after + len(stacks)
    yield from conv_bn(f"layers.{end}", f"layers.{end + 1}", net.last.where)
    yield Named("classifier.1", f"{net.head.where}.linear")


def _is_shufflenet_v2(net: Sections) -> bool:
    head, last = net.head.block, net.last and net.last.block
    pooled = net.body and isinstance(net.body[0].block, MaxPool)
    if not (isinstance(head, Classifier) and isinstance(last, ConvBN) and pooled):
        return False
    units = [row.block for row in net.body[1:]]
    return (
        isinstance(net.stem.block, ConvBN)
        and not head.hidden_features
        and len(_unit_stacks(net)) == 3
        and net.stem.block.groups == last.groups == 1
        and net.stem.block.activation == last.activation == "relu"
        and all(
            isinstance(unit, ShuffleUnitV2)
            and unit.kernel == 3
            and unit.activation == "relu"
            and 2 * unit.mid_channels == unit.out_channels
            for unit in units
        )
    )


def _unit_stacks(net: Sections) -> list[list[Row]]:
    """The stacks without the pooling behind the stem."""
    rows = [[row for row in stack if not isinstance(row.block, MaxPool)] for stack in net.stacks]
    return [stack for stack in rows if stack]


def _shufflenet_v2(net: Sections) -> Iterator[Named]:
    yield from conv_bn("conv1.0", "conv1.1", net.stem.where)
    for number, stack in enumerate(_unit_stacks(net), 2):
        for index, row in enumerate(stack):
            assert isinstance(row.block, ShuffleUnitV2)
            theirs, ours = f"stage{number}.{index}", row.where
            if row.block.stride > 1:
                yield from conv_bn(f"{theirs}.branch1.0", f"{theirs}.branch1.1", f"{ours}.shortcut_depthwise")
                yield from conv_bn(f"{theirs}.branch1.2", f"{theirs}.branch1.3", f"{ours}.shortcut_project")
            for conv, part in ((0, "expand"), (3, "depthwise"), (5, "project")):
                yield from conv_bn(f"{theirs}.branch2.{conv}", f"{theirs}.branch2.{conv + 1}", f"{ours}.{part}")
    assert net.last
    yield from conv_bn("conv5.0", "conv5.1", net.last.where)
    yield Named("fc", f"{net.head.where}.linear")


def _is_squeezenet(net: Sections) -> bool:
    return (
        isinstance(net.stem.block, Conv)
        and isinstance(net.head.block, ConvClassifier)
        and not net.last
        and any(isinstance(row.block, Fire) for row in net.body)
        and all(isinstance(row.block, Fire | MaxPool) for row in net.body)
        and {getattr(row.block, "activation", "relu") for row in (net.stem, *net.body, net.head)} == {"relu"}
    )


def _squeezenet(net: Sections) -> Iterator[Named]:
    yield Named("features.0", f"{net.stem.where}.conv")
    for number, row in enumerate(net.body, 2):  # 1 is the stem's activation
        if isinstance(row.block, Fire):
            for part in ("squeeze", "expand1x1", "expand3x3"):
                yield Named(f"features.{number}.{part}", f"{row.where}.{part}.conv")
    yield Named("classifier.1", f"{net.head.where}.conv.conv")


def _efficientnet_norm(net: Sections) -> tuple[float, float]:
    """B5 to B7, those with 2048 channels or more before the classifier, have TensorFlow's eps."""
    wide = net.last and isinstance(net.last.block, ConvBN) and net.last.block.out_channels >= 2048
    return (1e-3, 0.01) if wide else (1e-5, 0.1)


FAMILIES = (
    Family(
        "MobileNetV2 (ReLU6, 3x3, no SE)",
        partial(_inverted_residuals, hidden=False, activations={"relu6"}, squeezes={()}, kernels={3}),
        _mobilenet_v2,
    ),
    Family(
        "MobileNetV3 (ReLU and h-swish, hard-sigmoid SE, hidden layer in the head)",
        partial(
            _inverted_residuals,
            hidden=True,
            activations={"relu", "h_swish"},
            squeezes={(), ("relu", "hard_sigmoid")},
        ),
        _mobilenet_v3,
        lambda net, padding: (1e-3, 0.01),
    ),
    Family(
        "MnasNet (ReLU, no SE, one kernel a stage)", _is_mnasnet, _mnasnet, lambda net, padding: (1e-5, 3e-4), version=2
    ),
    Family(
        "EfficientNet (swish, SE in every block)",
        partial(_inverted_residuals, hidden=False, activations={"swish"}, squeezes={("swish", "sigmoid")}),
        _efficientnet,
        lambda net, padding: _efficientnet_norm(net),
    ),
    Family("ShuffleNetV2", _is_shufflenet_v2, _shufflenet_v2),
    Family("SqueezeNet", _is_squeezenet, _squeezenet),
)
