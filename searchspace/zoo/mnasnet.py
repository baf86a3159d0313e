"""MnasNet-A1, -B1 and -small (arXiv:1807.11626): the searched networks whose blocks this project's space has.

A1 is Figure 7(a); B1 is the same search without SE; small is the released `mnasnet-small`. Stem and stages follow the
width multiplier, the last convolution does not (released code, torchvision and timm alike).
"""

from searchspace.template import ClassifierRow, ConvRow, MBConvRow, StageTemplate, Template
from searchspace.zoo.entry import Entry, Published, mobile


def _row(expand: int, kernel: int, width: int, repeats: int, stride: int, *, se: float = 0.0) -> MBConvRow:
    return MBConvRow(expand_ratio=expand, kernel=kernel, width=width, repeats=repeats, stride=stride, se_ratio=se)


def _table(name: str, stem: int, first: MBConvRow, *rows: MBConvRow) -> Template:
    return Template(
        name,
        (
            StageTemplate("stem", (ConvRow(width=stem, kernel=3, stride=2),)),
            mobile("stage1", first),
            *(mobile(f"stage{number}", row) for number, row in enumerate(rows, 2)),
            StageTemplate("head", (ConvRow(width=1280, scaling="fixed"),)),
            StageTemplate("classifier", (ClassifierRow(dropout_percent=20),)),
        ),
    )


SEP_CONV = MBConvRow(expand_ratio=1, width=16, skip=False)
A1 = _table(
    "mnasnet_a1",
    32,
    SEP_CONV,
    # expand kernel width repeats stride
    _row(6, 3, 24, 2, 2),
    _row(3, 5, 40, 3, 2, se=0.25),
    _row(6, 3, 80, 4, 2),
    _row(6, 3, 112, 2, 1, se=0.25),
    _row(6, 5, 160, 3, 2, se=0.25),
    _row(6, 3, 320, 1, 1),
)
B1 = _table(
    "mnasnet_b1",
    32,
    SEP_CONV,
    _row(3, 3, 24, 3, 2),
    _row(3, 5, 40, 3, 2),
    _row(6, 5, 80, 3, 2),
    _row(6, 3, 96, 2, 1),
    _row(6, 5, 192, 4, 2),
    _row(6, 3, 320, 1, 1),
)
SMALL = _table(
    "mnasnet_small",
    8,
    MBConvRow(expand_ratio=1, width=8),
    _row(3, 3, 16, 1, 2),
    _row(6, 3, 16, 2, 2),
    _row(6, 5, 32, 4, 2, se=0.25),
    _row(6, 3, 32, 3, 1, se=0.25),
    _row(6, 5, 88, 3, 2, se=0.25),
    _row(6, 3, 144, 1, 1),
)

ENTRIES = (
    Entry(
        name="mnasnet_a1",
        title="MnasNet-A1",
        source="arXiv:1807.11626, Figure 7(a)",
        template=lambda: A1,
        published=(Published({}, 75.2, "Table 1"),),
    ),
    Entry(
        name="mnasnet_b1",
        title="MnasNet-B1",
        source="arXiv:1807.11626, released mnasnet-b1",
        template=lambda: B1,
        published=(Published({}, 74.5, "Table 3"),),
    ),
    Entry(
        name="mnasnet_small",
        title="MnasNet-small",
        source="arXiv:1807.11626, released mnasnet-small",
        template=lambda: SMALL,
        published=(Published({}, 66.0, "Table 4, search2"),),
        note="The first block has a skip, as in timm; the released code's skip test misses it.",
    ),
)
