"""torchvision's names: a scheme and a batch norm of its own for every network."""

from collections.abc import Iterator
from typing import NamedTuple

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


class _Traits(NamedTuple):
    """What tells torchvision's networks of inverted residuals apart."""

    hidden: bool
    activations: set[str]
    kernels: set[int]
    squeezes: set[tuple[str, ...]]


def _traits(net: Sections) -> _Traits | None:
    """None for a network that is not stem, inverted residuals, last convolution, linear classifier."""
    blocks = [row.block for row in net.body if isinstance(row.block, MBConv | SeparableConv)]
    stem, head, last = net.stem.block, net.head.block, net.last and net.last.block
    if not blocks or len(blocks) < len(net.body) or not isinstance(head, Classifier):
        return None
    if not isinstance(stem, ConvBN) or not isinstance(last, ConvBN) or stem.groups * last.groups > 1:
        return None
    if any(isinstance(block, SeparableConv) and block.project_activation != "identity" for block in blocks):
        return None
    return _Traits(
        head.hidden_features > 0,
        {block.activation for block in (stem, *blocks, last)},
        {block.kernel for block in blocks},
        {(block.squeeze_activation, block.gate) if block.squeeze_channels else () for block in blocks},
    )


def _as_built(rows: list[Row]) -> bool:
    """A skip wherever it fits, and no expansion to the block's own input."""
    for _, in_channels, block in rows:
        assert isinstance(block, MBConv | SeparableConv)
        if block.skip != (block.stride == 1 and block.out_channels == in_channels):
            return False
        if isinstance(block, MBConv) and block.expand_channels == in_channels:
            return False
    return True


def _flat_or_staged(net: Sections, *, staged: bool) -> Iterator[tuple[str, Row]]:
    """(name, row) of stem, blocks and last convolution under `features`, numbered through or stack by stack."""
    stacks: list[list[tuple[str, Row]]]
    if staged:
        stacks = [[(f"{n}.{i}", row) for i, row in enumerate(stack)] for n, stack in enumerate(net.stacks, 1)]
    else:
        stacks = [[(f"{n}", row)] for n, row in enumerate(net.body, 1)]
    yield "features.0", net.stem
    for stack in stacks:
        yield from ((f"features.{number}", row) for number, row in stack)
    assert net.last
    yield f"features.{len(stacks) + 1}", net.last


def _is_mobilenet_v2(net: Sections) -> bool:
    has = _traits(net)
    return (
        has is not None
        and not has.hidden
        and has.activations == {"relu6"}
        and has.squeezes == {()}
        and has.kernels == {3}
        and _as_built(net.body)
    )


def _mobilenet_v2(net: Sections) -> Iterator[Named]:
    for theirs, row in _flat_or_staged(net, staged=False):
        if isinstance(row.block, ConvBN):
            yield from conv_bn(f"{theirs}.0", f"{theirs}.1", row.where)
            continue
        for index, part in enumerate(parts(row.block)):
            inner = f"{theirs}.conv.{index}"
            names = (inner, f"{theirs}.conv.{index + 1}") if part == "project" else (f"{inner}.0", f"{inner}.1")
            yield from conv_bn(*names, f"{row.where}.{part}")
    yield Named("classifier.1", f"{net.head.where}.linear")


def _is_mobilenet_v3(net: Sections) -> bool:
    has = _traits(net)
    return (
        has is not None
        and has.hidden
        and has.activations <= {"relu", "h_swish"}
        and has.squeezes <= {(), ("relu", "hard_sigmoid")}
        and _as_built(net.body)
    )


def _is_efficientnet(net: Sections) -> bool:
    has = _traits(net)
    return (
        has is not None
        and not has.hidden
        and has.activations == {"swish"}
        and has.squeezes == {("swish", "sigmoid")}
        and _as_built(net.body)
    )


def _mobilenet_v3(net: Sections) -> Iterator[Named]:
    yield from _block_features(net, staged=False)
    yield Named("classifier.0", f"{net.head.where}.hidden")
    yield Named("classifier.3", f"{net.head.where}.linear")


def _efficientnet(net: Sections) -> Iterator[Named]:
    yield from _block_features(net, staged=True)
    yield Named("classifier.1", f"{net.head.where}.linear")


def _block_features(net: Sections, *, staged: bool) -> Iterator[Named]:
    for theirs, row in _flat_or_staged(net, staged=staged):
        if isinstance(row.block, ConvBN):
            yield from conv_bn(f"{theirs}.0", f"{theirs}.1", row.where)
            continue
        for index, part in enumerate(parts(row.block)):
            inner, ours = f"{theirs}.block.{index}", f"{row.where}.{part}"
            if part == "squeeze":
                yield from squeeze_excite(f"{inner}.fc1", f"{inner}.fc2", ours)
            else:
                yield from conv_bn(f"{inner}.0", f"{inner}.1", ours)


def _is_mnasnet(net: Sections) -> bool:
    has = _traits(net)
    if has is None or has.hidden or has.activations != {"relu"} or has.squeezes != {()}:
        return False
    first, *stacks = net.stacks
    return (
        len(first) == 1
        and isinstance(first[0].block, SeparableConv)
        and not first[0].block.skip
        and all(isinstance(row.block, MBConv) for stack in stacks for row in stack)
        and all(len({getattr(row.block, "kernel", 0) for row in stack}) == 1 for stack in stacks)
        and _as_built([row for stack in stacks for row in stack])
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


def _default_norm(_: Sections, padding: str) -> tuple[float, float]:
    return 1e-5, 0.1


def _efficientnet_norm(net: Sections, padding: str) -> tuple[float, float]:
    """B5 to B7, those with 2048 channels or more before the classifier, have TensorFlow's eps."""
    wide = net.last and isinstance(net.last.block, ConvBN) and net.last.block.out_channels >= 2048
    return (1e-3, 0.01) if wide else (1e-5, 0.1)


FAMILIES = (
    Family("MobileNetV2 (ReLU6, 3x3, no SE)", _is_mobilenet_v2, _mobilenet_v2, _default_norm),
    Family(
        "MobileNetV3 (ReLU and h-swish, hard-sigmoid SE, hidden layer in the head)",
        _is_mobilenet_v3,
        _mobilenet_v3,
        lambda net, padding: (1e-3, 0.01),
    ),
    Family(
        "MnasNet (ReLU, no SE, one kernel a stage)", _is_mnasnet, _mnasnet, lambda net, padding: (1e-5, 3e-4), version=2
    ),
    Family("EfficientNet (swish, SE in every block)", _is_efficientnet, _efficientnet, _efficientnet_norm),
    Family("ShuffleNetV2", _is_shufflenet_v2, _shufflenet_v2, _default_norm),
    Family("SqueezeNet", _is_squeezenet, _squeezenet, _default_norm),
)
