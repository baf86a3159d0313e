"""The MnasNet-style space that `search.run` explores by default, and known networks that are points in it.

Skeleton: EfficientNet's and MnasNet's seven stages (arXiv:1807.11626, Figure 4) with stem 32 and head 1280. The
base widths are chosen so that the multipliers 0.75, 1.0, 1.25 and the multiple-of-8 rule reach the published
widths exactly: stage 2 {16, 24, 32}, stage 3 {32, 40, 48}, stage 4 {64, 80, 104}, stage 5 {72, 96, 112}, stage 6
{120, 160, 192}, stage 7 {240, 320, 400}. So MobileNetV2 (32, 64, 96, 160), MnasNet-A1 (40, 80, 112, 160) and
EfficientNet-B0 (40, 80, 112, 192) are all inside, to the parameter.
"""

from searchspace.blocks.protocol import Value
from searchspace.spaces.space import RESOLUTION, Choices, SearchSpace
from searchspace.spaces.stage import StageChoices

_STAGES = (
    # The first stage is SepConv (no expansion) in every published table.
    StageChoices(name="stage1", base_width=16, stride=1, expand_ratio=(1,)),
    StageChoices(name="stage2", base_width=23, stride=2),
    StageChoices(name="stage3", base_width=40, stride=2),
    StageChoices(name="stage4", base_width=80, stride=2),
    StageChoices(name="stage5", base_width=92, stride=1, layers=(0, 1, 2, 3, 4)),
    StageChoices(name="stage6", base_width=156, stride=2),
    StageChoices(name="stage7", base_width=320, stride=1, layers=(0, 1, 2, 3, 4)),
)


def mnasnet_space(*, classes: int = 1000, resolution: int | tuple[int, ...] = 224) -> SearchSpace:
    """The default space for networks with `classes` outputs at `resolution` pixels, or at one of several sizes."""
    sizes = (resolution,) if isinstance(resolution, int) else resolution
    return SearchSpace(name="mnasnet", stages=_STAGES, classes=classes).with_choices({RESOLUTION: sizes})


def _known(*rows: tuple[float, int, bool, str, int, float]) -> Choices:
    choices: Choices = {}
    for number, row in enumerate(rows, 1):
        values: tuple[Value, ...] = row
        choices |= {f"stage{number}.{kind}": value for kind, value in zip(_STAGES[0].kinds, values, strict=True)}
    return choices


# Rows: expand_ratio, kernel, se, activation, layers, width_mult. A layer count of 0 leaves the stage out.
KNOWN: dict[str, Choices] = {
    # arXiv:1801.04381, Table 2 (with ReLU for ReLU6).
    "mobilenet_v2": _known(
        (1, 3, False, "relu", 1, 1.0),
        (6, 3, False, "relu", 2, 1.0),
        (6, 3, False, "relu", 3, 0.75),
        (6, 3, False, "relu", 4, 0.75),
        (6, 3, False, "relu", 3, 1.0),
        (6, 3, False, "relu", 3, 1.0),
        (6, 3, False, "relu", 1, 1.0),
    ),
    # arXiv:1807.11626, Figure 7(a).
    "mnasnet_a1": _known(
        (1, 3, False, "relu", 1, 1.0),
        (6, 3, False, "relu", 2, 1.0),
        (3, 5, True, "relu", 3, 1.0),
        (6, 3, False, "relu", 4, 1.0),
        (6, 3, True, "relu", 2, 1.25),
        (6, 5, True, "relu", 3, 1.0),
        (6, 3, False, "relu", 1, 1.0),
    ),
    # arXiv:1905.02244, Table 1, to the nearest values of the space (expansions, stem and head differ).
    "mobilenet_v3_like": _known(
        (1, 3, False, "relu", 1, 1.0),
        (4, 3, False, "relu", 2, 1.0),
        (3, 5, True, "relu", 3, 1.0),
        (3, 3, False, "h_swish", 4, 1.0),
        (6, 3, True, "h_swish", 2, 1.25),
        (6, 5, True, "h_swish", 3, 1.0),
        (6, 3, False, "h_swish", 0, 1.0),
    ),
    # arXiv:1905.11946, Table 1.
    "efficientnet_b0": _known(
        (1, 3, True, "swish", 1, 1.0),
        (6, 3, True, "swish", 2, 1.0),
        (6, 5, True, "swish", 2, 1.0),
        (6, 3, True, "swish", 3, 1.0),
        (6, 5, True, "swish", 3, 1.25),
        (6, 5, True, "swish", 4, 1.25),
        (6, 3, True, "swish", 1, 1.0),
    ),
}
