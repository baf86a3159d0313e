"""MobileNetV3-Large and -Small (arXiv:1905.02244): SE of the expanded channels, h-swish, a narrow head.

The rows are Tables 1 and 2. They agree for every implementation at width 1; at other widths they do not:

* `rounding="paper"`, the released code's rule (and timm's): an expansion is a ratio of the scaled input, rounded to a
  multiple of 8; stem and the head's hidden layer keep their widths (the stem from width 0.75 on follows).
* `rounding="torchvision"`: the table's expansion is scaled like every other width, stem and hidden layer too, and the
  last convolution has 6 x its input's channels.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from operator import attrgetter

from searchspace.blocks import ClassifierRow, ConvRow, MBConvRow
from searchspace.errors import InvalidArgument
from searchspace.template import Template
from searchspace.zoo.entry import Entry, Published, paper_table

ROUNDINGS = ("paper", "torchvision")
RE, HS = "relu", "h_swish"


def _bneck(*, kernel: int, exp: int, ratio: float, out: int, se: bool, nl: str, s: int) -> MBConvRow:
    """A row as the tables print it; `ratio` is the released code's for the expansion size `exp`."""
    return MBConvRow(
        kernel=kernel,
        expand_ratio=ratio,
        expand_width=exp,
        expand_divisor=8,
        width=out,
        stride=s,
        se_ratio=0.25 if se else 0,
        se_of_expanded=True,
        se_divisor=8,
        activation=nl,
        gate="hard_sigmoid",
    )


LARGE = [
    _bneck(kernel=3, exp=16, ratio=1, out=16, se=False, nl=RE, s=1),
    _bneck(kernel=3, exp=64, ratio=4, out=24, se=False, nl=RE, s=2),
    _bneck(kernel=3, exp=72, ratio=3, out=24, se=False, nl=RE, s=1),
    _bneck(kernel=5, exp=72, ratio=3, out=40, se=True, nl=RE, s=2),
    _bneck(kernel=5, exp=120, ratio=3, out=40, se=True, nl=RE, s=1),
    _bneck(kernel=5, exp=120, ratio=3, out=40, se=True, nl=RE, s=1),
    _bneck(kernel=3, exp=240, ratio=6, out=80, se=False, nl=HS, s=2),
    _bneck(kernel=3, exp=200, ratio=2.5, out=80, se=False, nl=HS, s=1),
    _bneck(kernel=3, exp=184, ratio=2.3, out=80, se=False, nl=HS, s=1),
    _bneck(kernel=3, exp=184, ratio=2.3, out=80, se=False, nl=HS, s=1),
    _bneck(kernel=3, exp=480, ratio=6, out=112, se=True, nl=HS, s=1),
    _bneck(kernel=3, exp=672, ratio=6, out=112, se=True, nl=HS, s=1),
    _bneck(kernel=5, exp=672, ratio=6, out=160, se=True, nl=HS, s=2),
    _bneck(kernel=5, exp=960, ratio=6, out=160, se=True, nl=HS, s=1),
    _bneck(kernel=5, exp=960, ratio=6, out=160, se=True, nl=HS, s=1),
]
SMALL = [
    _bneck(kernel=3, exp=16, ratio=1, out=16, se=True, nl=RE, s=2),
    _bneck(kernel=3, exp=72, ratio=4.5, out=24, se=False, nl=RE, s=2),
    _bneck(kernel=3, exp=88, ratio=3.67, out=24, se=False, nl=RE, s=1),
    _bneck(kernel=5, exp=96, ratio=4, out=40, se=True, nl=HS, s=2),
    _bneck(kernel=5, exp=240, ratio=6, out=40, se=True, nl=HS, s=1),
    _bneck(kernel=5, exp=240, ratio=6, out=40, se=True, nl=HS, s=1),
    _bneck(kernel=5, exp=120, ratio=3, out=48, se=True, nl=HS, s=1),
    _bneck(kernel=5, exp=144, ratio=3, out=48, se=True, nl=HS, s=1),
    _bneck(kernel=5, exp=288, ratio=6, out=96, se=True, nl=HS, s=2),
    _bneck(kernel=5, exp=576, ratio=6, out=96, se=True, nl=HS, s=1),
    _bneck(kernel=5, exp=576, ratio=6, out=96, se=True, nl=HS, s=1),
]


def _table(
    name: str, rows: Sequence[MBConvRow], *, last: int, hidden: int, width: float = 1.0, rounding: str = "paper"
) -> Template:
    """A table and its head: the last 1x1 convolution to `last` channels, the hidden layer of `hidden` features."""
    if rounding not in ROUNDINGS:
        raise InvalidArgument(f"rounding must be one of {', '.join(ROUNDINGS)}, got {rounding!r}")
    scaling = "width" if rounding == "torchvision" else "fixed"
    rows = [row if rounding == "torchvision" else replace(row, expand_width=0) for row in rows]
    return paper_table(
        name,
        stem=[ConvRow(width=16, kernel=3, stride=2, activation=HS, scaling="width" if width >= 0.75 else scaling)],
        stages=[list(stage) for _, stage in groupby(rows, key=attrgetter("width"))],
        head=[ConvRow(width=last, activation=HS, input_ratio=6.0 if rounding == "torchvision" else 0.0)],
        classifier=ClassifierRow(hidden_width=hidden, hidden_activation=HS, hidden_scaling=scaling, dropout_percent=20),
    )


large = partial(_table, "mobilenet_v3_large", LARGE, last=960, hidden=1280)
# 1024 features, as in all released code; the first edition of the paper printed 1280.
small = partial(_table, "mobilenet_v3_small", SMALL, last=576, hidden=1024)

_NOTE = "At widths other than 1, rounding=\"torchvision\" gives torchvision's channels instead of the released code's."
ENTRIES = (
    Entry(
        "mobilenet_v3_large",
        "MobileNetV3-Large",
        "arXiv:1905.02244, Table 1",
        large,
        options=("rounding",),
        reads_width=True,
        published=(Published({}, 75.2, "Table 3"), Published({"width": 0.75}, 73.3, "Table 3")),
        note=_NOTE,
    ),
    Entry(
        "mobilenet_v3_small",
        "MobileNetV3-Small",
        "arXiv:1905.02244, Table 2",
        small,
        options=("rounding",),
        reads_width=True,
        published=(Published({}, 67.4, "Table 3"), Published({"width": 0.75}, 65.4, "Table 3")),
        note=_NOTE,
    ),
)
