"""SqueezeNet 1.0 (arXiv:1602.07360, Table 1) and 1.1 (its authors' later release): Fire modules without batch norm.

Stem and pooling have no padding; pooling keeps the last, incomplete window (Caffe's ceil mode).
"""

from searchspace.template import ConvClassifierRow, ConvRow, FireRow, MaxPoolRow, Row, StageTemplate, Template
from searchspace.zoo.entry import Entry, Published

POOL = MaxPoolRow(padding="ceil")
CLASSIFIER = StageTemplate("classifier", (ConvClassifierRow(dropout_percent=50),))


def _fire(squeeze: int, expand: int, repeats: int = 1) -> FireRow:
    return FireRow(squeeze_width=squeeze, expand1x1_width=expand, expand3x3_width=expand, repeats=repeats)


def _stem(width: int, kernel: int) -> StageTemplate:
    return StageTemplate("stem", (ConvRow(width=width, kernel=kernel, stride=2, bias=True, padding="valid"), POOL))


def _stage(name: str, *rows: Row) -> StageTemplate:
    return StageTemplate(name, rows)


V1_0 = Template(
    "squeezenet1_0",
    (
        _stem(96, 7),
        #               squeeze expand repeats: fire2 to fire9
        _stage("stage1", _fire(16, 64, 2), _fire(32, 128), POOL),
        _stage("stage2", _fire(32, 128), _fire(48, 192, 2), _fire(64, 256), POOL),
        _stage("stage3", _fire(64, 256)),
        CLASSIFIER,
    ),
)
V1_1 = Template(
    "squeezenet1_1",
    (
        _stem(64, 3),
        _stage("stage1", _fire(16, 64, 2), POOL),
        _stage("stage2", _fire(32, 128, 2), POOL),
        _stage("stage3", _fire(48, 192, 2), _fire(64, 256, 2)),
        CLASSIFIER,
    ),
)

ENTRIES = (
    Entry(
        name="squeezenet1_0",
        title="SqueezeNet 1.0",
        source="arXiv:1602.07360, Table 1",
        template=lambda: V1_0,
        published=(Published({}, 57.5, "Table 2"),),
    ),
    Entry(
        name="squeezenet1_1",
        title="SqueezeNet 1.1",
        source="the authors' release SqueezeNet_v1.1",
        template=lambda: V1_1,
        note='No paper gives its accuracy; its release says "no loss" against 1.0.',
    ),
)
