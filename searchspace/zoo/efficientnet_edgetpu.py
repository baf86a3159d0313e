"""EfficientNet-EdgeTPU-S, -M and -L: EfficientNet for accelerators, early stages fused, no SE (arXiv:2003.02838).

`SMALL` is the table of tensorflow/tpu's efficientnet/edgetpu; `PRESETS` are its coefficients. Its first block expands
by the channels it hands on, which are fewer than it gets.
"""

from functools import partial

from searchspace.blocks import ConvRow, FusedMBConvRow, MBConvRow
from searchspace.zoo.efficientnet import Preset
from searchspace.zoo.entry import Entry, paper_table

_fused = partial(FusedMBConvRow, expand_ratio=8, expand_divisor=8)
_row = partial(MBConvRow, expand_ratio=8, expand_divisor=8, kernel=5)

SMALL = paper_table(
    "efficientnet_es",
    stem=[ConvRow(width=32, kernel=3, stride=2)],
    stages=[
        [FusedMBConvRow(expand_ratio=4, expand_divisor=8, expand_of_output=True, width=24, skip=False)],
        [_fused(width=32, stride=2, repeats=2)],
        [_fused(width=48, stride=2, repeats=4)],
        [_row(width=96, stride=2, repeats=5)],
        [_row(width=144, repeats=4)],
        [_row(width=192, stride=2, repeats=2)],
    ],
    head=[ConvRow(width=1280)],
)

PRESETS = {
    "s": Preset(1.0, 1.0, 224, 20),
    "m": Preset(1.0, 1.1, 240, 20),
    "l": Preset(1.2, 1.4, 300, 30),
}


def _entry(name: str, row: Preset) -> Entry:
    return Entry(
        f"efficientnet_e{name}",
        f"EfficientNet-EdgeTPU-{name.upper()}",
        "arXiv:2003.02838, the table of tensorflow/tpu efficientnet/edgetpu",
        SMALL.with_dropout(row.dropout_percent),
        width=row.width,
        depth=row.depth,
        resolution=row.resolution,
    )


ENTRIES = tuple(_entry(name, row) for name, row in PRESETS.items())
