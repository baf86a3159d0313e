"""FBNet-C (arXiv:1812.03443): a searched descendant of the same block, each block with its own kernel and ratio.

The rows are those that timm's fbnetc_100 and the authors' release agree on; a block of expansion ratio 1 keeps its
1x1 expansion.
"""

from searchspace.template import ClassifierRow, ConvRow, MBConvRow, StageTemplate, Template
from searchspace.zoo.entry import Entry, Published, mobile


def _row(expand: int, kernel: int, width: int, stride: int = 1, repeats: int = 1) -> MBConvRow:
    return MBConvRow(
        expand_ratio=expand, kernel=kernel, width=width, stride=stride, repeats=repeats, keep_expansion=True
    )


FBNET_C = Template(
    "fbnet_c",
    (
        StageTemplate("stem", (ConvRow(width=16, kernel=3, stride=2),)),
        mobile("stage1", _row(1, 3, 16)),
        mobile("stage2", _row(6, 3, 24, 2), _row(1, 3, 24, repeats=2)),
        mobile("stage3", _row(6, 5, 32, 2), _row(3, 5, 32), _row(6, 5, 32), _row(6, 3, 32)),
        mobile("stage4", _row(6, 5, 64, 2), _row(3, 5, 64), _row(6, 5, 64, repeats=2)),
        mobile("stage5", _row(6, 5, 112, repeats=3), _row(3, 5, 112)),
        mobile("stage6", _row(6, 5, 184, 2, repeats=4)),
        mobile("stage7", _row(6, 3, 352)),
        StageTemplate("head", (ConvRow(width=1984, scaling="fixed"),)),
        StageTemplate("classifier", (ClassifierRow(dropout_percent=20),)),
    ),
)

ENTRIES = (
    Entry(
        name="fbnet_c",
        title="FBNet-C",
        source="arXiv:1812.03443",
        template=lambda: FBNET_C,
        published=(Published({}, 74.9, "Table 3"),),
    ),
)
