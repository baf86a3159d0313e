"""MobileNetV2 (arXiv:1801.04381): inverted residuals with linear bottlenecks.

`TABLE` is Table 2 (t, c, n, s). The last convolution follows only width multipliers above 1 (section 6.1).
"""

from dataclasses import replace

from searchspace.blocks import ConvRow, MBConvRow
from searchspace.template import Template
from searchspace.zoo.entry import Entry, Published, paper_table


def _row(*, t: int, c: int, n: int, s: int) -> MBConvRow:
    return MBConvRow(expand_ratio=t, width=c, repeats=n, stride=s, activation="relu6")


TABLE = paper_table(
    "mobilenet_v2",
    stem=[ConvRow(width=32, kernel=3, stride=2, activation="relu6")],
    stages=[
        [_row(t=1, c=16, n=1, s=1)],
        [_row(t=6, c=24, n=2, s=2)],
        [_row(t=6, c=32, n=3, s=2)],
        [_row(t=6, c=64, n=4, s=2)],
        [_row(t=6, c=96, n=3, s=1)],
        [_row(t=6, c=160, n=3, s=2)],
        [_row(t=6, c=320, n=1, s=1)],
    ],
    head=[ConvRow(width=1280, activation="relu6", scaling="wider")],
)


def template(*, fixed_ends: bool = False) -> Template:
    """Table 2; with `fixed_ends` stem and head keep their widths, and the first and last stage their layers.

    timm's mobilenetv2_110d (width 1.1, depth 1.2) and mobilenetv2_120d (1.2, 1.4) have fixed ends.
    """
    if not fixed_ends:
        return TABLE
    stages = []
    for stage in TABLE.stages:
        (row,) = stage.rows
        if isinstance(row, ConvRow):
            row = replace(row, scaling="fixed")
        elif isinstance(row, MBConvRow) and stage.name in ("stage1", "stage7"):
            row = replace(row, grows_deeper=False)
        stages.append(replace(stage, rows=(row,)))
    return replace(TABLE, stages=tuple(stages))


ENTRIES = (
    Entry(
        "mobilenet_v2",
        "MobileNetV2",
        "arXiv:1801.04381, Table 2",
        template,
        options=("fixed_ends",),
        published=(Published({}, 72.0, "Table 4"), Published({"width": 1.4}, 74.7, "Table 4")),
    ),
)
