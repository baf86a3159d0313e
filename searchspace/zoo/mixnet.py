"""MixNet-S, -M and -L (arXiv:1907.09595, Figure 4): depthwise convolutions of several kernels side by side.

The tables are the released `mixnet_builder.py` (tensorflow/tpu, models/official/mnasnet/mixnet): kernels, groups of the
1x1 convolutions, expansion, SE of the block's input. L is M with 1.3 x the channels, but for the last convolution.
"""

from functools import partial

from searchspace.blocks import ConvRow, MBConvRow, MixConvRow
from searchspace.template import Template
from searchspace.zoo.entry import Entry, Published, paper_table

_swish = partial(MixConvRow, activation="swish", squeeze_activation="swish")


def _row(
    channels: int, kernels: int, expand: int, *, stride: int = 1, repeats: int = 1, se: float = 0.0, groups: str = ""
) -> MixConvRow:
    """A row of a table; `groups`: "a" where the expansion, "p" where the projection has two."""
    row = _swish if se else MixConvRow
    return row(
        width=channels,
        kernels=kernels,
        expand_ratio=expand,
        stride=stride,
        repeats=repeats,
        se_ratio=se,
        expand_groups=1 + ("a" in groups),
        project_groups=1 + ("p" in groups),
    )


S = [
    [_row(24, 1, 6, stride=2, groups="ap"), _row(24, 1, 3, groups="ap")],
    [_row(40, 3, 6, stride=2, se=0.5), _row(40, 2, 6, repeats=3, se=0.5, groups="ap")],
    [_row(80, 3, 6, stride=2, se=0.25, groups="p"), _row(80, 2, 6, repeats=2, se=0.25, groups="p")],
    [_row(120, 3, 6, se=0.5, groups="ap"), _row(120, 4, 3, repeats=2, se=0.5, groups="ap")],
    [_row(200, 5, 6, stride=2, se=0.5), _row(200, 4, 6, repeats=2, se=0.5, groups="p")],
]
M = [
    [_row(32, 3, 6, stride=2, groups="ap"), _row(32, 1, 3, groups="ap")],
    [_row(40, 4, 6, stride=2, se=0.5), _row(40, 2, 6, repeats=3, se=0.5, groups="ap")],
    [_row(80, 3, 6, stride=2, se=0.25), _row(80, 4, 6, repeats=3, se=0.25, groups="ap")],
    [_row(120, 1, 6, se=0.5), _row(120, 4, 3, repeats=3, se=0.5, groups="ap")],
    [_row(200, 4, 6, stride=2, se=0.5), _row(200, 4, 6, repeats=3, se=0.5, groups="p")],
]


def _table(name: str, stem: int, stages: list[list[MixConvRow]]) -> Template:
    return paper_table(
        name,
        stem=[ConvRow(width=stem, kernel=3, stride=2)],
        stages=[[MBConvRow(expand_ratio=1, width=stem)], *stages],
        head=[ConvRow(width=1536, scaling="fixed")],
    )


def _entry(size: str, stem: int, stages: list[list[MixConvRow]], top1: float, width: float = 1.0) -> Entry:
    name = f"mixnet_{size}"
    return Entry(
        name,
        f"MixNet-{size.upper()}",
        "arXiv:1907.09595, Figure 4",
        _table(name, stem, stages),
        published=(Published({}, top1, "Table 2"),),
        width=width,
    )


ENTRIES = (_entry("s", 16, S, 75.8), _entry("m", 24, M, 77.0), _entry("l", 24, M, 78.9, width=1.3))
