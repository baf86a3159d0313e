"""FBNet-C (arXiv:1812.03443): a searched descendant of the same block, each block with its own kernel and ratio.

The rows are those that timm's fbnetc_100 and the authors' release agree on; a block of expansion ratio 1 keeps its
1x1 expansion.
"""

from functools import partial

from searchspace.blocks import ConvRow, MBConvRow
from searchspace.zoo.entry import Entry, Published, paper_table

_row = partial(MBConvRow, keep_expansion=True)

FBNET_C = paper_table(
    "fbnet_c",
    stem=[ConvRow(width=16, kernel=3, stride=2)],
    stages=[
        [_row(expand_ratio=1, kernel=3, width=16)],
        [_row(expand_ratio=6, kernel=3, width=24, stride=2), _row(expand_ratio=1, kernel=3, width=24, repeats=2)],
        [
            _row(expand_ratio=6, kernel=5, width=32, stride=2),
            _row(expand_ratio=3, kernel=5, width=32),
            _row(expand_ratio=6, kernel=5, width=32),
            _row(expand_ratio=6, kernel=3, width=32),
        ],
        [
            _row(expand_ratio=6, kernel=5, width=64, stride=2),
            _row(expand_ratio=3, kernel=5, width=64),
            _row(expand_ratio=6, kernel=5, width=64, repeats=2),
        ],
        [_row(expand_ratio=6, kernel=5, width=112, repeats=3), _row(expand_ratio=3, kernel=5, width=112)],
        [_row(expand_ratio=6, kernel=5, width=184, stride=2, repeats=4)],
        [_row(expand_ratio=6, kernel=3, width=352)],
    ],
    head=[ConvRow(width=1984, scaling="fixed")],
)

ENTRIES = (Entry("fbnet_c", "FBNet-C", "arXiv:1812.03443", FBNET_C, published=(Published({}, 74.9, "Table 3"),)),)
