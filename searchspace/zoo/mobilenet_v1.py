"""MobileNetV1 (arXiv:1704.04861): depthwise separable convolutions without skips.

`template` is Table 1. The paper says ReLU; its released code and timm use ReLU6, and so does this.
"""

from functools import partial

from searchspace.blocks import ClassifierRow, ConvRow, MBConvRow
from searchspace.template import Template
from searchspace.zoo.entry import Entry, Published, paper_table

_row = partial(MBConvRow, expand_ratio=1, skip=False, activation="relu6", project_activation="relu6")


def template(*, head: bool = False) -> Template:
    """Table 1; with `head` a 1x1 convolution before the pooling, as timm's mobilenetv1_100h has it."""
    return paper_table(
        "mobilenet_v1",
        stem=[ConvRow(width=32, kernel=3, stride=2, activation="relu6")],
        stages=[
            [_row(width=64, stride=1)],
            [_row(width=128, stride=2, repeats=2)],
            [_row(width=256, stride=2, repeats=2)],
            [_row(width=512, stride=2, repeats=6)],
            [_row(width=1024, stride=2, repeats=2)],
        ],
        head=[ConvRow(width=1024, activation="relu6", scaling="wider")] if head else (),
        classifier=ClassifierRow(),
    )


ENTRIES = (
    Entry(
        "mobilenet_v1",
        "MobileNetV1",
        "arXiv:1704.04861, Table 1",
        template,
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
