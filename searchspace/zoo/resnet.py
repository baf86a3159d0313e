"""ResNet-18, -34 and -50 (arXiv:1512.03385, Table 1): the references that everything is compared with.

The stride of a bottleneck is in its 3x3 convolution, as in every release since Facebook's of 2016, not in the first 1x1
as the paper has it. The paper's accuracies are of 10 crops, so none is given.
"""

from collections.abc import Callable
from functools import partial

from searchspace.blocks import BasicBlockRow, BottleneckRow, ClassifierRow, ConvRow, MaxPoolRow
from searchspace.template import Template
from searchspace.zoo.entry import Entry, paper_table

NOTE = "The paper's accuracies are means over 10 crops of an image."
WIDTHS = (64, 128, 256, 512)


def _table(name: str, row: Callable[..., BasicBlockRow | BottleneckRow], expansion: int, depths: list[int]) -> Template:
    stages = [
        [row(width=expansion * width, stride=1 if width == WIDTHS[0] else 2, repeats=depth)]
        for width, depth in zip(WIDTHS, depths, strict=True)
    ]
    stem = [ConvRow(width=64, kernel=7, stride=2), MaxPoolRow()]
    return paper_table(name, stem=stem, stages=stages, classifier=ClassifierRow())


def _entry(depth: int, row: Callable[..., BasicBlockRow | BottleneckRow], expansion: int, depths: list[int]) -> Entry:
    table = _table(f"resnet{depth}", row, expansion, depths)
    return Entry(f"resnet{depth}", f"ResNet-{depth}", "arXiv:1512.03385, Table 1", table, note=NOTE)


_bottleneck = partial(BottleneckRow, reduce_ratio=0.25, mid_ratio=0.25)
ENTRIES = (
    _entry(18, BasicBlockRow, 1, [2, 2, 2, 2]),
    _entry(34, BasicBlockRow, 1, [3, 4, 6, 3]),
    _entry(50, _bottleneck, 4, [3, 4, 6, 3]),
)
