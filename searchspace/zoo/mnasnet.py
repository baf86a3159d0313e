"""MnasNet-A1, -B1 and -small (arXiv:1807.11626): the searched networks whose blocks this project's space has.

A1 is Figure 7(a); B1 is the same search without SE; small is the released `mnasnet-small`. Stem and stages follow the
width multiplier, the last convolution does not (released code, torchvision and timm alike).
"""

from collections.abc import Sequence

from searchspace.blocks import ConvRow, MBConvRow
from searchspace.template import Template
from searchspace.zoo.entry import Entry, Published, paper_table


def _table(name: str, *, stem: int, stages: Sequence[MBConvRow]) -> Template:
    return paper_table(
        name,
        stem=[ConvRow(width=stem, kernel=3, stride=2)],
        stages=[[row] for row in stages],
        head=[ConvRow(width=1280, scaling="fixed")],
    )


SEP_CONV = MBConvRow(expand_ratio=1, width=16, skip=False)
A1 = _table(
    "mnasnet_a1",
    stem=32,
    stages=[
        SEP_CONV,
        MBConvRow(expand_ratio=6, kernel=3, width=24, repeats=2, stride=2),
        MBConvRow(expand_ratio=3, kernel=5, width=40, repeats=3, stride=2, se_ratio=0.25),
        MBConvRow(expand_ratio=6, kernel=3, width=80, repeats=4, stride=2),
        MBConvRow(expand_ratio=6, kernel=3, width=112, repeats=2, stride=1, se_ratio=0.25),
        MBConvRow(expand_ratio=6, kernel=5, width=160, repeats=3, stride=2, se_ratio=0.25),
        MBConvRow(expand_ratio=6, kernel=3, width=320, repeats=1, stride=1),
    ],
)
B1 = _table(
    "mnasnet_b1",
    stem=32,
    stages=[
        SEP_CONV,
        MBConvRow(expand_ratio=3, kernel=3, width=24, repeats=3, stride=2),
        MBConvRow(expand_ratio=3, kernel=5, width=40, repeats=3, stride=2),
        MBConvRow(expand_ratio=6, kernel=5, width=80, repeats=3, stride=2),
        MBConvRow(expand_ratio=6, kernel=3, width=96, repeats=2, stride=1),
        MBConvRow(expand_ratio=6, kernel=5, width=192, repeats=4, stride=2),
        MBConvRow(expand_ratio=6, kernel=3, width=320, repeats=1, stride=1),
    ],
)
SMALL = _table(
    "mnasnet_small",
    stem=8,
    stages=[
        MBConvRow(expand_ratio=1, width=8),
        MBConvRow(expand_ratio=3, kernel=3, width=16, repeats=1, stride=2),
        MBConvRow(expand_ratio=6, kernel=3, width=16, repeats=2, stride=2),
        MBConvRow(expand_ratio=6, kernel=5, width=32, repeats=4, stride=2, se_ratio=0.25),
        MBConvRow(expand_ratio=6, kernel=3, width=32, repeats=3, stride=1, se_ratio=0.25),
        MBConvRow(expand_ratio=6, kernel=5, width=88, repeats=3, stride=2, se_ratio=0.25),
        MBConvRow(expand_ratio=6, kernel=3, width=144, repeats=1, stride=1),
    ],
)

ENTRIES = (
    Entry("mnasnet_a1", "MnasNet-A1", "arXiv:1807.11626, Figure 7(a)", A1, published=(Published({}, 75.2, "Table 1"),)),
    Entry(
        "mnasnet_b1",
        "MnasNet-B1",
        "arXiv:1807.11626, released mnasnet-b1",
        B1,
        published=(Published({}, 74.5, "Table 3"),),
    ),
    Entry(
        "mnasnet_small",
        "MnasNet-small",
        "arXiv:1807.11626, released mnasnet-small",
        SMALL,
        published=(Published({}, 66.0, "Table 4, search2"),),
        note="The first block has a skip, as in timm; the released code's skip test misses it.",
    ),
)
