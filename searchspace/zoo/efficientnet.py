"""EfficientNet-B0 and the published family B0 to B7 (arXiv:1905.11946).

`B0` is Table 1. `PRESETS` are the family's coefficients as released with the paper (the TPU repository's
`efficientnet_params`): width, depth, resolution, dropout. They are not the formula: the formula at phi = 3 gives
depth 1.728, width 1.331 and 341 px, the published B3 has 1.4, 1.2 and 300 px.
"""

from functools import partial
from typing import NamedTuple

from searchspace.blocks import ConvRow, MBConvRow
from searchspace.errors import InvalidArgument
from searchspace.spec import NetworkSpec
from searchspace.zoo.entry import Entry, Published, paper_table

_row = partial(MBConvRow, se_ratio=0.25, activation="swish", squeeze_activation="swish")

B0 = paper_table(
    "efficientnet_b0",
    stem=[ConvRow(width=32, kernel=3, stride=2, activation="swish")],
    stages=[
        [_row(expand_ratio=1, kernel=3, stride=1, width=16, repeats=1)],
        [_row(expand_ratio=6, kernel=3, stride=2, width=24, repeats=2)],
        [_row(expand_ratio=6, kernel=5, stride=2, width=40, repeats=2)],
        [_row(expand_ratio=6, kernel=3, stride=2, width=80, repeats=3)],
        [_row(expand_ratio=6, kernel=5, stride=1, width=112, repeats=3)],
        [_row(expand_ratio=6, kernel=5, stride=2, width=192, repeats=4)],
        [_row(expand_ratio=6, kernel=3, stride=1, width=320, repeats=1)],
    ],
    head=[ConvRow(width=1280, activation="swish")],
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
