"""ShuffleNetV1 (arXiv:1707.01083): grouped 1x1 convolutions, channel shuffle, concatenating units of stride 2.

`WIDTHS` are the output channels of Table 1 by number of groups. The paper scales "the number of filters" and says no
more; where its widths cannot be grouped (2 and 4 groups at 0.25x and 0.5x), channels round to the nearest multiple that
can. The stem has 24 channels, doubled at 2x and halved at 0.5x and 0.25x: what the released code does and what
reproduces the printed complexities (Table 2 and 5).
"""

import math

from searchspace.blocks import ClassifierRow, ConvRow, MaxPoolRow, ShuffleRow
from searchspace.errors import InvalidArgument
from searchspace.template import Template
from searchspace.zoo.entry import Entry, Published, paper_table

WIDTHS = {
    1: (144, 288, 576),
    2: (200, 400, 800),
    3: (240, 480, 960),
    4: (272, 544, 1088),
    8: (384, 768, 1536),
}
REPEATS = (4, 8, 4)
GROUPS = 3  # where none are given


def stem_width(width: float, groups: int) -> int:
    """24 channels, doubled with every whole doubling of the width, at least 12; a multiple of the groups.

    For 8 groups, 12 becomes 16 from 0.5x on, as in the released code, and 8 below, which is nearer the printed 13 M.
    """
    channels = max(12, round(24 * 2.0 ** math.floor(math.log2(width))))
    rounding = math.ceil if width >= 0.5 else math.floor
    return rounding(channels / groups) * groups


def template(*, width: float = 1.0, groups: int = GROUPS) -> Template:
    """Table 1 for `groups` groups; the stem is that of the width multiplier, which no scaling changes after that."""
    if groups not in WIDTHS:
        raise InvalidArgument(
            f"groups must be one of {', '.join(map(str, WIDTHS))} (the paper's Table 1; others do not divide its "
            f"channels), got {groups}"
        )
    stages = [
        ShuffleRow(width=channels, groups=groups, divisor=4 * groups, reduce_groups=grouped, stride=2, repeats=repeats)
        for channels, repeats, grouped in zip(WIDTHS[groups], REPEATS, (1, 0, 0), strict=True)
    ]
    stem = ConvRow(width=stem_width(width, groups), kernel=3, stride=2, scaling="fixed")
    return paper_table(
        "shufflenet_v1",
        stem=[stem, MaxPoolRow()],
        stages=[[row] for row in stages],
        classifier=ClassifierRow(),
        first_stage=2,
    )


def _published() -> tuple[Published, ...]:
    errors = {
        1.0: (33.6, 32.7, 32.6, 32.8, 32.4),
        0.5: (45.1, 44.4, 43.2, 41.6, 42.3),
        0.25: (57.1, 56.8, 55.0, 54.2, 52.7),
    }
    figures = [
        Published({"width": width, "groups": groups}, round(100 - error, 1), "Table 2")
        for width, row in errors.items()
        for groups, error in zip(WIDTHS, row, strict=True)
    ]
    figures += [Published({"width": w, "groups": 3}, top1, "Table 5") for w, top1 in ((1.5, 71.5), (2.0, 73.7))]
    return tuple(figures)


ENTRIES = (
    Entry(
        "shufflenet_v1",
        "ShuffleNetV1",
        "arXiv:1707.01083, Table 1",
        template,
        options=("groups",),
        reads_width=True,
        published=_published(),
        note=f"groups = 1, 2, 3, 4 or 8 (default {GROUPS}).",
    ),
)
