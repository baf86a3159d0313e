"""MobileNetV2 (arXiv:1801.04381): inverted residuals with linear bottlenecks.

`TABLE` is Table 2 (t, c, n, s). The last convolution follows only width multipliers above 1 (section 6.1).
"""

from dataclasses import replace

from searchspace.template import ClassifierRow, ConvRow, MBConvRow, StageTemplate, Template
from searchspace.zoo.entry import Entry, Published, mobile


def _row(t: int, c: int, n: int, s: int) -> MBConvRow:
    return MBConvRow(expand_ratio=t, width=c, repeats=n, stride=s, activation="relu6")


TABLE = Template(
    "mobilenet_v2",
    (
        StageTemplate("stem", (ConvRow(width=32, kernel=3, stride=2, activation="relu6"),)),
        #                     t   c   n  s
        mobile("stage1", _row(1, 16, 1, 1)),
        mobile("stage2", _row(6, 24, 2, 2)),
        mobile("stage3", _row(6, 32, 3, 2)),
        mobile("stage4", _row(6, 64, 4, 2)),
        mobile("stage5", _row(6, 96, 3, 1)),
        mobile("stage6", _row(6, 160, 3, 2)),
        mobile("stage7", _row(6, 320, 1, 1)),
        StageTemplate("head", (ConvRow(width=1280, activation="relu6", scaling="wider"),)),
        StageTemplate("classifier", (ClassifierRow(dropout_percent=20),)),
    ),
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
        name="mobilenet_v2",
        title="MobileNetV2",
        source="arXiv:1801.04381, Table 2",
        template=template,
        options=("fixed_ends",),
        published=(Published({}, 72.0, "Table 4"), Published({"width": 1.4}, 74.7, "Table 4")),
    ),
)
