"""EfficientNet-B0 and the published family B0 to B7 (arXiv:1905.11946).

`B0` is Table 1. `PRESETS` are the family's coefficients as released with the paper (the TPU repository's
`efficientnet_params`): width, depth, resolution, dropout. They are not the formula: the formula at phi = 3 gives
depth 1.728, width 1.331 and 341 px, the published B3 has 1.4, 1.2 and 300 px.
"""

from typing import NamedTuple

from searchspace.errors import InvalidArgument
from searchspace.spec import NetworkSpec
from searchspace.template import ClassifierRow, ConvRow, MBConvRow, StageTemplate, Template
from searchspace.zoo.entry import Entry, Published


def _stage(name: str, expand: int, kernel: int, stride: int, width: int, repeats: int) -> StageTemplate:
    row = MBConvRow(
        expand_ratio=expand,
        kernel=kernel,
        stride=stride,
        width=width,
        repeats=repeats,
        se_ratio=0.25,
        activation="swish",
        squeeze_activation="swish",
    )
    return StageTemplate(name, (row,))


B0 = Template(
    "efficientnet_b0",
    (
        StageTemplate("stem", (ConvRow(width=32, kernel=3, stride=2, activation="swish"),)),
        #      name     expand kernel stride width repeats
        _stage("stage1", 1, 3, 1, 16, 1),
        _stage("stage2", 6, 3, 2, 24, 2),
        _stage("stage3", 6, 5, 2, 40, 2),
        _stage("stage4", 6, 3, 2, 80, 3),
        _stage("stage5", 6, 5, 1, 112, 3),
        _stage("stage6", 6, 5, 2, 192, 4),
        _stage("stage7", 6, 3, 1, 320, 1),
        StageTemplate("head", (ConvRow(width=1280, activation="swish"),)),
        StageTemplate("classifier", (ClassifierRow(dropout_percent=20),)),
    ),
)


class Preset(NamedTuple):
    """One published member: multipliers of B0, input pixels, dropout in percent."""

    width: float
    depth: float
    resolution: int
    dropout_percent: int


PRESETS = {
    "b0": Preset(1.0, 1.0, 224, 20),
    "b1": Preset(1.0, 1.1, 240, 20),
    "b2": Preset(1.1, 1.2, 260, 30),
    "b3": Preset(1.2, 1.4, 300, 30),
    "b4": Preset(1.4, 1.8, 380, 40),
    "b5": Preset(1.6, 2.2, 456, 40),
    "b6": Preset(1.8, 2.6, 528, 50),
    "b7": Preset(2.0, 3.1, 600, 50),
}


def preset(name: str) -> NetworkSpec:
    """The published network `name` ("b0" to "b7") with its resolution and dropout. Raises InvalidArgument."""
    if name not in PRESETS:
        raise InvalidArgument(f"an EfficientNet preset is one of {', '.join(PRESETS)}; got {name!r}")
    row = PRESETS[name]
    template = B0.with_dropout(row.dropout_percent)
    return template.expand(width=row.width, depth=row.depth, resolution=row.resolution, name=f"efficientnet_{name}")


def _entry(name: str, top1: float) -> Entry:
    row = PRESETS[name]
    return Entry(
        name=f"efficientnet_{name}",
        title=f"EfficientNet-{name.upper()}",
        source="arXiv:1905.11946, Table 1 scaled by the released coefficients",
        template=lambda: B0.with_dropout(row.dropout_percent),
        published=(Published({}, top1, "Table 2"),),
        width=row.width,
        depth=row.depth,
        resolution=row.resolution,
    )


_TOP1 = (77.1, 79.1, 80.1, 81.6, 82.9, 83.6, 84.0, 84.3)
ENTRIES = tuple(_entry(name, top1) for name, top1 in zip(PRESETS, _TOP1, strict=True))
