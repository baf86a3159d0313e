"""Single-Path NAS (arXiv:1904.02877): a searched descendant of MnasNet's block, as timm's spnasnet_100 has it."""

from searchspace.blocks import ConvRow, MBConvRow
from searchspace.zoo.entry import Entry, Published, paper_table

TABLE = paper_table(
    "single_path_nas",
    stem=[ConvRow(width=32, kernel=3, stride=2)],
    stages=[
        [MBConvRow(expand_ratio=1, width=16, skip=False)],
        [MBConvRow(expand_ratio=3, kernel=3, width=24, stride=2, repeats=3)],
        [
            MBConvRow(expand_ratio=6, kernel=5, width=40, stride=2),
            MBConvRow(expand_ratio=3, kernel=3, width=40, repeats=3),
        ],
        [
            MBConvRow(expand_ratio=6, kernel=5, width=80, stride=2),
            MBConvRow(expand_ratio=3, kernel=3, width=80, repeats=3),
        ],
        [MBConvRow(expand_ratio=6, kernel=5, width=96), MBConvRow(expand_ratio=3, kernel=5, width=96, repeats=3)],
        [MBConvRow(expand_ratio=6, kernel=5, width=192, stride=2, repeats=4)],
        [MBConvRow(expand_ratio=6, kernel=3, width=320)],
    ],
    head=[ConvRow(width=1280, scaling="fixed")],
)

ENTRIES = (
    Entry(
        "single_path_nas", "Single-Path NAS", "arXiv:1904.02877", TABLE, published=(Published({}, 74.96, "abstract"),)
    ),
)
