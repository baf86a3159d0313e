"""GhostNet (arXiv:1911.11907, Table 1): bottlenecks of Ghost modules, half of whose channels come of cheap 3x3 ones.

Widths are rounded to multiples of 4 and SE squeezes to a quarter of the channels inside, as in the released code; the
hidden layer of the head keeps its width. timm's ghostnet_050 and _130 are the widths 0.5 and 1.3.
"""

from itertools import groupby
from operator import attrgetter

from searchspace.blocks import ClassifierRow, ConvRow, GhostRow
from searchspace.zoo.entry import Entry, Published, paper_table


def _row(kernel: int, exp: int, out: int, *, se: bool = False, stride: int = 1) -> GhostRow:
    ratio = 0.25 if se else 0.0
    return GhostRow(kernel=kernel, mid_width=exp, width=out, se_ratio=ratio, se_divisor=4, stride=stride)


# By the map's size, as the paper's stages are.
ROWS = [
    [_row(3, 16, 16)],
    [_row(3, 48, 24, stride=2), _row(3, 72, 24)],
    [_row(5, 72, 40, se=True, stride=2), _row(5, 120, 40, se=True)],
    [
        _row(3, 240, 80, stride=2),
        _row(3, 200, 80),
        _row(3, 184, 80),
        _row(3, 184, 80),
        _row(3, 480, 112, se=True),
        _row(3, 672, 112, se=True),
    ],
    [
        _row(5, 672, 160, se=True, stride=2),
        _row(5, 960, 160),
        _row(5, 960, 160, se=True),
        _row(5, 960, 160),
        _row(5, 960, 160, se=True),
    ],
]
# The released code cuts a stage behind its first block, which has the stride.
STAGES = [list(run) for rows in ROWS for _, run in groupby(rows, key=attrgetter("stride"))]

GHOSTNET = paper_table(
    "ghostnet_100",
    stem=[ConvRow(width=16, kernel=3, stride=2, divisor=4)],
    stages=STAGES,
    head=[ConvRow(width=960, divisor=4)],
    classifier=ClassifierRow(hidden_width=1280, hidden_activation="relu", hidden_scaling="fixed", dropout_percent=20),
)

ENTRIES = (
    Entry(
        "ghostnet_100",
        "GhostNet",
        "arXiv:1911.11907, Table 1",
        GHOSTNET,
        published=(Published({}, 73.9, "Table 7"), Published({"width": 0.5}, 66.2, "Table 7")),
    ),
)
