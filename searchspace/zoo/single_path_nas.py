"""Single-Path NAS (arXiv:1904.02877): a searched descendant of MnasNet's block, as timm's spnasnet_100 has it."""

from searchspace.template import ClassifierRow, ConvRow, MBConvRow, StageTemplate, Template
from searchspace.zoo.entry import Entry, Published, mobile


def _row(expand: int, kernel: int, width: int, stride: int = 1, repeats: int = 1) -> MBConvRow:
    return MBConvRow(expand_ratio=expand, kernel=kernel, width=width, stride=stride, repeats=repeats)


TABLE = Template(
    "single_path_nas",
    (
        StageTemplate("stem", (ConvRow(width=32, kernel=3, stride=2),)),
        mobile("stage1", MBConvRow(expand_ratio=1, width=16, skip=False)),
        mobile("stage2", _row(3, 3, 24, 2, repeats=3)),
        mobile("stage3", _row(6, 5, 40, 2), _row(3, 3, 40, repeats=3)),
        mobile("stage4", _row(6, 5, 80, 2), _row(3, 3, 80, repeats=3)),
        mobile("stage5", _row(6, 5, 96), _row(3, 5, 96, repeats=3)),
        mobile("stage6", _row(6, 5, 192, 2, repeats=4)),
        mobile("stage7", _row(6, 3, 320)),
        StageTemplate("head", (ConvRow(width=1280, scaling="fixed"),)),
        StageTemplate("classifier", (ClassifierRow(dropout_percent=20),)),
    ),
)

ENTRIES = (
    Entry(
        name="single_path_nas",
        title="Single-Path NAS",
        source="arXiv:1904.02877",
        template=lambda: TABLE,
        published=(Published({}, 74.96, "abstract"),),
    ),
)
