"""MobileNetV1 (arXiv:1704.04861): depthwise separable convolutions without skips.

`TABLE` is Table 1. The paper says ReLU; its released code and timm use ReLU6, and so does this.
"""

from searchspace.template import ClassifierRow, ConvRow, MBConvRow, StageTemplate, Template
from searchspace.zoo.entry import Entry, Published, mobile


def _row(width: int, stride: int, repeats: int = 1) -> MBConvRow:
    return MBConvRow(
        expand_ratio=1,
        width=width,
        stride=stride,
        repeats=repeats,
        skip=False,
        activation="relu6",
        project_activation="relu6",
    )


TABLE = Template(
    "mobilenet_v1",
    (
        StageTemplate("stem", (ConvRow(width=32, kernel=3, stride=2, activation="relu6"),)),
        #                    width stride repeats
        mobile("stage1", _row(64, 1)),
        mobile("stage2", _row(128, 2, 2)),
        mobile("stage3", _row(256, 2, 2)),
        mobile("stage4", _row(512, 2, 6)),
        mobile("stage5", _row(1024, 2, 2)),
        StageTemplate("classifier", (ClassifierRow(),)),
    ),
)

ENTRIES = (
    Entry(
        name="mobilenet_v1",
        title="MobileNetV1",
        source="arXiv:1704.04861, Table 1",
        template=lambda: TABLE,
        published=(
            Published({}, 70.6, "Table 6"),
            Published({"width": 0.75}, 68.4, "Table 6"),
            Published({"width": 0.5}, 63.7, "Table 6"),
            Published({"width": 0.25}, 50.6, "Table 6"),
            Published({"resolution": 192}, 69.1, "Table 7"),
            Published({"resolution": 160}, 67.2, "Table 7"),
            Published({"resolution": 128}, 64.4, "Table 7"),
        ),
        note="ReLU6 as in the released code and timm; the paper says ReLU.",
    ),
)
