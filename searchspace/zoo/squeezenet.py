"""SqueezeNet 1.0 (arXiv:1602.07360, Table 1) and 1.1 (its authors' later release): Fire modules without batch norm.

Stem and pooling have no padding; pooling keeps the last, incomplete window (Caffe's ceil mode).
"""

from searchspace.blocks import ConvClassifierRow, ConvRow, FireRow, MaxPoolRow
from searchspace.zoo.entry import Entry, Published, paper_table

POOL = MaxPoolRow(padding="ceil")
CLASSIFIER = ConvClassifierRow(dropout_percent=50)


def _fire(*, squeeze: int, expand: int, repeats: int = 1) -> FireRow:
    return FireRow(squeeze_width=squeeze, expand1x1_width=expand, expand3x3_width=expand, repeats=repeats)


def _conv1(*, width: int, kernel: int) -> ConvRow:
    return ConvRow(width=width, kernel=kernel, stride=2, bias=True, padding="valid")


V1_0 = paper_table(
    "squeezenet1_0",
    stem=[_conv1(width=96, kernel=7), POOL],
    stages=[  # fire2 to fire9
        [_fire(squeeze=16, expand=64, repeats=2), _fire(squeeze=32, expand=128), POOL],
        [
            _fire(squeeze=32, expand=128),
            _fire(squeeze=48, expand=192, repeats=2),
            _fire(squeeze=64, expand=256),
            POOL,
        ],
        [_fire(squeeze=64, expand=256)],
    ],
    classifier=CLASSIFIER,
)
V1_1 = paper_table(
    "squeezenet1_1",
    stem=[_conv1(width=64, kernel=3), POOL],
    stages=[
        [_fire(squeeze=16, expand=64, repeats=2), POOL],
        [_fire(squeeze=32, expand=128, repeats=2), POOL],
        [_fire(squeeze=48, expand=192, repeats=2), _fire(squeeze=64, expand=256, repeats=2)],
    ],
    classifier=CLASSIFIER,
)

ENTRIES = (
    Entry(
        "squeezenet1_0",
        "SqueezeNet 1.0",
        "arXiv:1602.07360, Table 1",
        V1_0,
        published=(Published({}, 57.5, "Table 2"),),
    ),
    Entry(
        "squeezenet1_1",
        "SqueezeNet 1.1",
        "the authors' release SqueezeNet_v1.1",
        V1_1,
        note='No paper gives its accuracy; its release says "no loss" against 1.0.',
    ),
)
