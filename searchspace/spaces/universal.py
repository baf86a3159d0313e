"""The space of later networks: universal inverted bottlenecks, MBConv with SE and fused blocks, chosen per stage.

Skeleton: the strides that MobileNetV4 (arXiv:2404.10518) and EfficientNetV2 (arXiv:2104.00298) share, stem 32. A stage
chooses its kind of block, activation and width; `stage4b`, `stage4c` ... are its further layers, with kernels and
expansions of their own, as in MobileNetV4's late stages. `stage2_out` and `stage3_out` are the 1x1 convolution that
ends the first stages of MobileNetV4-Conv-Small, which are plain convolutions. An MBConv without SE is a UniversalIB
with its middle kernel alone.

MobileNetV4-Conv-Small and EfficientNetV2-B0 are points of it. Conv-Medium and -Large are none: their last stages would
need seven to nine such runs of layers, and Large a stem of 24.
"""

from dataclasses import replace
from functools import partial

from searchspace.spaces.space import RESOLUTION, SearchSpace
from searchspace.spaces.stage import BLOCK, StageChoices

_BOTTLENECKS = ("UniversalIB", "MBConv")  # the cheapest first
_EARLY = ("ConvBN", *_BOTTLENECKS, "FusedMBConv")
_SHARED = (BLOCK, "se", "activation", "width_mult")

_KERNELS = {"start_kernel": (0, 3, 5), "middle_kernel": (3, 5)}  # one of both has the stride
_BOTH_OPTIONAL = {"start_kernel": (0, 3, 5), "middle_kernel": (0, 3, 5)}

_stage = partial(
    StageChoices,
    block=_BOTTLENECKS,
    stride=2,
    expand_ratio=(2, 3, 4, 6),
    kernel=(3, 5),
    se=(True,),
    others=_KERNELS,
)
_out = partial(StageChoices, block="ConvBN", stride=1, kernel=(1,), layers=(0, 1), shares=("activation",))


def _further(stage: StageChoices, letter: str, *, layers: tuple[int, ...]) -> StageChoices:
    """Further layers of a stage."""
    return replace(
        stage,
        name=stage.name + letter,
        stride=1,
        layers=layers,
        others=_BOTH_OPTIONAL,
        after=stage.name,
        shares=_SHARED,
    )


_STAGE4 = _stage(name="stage4", base_width=96)
_STAGE6 = _stage(name="stage6", base_width=160, width_mult=(0.8, 1.0, 1.2))
_STAGES = (
    # Without expansion: a SeparableConv, or EfficientNetV2's plain convolution.
    StageChoices(
        name="stage1",
        base_width=16,
        stride=1,
        block=("MBConv", "FusedMBConv"),
        expand_ratio=(1,),
        kernel=(3, 5),
        layers=(0, 1),
        width_mult=(1.0, 1.5),
    ),
    _stage(name="stage2", base_width=32, block=_EARLY, layers=(1, 2, 3), width_mult=(0.75, 1.0, 1.5)),
    _out(name="stage2_out", after="stage2", base_width=32, width_mult=(0.75, 1.0, 1.5)),
    _stage(name="stage3", base_width=64, block=_EARLY, layers=(1, 2, 3), width_mult=(0.75, 1.0, 1.25, 1.5)),
    _out(name="stage3_out", after="stage3", base_width=64),
    _STAGE4,
    _further(_STAGE4, "b", layers=(0, 1, 2, 3, 4)),
    _further(_STAGE4, "c", layers=(0, 1, 2)),
    _stage(name="stage5", base_width=112, stride=1, layers=(0, 1, 2, 3, 4, 5), others=_BOTH_OPTIONAL),
    _STAGE6,
    _further(_STAGE6, "b", layers=(0, 1, 2, 3, 4)),
    *(_further(_STAGE6, letter, layers=(0, 1, 2)) for letter in "cde"),
)


def universal_space(*, classes: int = 1000, resolution: int | tuple[int, ...] = 224) -> SearchSpace:
    """The space for networks with `classes` outputs at `resolution` pixels, or at one of several sizes.

    The head is EfficientNet's (1280 channels) or MobileNetV4's (960, and 1280 features behind the pooling), or one of
    the two between them.
    """
    sizes = (resolution,) if isinstance(resolution, int) else resolution
    space = SearchSpace(
        name="universal", stages=_STAGES, classes=classes, head_width=(960, 1280), hidden_width=(0, 1280)
    )
    return space.with_choices({RESOLUTION: sizes})
