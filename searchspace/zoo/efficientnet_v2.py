"""EfficientNetV2-B0 to -B3 and -S (arXiv:2104.00298): fused early stages, smaller expansions, trained at fewer pixels.

`S` is Table 4; `B0` and the coefficients of B1 to B3 are of the released code (google/automl), as are the pixels, those
of training: test images are larger (224 to 300, S: 384). Scaled widths are the nearest multiples of 8 (`round_filters`
there), which may be more than 10 % below, unlike EfficientNet's, and images stay at or below 480 px (section 3.3; the
layers that its authors add to late stages of M and L follow no formula, and are left out).
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from searchspace.blocks import ConvRow, FusedMBConvRow, MBConvRow, Row
from searchspace.template import Template
from searchspace.zoo.efficientnet import Preset
from searchspace.zoo.entry import Entry, Published, paper_table

_conv = partial(ConvRow, activation="swish", nearest=True)
_fused = partial(FusedMBConvRow, activation="swish", nearest=True)
_row = partial(MBConvRow, activation="swish", squeeze_activation="swish", se_ratio=0.25, nearest=True)


def _table(name: str, stem: int, rows: Sequence[Row]) -> Template:
    table = paper_table(
        name,
        stem=[_conv(width=stem, kernel=3, stride=2)],
        stages=[[row] for row in rows],
        head=[_conv(width=1280)],
    )
    return replace(table, largest_resolution=480)


B0 = _table(
    "efficientnetv2_b0",
    32,
    [
        _fused(expand_ratio=1, width=16),
        _fused(expand_ratio=4, width=32, stride=2, repeats=2),
        _fused(expand_ratio=4, width=48, stride=2, repeats=2),
        _row(expand_ratio=4, width=96, stride=2, repeats=3),
        _row(expand_ratio=6, width=112, repeats=5),
        _row(expand_ratio=6, width=192, stride=2, repeats=8),
    ],
)
S = _table(
    "efficientnetv2_s",
    24,
    [
        _fused(expand_ratio=1, width=24, repeats=2),
        _fused(expand_ratio=4, width=48, stride=2, repeats=4),
        _fused(expand_ratio=4, width=64, stride=2, repeats=4),
        _row(expand_ratio=4, width=128, stride=2, repeats=6),
        _row(expand_ratio=6, width=160, repeats=9),
        _row(expand_ratio=6, width=256, stride=2, repeats=15),
    ],
)

PRESETS = {
    "b0": Preset(1.0, 1.0, 192, 20),
    "b1": Preset(1.0, 1.1, 192, 20),
    "b2": Preset(1.1, 1.2, 208, 30),
    "b3": Preset(1.2, 1.4, 240, 30),
    "s": Preset(1.0, 1.0, 300, 20),
}


def _entry(name: str, row: Preset, top1: float) -> Entry:
    return Entry(
        f"efficientnetv2_{name}",
        f"EfficientNetV2-{name.upper()}",
        "arXiv:2104.00298, " + ("Table 4" if name == "s" else "table and coefficients of google/automl"),
        (S if name == "s" else B0).with_dropout(row.dropout_percent),
        published=(Published({}, top1, "google/automl"),),
        width=row.width,
        depth=row.depth,
        resolution=row.resolution,
        note="Trained at these pixels; the accuracy is of the release's larger test images, 224 to 384 px.",
    )


_TOP1 = (78.7, 79.8, 80.5, 82.1, 83.9)
ENTRIES = tuple(_entry(name, row, top1) for (name, row), top1 in zip(PRESETS.items(), _TOP1, strict=True))
