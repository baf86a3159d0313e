"""torchvision's names: a scheme and a batch norm of its own for every network."""

from collections.abc import Callable, Iterator
from functools import partial

from searchspace.blocks import (
    Block,
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
from searchspace.nn.weights.names import Family, Row, Sections, inverted_residuals, parts


def _features(
    net: Sections, names_of: Callable[[Block], Iterator[str]], *classifier: str, staged: bool = False
) -> Iterator[str]:
    """Stem, blocks and last convolution under `features`, numbered through or (`staged`) stack by stack; classifier."""
    yield from ("features.0.0", "features.0.1")
    stacks = net.stacks if staged else [(row,) for row in net.body]
    for number, stack in enumerate(stacks, 1):
        for index, row in enumerate(stack):
            place = f"features.{number}.{index}" if staged else f"features.{number}"
            yield from (f"{place}.{name}" for name in names_of(row.block))
    yield from (f"features.{len(stacks) + 1}.{part}" for part in (0, 1))
    yield from classifier


def _v2_block(block: Block) -> Iterator[str]:
    for index, part in enumerate(parts(block)):
        yield f"conv.{index}" if part == "project" else f"conv.{index}.0"
        yield f"conv.{index + 1}" if part == "project" else f"conv.{index}.1"


def _se_block(block: Block) -> Iterator[str]:
    for index, part in enumerate(parts(block)):
        yield from (f"block.{index}.{name}" for name in (("fc1", "fc2") if part == "squeeze" else (0, 1)))


def _is_mnasnet(net: Sections) -> bool:
    if not inverted_residuals(net, hidden=False, activations={"relu"}, squeezes={()}, free_stacks=1):
        return False
    (first, *more), *stacks = net.stacks
    return (
        not more
        and isinstance(first.block, SeparableConv)
        and not first.block.skip
        and all(isinstance(row.block, MBConv) for stack in stacks for row in stack)
        and all(len({getattr(row.block, "kernel", 0) for row in stack}) == 1 for stack in stacks)
    )


def _mnasnet(net: Sections) -> Iterator[str]:
    """The stem and the first block lie flat in `layers`: convolution, batch norm, activation, three numbers each.

    The projection of the first block, at 6, has no activation.
    """
    yield from (f"layers.{number}" for number in (0, 1, 3, 4, 6, 7))
    for number, stack in enumerate(net.stacks[1:], 8):
        for position in range(len(stack)):
            yield from (f"layers.{number}.{position}.layers.{index}" for index in (0, 1, 3, 4, 6, 7))
    end = 8 + len(net.stacks) - 1
    yield from (f"layers.{end}", f"layers.{end + 1}", "classifier.1")


def _is_shufflenet_v2(net: Sections) -> bool:
    head, ends = net.head.block, (net.stem.block, net.last and net.last.block)
    pool, *units = (row.block for row in net.body) if net.body else (None,)
    return (
        isinstance(head, Classifier)
        and not head.hidden_features
        and isinstance(pool, MaxPool)
        and len(_unit_stacks(net)) == 3
        and all(isinstance(end, ConvBN) and (end.groups, end.activation) == (1, "relu") for end in ends)
        and all(
            isinstance(unit, ShuffleUnitV2)
            and (unit.kernel, unit.activation, 2 * unit.mid_channels) == (3, "relu", unit.out_channels)
            for unit in units
        )
    )


def _unit_stacks(net: Sections) -> list[list[Row]]:
    # Without the pooling behind the stem.
    rows = ([row for row in stack if not isinstance(row.block, MaxPool)] for stack in net.stacks)
    return list(filter(None, rows))


def _shufflenet_v2(net: Sections) -> Iterator[str]:
    yield from ("conv1.0", "conv1.1")
    for number, stack in enumerate(_unit_stacks(net), 2):
        for index, row in enumerate(stack):
            assert isinstance(row.block, ShuffleUnitV2)
            shortcut = (0, 1, 2, 3) if row.block.stride > 1 else ()
            yield from (f"stage{number}.{index}.branch1.{layer}" for layer in shortcut)
            yield from (f"stage{number}.{index}.branch2.{layer}" for layer in (0, 1, 3, 4, 5, 6))
    yield from ("conv5.0", "conv5.1", "fc")


def _is_squeezenet(net: Sections) -> bool:
    return (
        isinstance(net.stem.block, Conv)
        and isinstance(net.head.block, ConvClassifier)
        and not net.last
        and any(isinstance(row.block, Fire) for row in net.body)
        and all(isinstance(row.block, Fire | MaxPool) for row in net.body)
        and {getattr(row.block, "activation", "relu") for row in (net.stem, *net.body, net.head)} == {"relu"}
    )


def _squeezenet(net: Sections) -> Iterator[str]:
    yield "features.0"
    for number, row in enumerate(net.body, 2):  # 1 is the stem's activation
        if isinstance(row.block, Fire):
            yield from (f"features.{number}.{part}" for part in ("squeeze", "expand1x1", "expand3x3"))
    yield "classifier.1"


def _efficientnet_norm(net: Sections) -> tuple[float, float]:
    """B5 to B7, those with 2048 channels or more before the classifier, have TensorFlow's eps."""
    wide = net.last and isinstance(net.last.block, ConvBN) and net.last.block.out_channels >= 2048
    return (1e-3, 0.01) if wide else (1e-5, 0.1)


FAMILIES = (
    Family(
        "MobileNetV2 (ReLU6, 3x3, no SE)",
        partial(inverted_residuals, hidden=False, activations={"relu6"}, squeezes={()}, kernels={3}),
        lambda net: _features(net, _v2_block, "classifier.1"),
    ),
    Family(
        "MobileNetV3 (ReLU and h-swish, hard-sigmoid SE, hidden layer in the head)",
        partial(
            inverted_residuals,
            hidden=True,
            activations={"relu", "h_swish"},
            squeezes={(), ("relu", "hard_sigmoid")},
        ),
        lambda net: _features(net, _se_block, "classifier.0", "classifier.3"),
        lambda net, padding: (1e-3, 0.01),
    ),
    Family(
        "MnasNet (ReLU, no SE, one kernel a stage)", _is_mnasnet, _mnasnet, lambda net, padding: (1e-5, 3e-4), version=2
    ),
    Family(
        "EfficientNet (swish, SE in every block)",
        partial(inverted_residuals, hidden=False, activations={"swish"}, squeezes={("swish", "sigmoid")}),
        lambda net: _features(net, _se_block, "classifier.1", staged=True),
        lambda net, padding: _efficientnet_norm(net),
    ),
    Family("ShuffleNetV2", _is_shufflenet_v2, _shufflenet_v2),
    Family("SqueezeNet", _is_squeezenet, _squeezenet),
)
