"""RegNetX and RegNetY of 200 to 800 MF (arXiv:2003.13678): stages that a line of widths gives.

`MODELS` are the released parameters (facebookresearch/pycls, configs/dds_baselines): initial width, slope, multiplier
of the quantisation, depth, group width. `stages` is section 3.3 (equations 2 to 4) with the released rounding.
"""

import math
from itertools import groupby
from typing import NamedTuple

from searchspace.blocks import BottleneckRow, ClassifierRow, ConvRow
from searchspace.template import Template
from searchspace.zoo.entry import Entry, Published, paper_table


class Line(NamedTuple):
    """The parameters of one network, `se_ratio` 0 for a RegNetX, and its top-1 in the authors' list of models."""

    initial: int
    slope: float
    multiplier: float
    depth: int
    group_width: int
    se_ratio: float
    top1: float


MODELS = {
    "x_002": Line(24, 36.44, 2.49, 13, 8, 0.0, 68.9),
    "x_004": Line(24, 24.48, 2.54, 22, 16, 0.0, 72.7),
    "x_006": Line(48, 36.97, 2.24, 16, 24, 0.0, 74.1),
    "x_008": Line(56, 35.73, 2.28, 16, 16, 0.0, 75.2),
    "y_002": Line(24, 36.44, 2.49, 13, 8, 0.25, 70.4),
    "y_004": Line(48, 27.89, 2.09, 16, 8, 0.25, 74.1),
    "y_006": Line(48, 32.54, 2.32, 15, 16, 0.25, 75.5),
    "y_008": Line(56, 38.84, 2.40, 14, 16, 0.25, 76.3),
}


def stages(line: Line) -> list[tuple[int, int]]:
    """(width, depth) of each stage: widths on the line, to the nearest power of the multiplier, to multiples of 8.

    A stage's width is then the nearest multiple of the group width.
    """
    widths = []
    for block in range(line.depth):
        power = round(math.log((line.initial + line.slope * block) / line.initial) / math.log(line.multiplier))
        width = round(line.initial * line.multiplier**power / 8) * 8
        group = min(line.group_width, width)
        widths.append(round(width / group) * group)
    return [(width, len(list(run))) for width, run in groupby(widths)]


def _table(name: str, line: Line) -> Template:
    rows = [
        BottleneckRow(
            width=width,
            repeats=depth,
            stride=2,
            reduce_ratio=1.0,
            mid_ratio=1.0,
            group_width=line.group_width,
            se_ratio=line.se_ratio,
            divisor=line.group_width,
        )
        for width, depth in stages(line)
    ]
    stem = [ConvRow(width=32, kernel=3, stride=2)]
    return paper_table(name, stem=stem, stages=[[row] for row in rows], classifier=ClassifierRow())


def _entry(size: str, line: Line) -> Entry:
    family, number = size.split("_")
    title = f"RegNet{family.upper()}-{int(number)}00MF"
    published = (Published({}, line.top1, "pycls MODEL_ZOO"),)
    source = "arXiv:2003.13678, released configurations"
    return Entry(f"regnet{size}", title, source, _table(f"regnet{size}", line), published=published)


ENTRIES = tuple(_entry(size, line) for size, line in MODELS.items())
