"""PP-LCNet (arXiv:2109.15099): MobileNetV1's blocks with h-swish, 5x5 kernels late and SE last, made for CPUs.

`TABLE` is Table 1 (DepthSepConv) with the head of section 3.4, a hidden layer of 1280 features behind the pooling. Its
stages are timm's (`lcnet_100`).
"""

from functools import partial

from searchspace.blocks import ClassifierRow, ConvRow, MBConvRow
from searchspace.zoo.entry import Entry, Published, paper_table

HS = "h_swish"
_row = partial(MBConvRow, expand_ratio=1, skip=False, activation=HS, project_activation=HS, gate="hard_sigmoid")

TABLE = paper_table(
    "lcnet",
    stem=[ConvRow(width=16, kernel=3, stride=2, activation=HS)],
    stages=[
        [_row(width=32)],
        [_row(width=64, stride=2, repeats=2)],
        [_row(width=128, stride=2, repeats=2)],
        [_row(width=256, stride=2), _row(width=256, kernel=5)],
        [_row(width=256, kernel=5, repeats=4)],
        [_row(width=512, kernel=5, stride=2, repeats=2, se_ratio=0.25)],
    ],
    classifier=ClassifierRow(hidden_width=1280, hidden_activation=HS, hidden_scaling="fixed", dropout_percent=20),
)

_TOP1 = {0.25: 51.86, 0.35: 58.09, 0.5: 63.14, 0.75: 68.18, 1.0: 71.32, 1.5: 73.71, 2.0: 75.18, 2.5: 76.60}

ENTRIES = (
    Entry(
        "lcnet",
        "PP-LCNet",
        "arXiv:2109.15099, Table 1",
        TABLE,
        published=tuple(
            Published({"width": width} if width != 1 else {}, top1, "PaddleClas") for width, top1 in _TOP1.items()
        ),
    ),
)
