"""MobileNetV4 Conv-Small, -Medium and -Large (arXiv:2404.10518): universal inverted bottlenecks, searched.

The rows are those that the appendix's tables and timm agree on; the pixels are those that timm trains at. Narrower ones
keep the stem's width, as timm's (mobilenetv4_conv_small_050).
"""

from collections.abc import Sequence
from functools import partial

from searchspace.blocks import ClassifierRow, ConvRow, FusedMBConvRow, Row, UniversalRow
from searchspace.template import Template
from searchspace.zoo.entry import Entry, paper_table


def _uib(
    width: int, *blocks: tuple[int, int, float] | tuple[int, int, float, int], stride: int = 2
) -> list[UniversalRow]:
    """A stage of `width` channels; a row is (first kernel, middle kernel, expansion, repeats where not 1)."""
    return [
        UniversalRow(
            start_kernel=start,
            middle_kernel=middle,
            expand_ratio=ratio,
            expand_divisor=8,
            width=width,
            repeats=more[0] if more else 1,
            stride=1 if index else stride,
        )
        for index, (start, middle, ratio, *more) in enumerate(blocks)
    ]


def _table(name: str, stem: int, stages: Sequence[Sequence[Row]]) -> Template:
    return paper_table(
        name,
        stem=[ConvRow(width=stem, kernel=3, stride=2, scaling="wider")],
        stages=stages,
        head=[ConvRow(width=960)],
        classifier=ClassifierRow(
            hidden_width=1280, hidden_activation="relu", hidden_norm=True, hidden_scaling="fixed", dropout_percent=20
        ),
    )


_FUSED = [FusedMBConvRow(expand_ratio=4, expand_divisor=8, width=48, stride=2)]

SMALL = _table(
    "mobilenetv4_conv_small",
    32,
    [
        [ConvRow(width=32, kernel=3, stride=2), ConvRow(width=32)],
        [ConvRow(width=96, kernel=3, stride=2), ConvRow(width=64)],
        _uib(96, (5, 5, 3), (0, 3, 2, 4), (3, 0, 4)),
        _uib(128, (3, 3, 6), (5, 5, 4), (0, 5, 4), (0, 5, 3), (0, 3, 4, 2)),
    ],
)
MEDIUM = _table(
    "mobilenetv4_conv_medium",
    32,
    [
        _FUSED,
        _uib(80, (3, 5, 4), (3, 3, 2)),
        _uib(160, (3, 5, 6), (3, 3, 4, 2), (3, 5, 4), (3, 3, 4), (3, 0, 4), (0, 0, 2), (3, 0, 4)),
        _uib(
            256,
            (5, 5, 6),
            (5, 5, 4),
            (3, 5, 4, 2),
            (0, 0, 4),
            (3, 0, 4),
            (3, 5, 2),
            (5, 5, 4),
            (0, 0, 4, 2),
            (5, 0, 2),
        ),
    ],
)
LARGE = _table(
    "mobilenetv4_conv_large",
    24,
    [
        _FUSED,
        _uib(96, (3, 5, 4), (3, 3, 4)),
        _uib(192, (3, 5, 4), (3, 3, 4, 3), (3, 5, 4), (5, 3, 4, 5), (3, 0, 4)),
        _uib(512, (5, 5, 4, 4), (5, 0, 4), (5, 3, 4), (5, 0, 4, 2), (5, 3, 4), (5, 5, 4), (5, 0, 4, 3)),
    ],
)

_entry = partial(Entry, source="arXiv:2404.10518, appendix")
ENTRIES = (
    _entry(SMALL.name, "MobileNetV4-Conv-Small", template=SMALL),
    _entry(MEDIUM.name, "MobileNetV4-Conv-Medium", template=MEDIUM, resolution=256),
    _entry(LARGE.name, "MobileNetV4-Conv-Large", template=LARGE, resolution=384),
)
