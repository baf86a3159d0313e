"""MobileOne-S0 to S4 (arXiv:2206.04040, Table 3): depthwise separable pairs, trained with many branches.

`MODELS` are the released networks (apple/ml-mobileone, mobileone.py). They are the training form, which the published
weights and counts are of; timed, exported and deployed is one convolution for each sum of branches.
"""

from typing import NamedTuple

from searchspace.blocks import ClassifierRow, RepConvRow
from searchspace.zoo.entry import Entry, Published, paper_table

REPEATS = (2, 8, 10, 1)


class Model(NamedTuple):
    """Widths of stem and stages; k x k branches of a block; how many blocks at the end of each stage have an SE."""

    stem: int
    widths: tuple[int, ...]
    top1: float
    branches: int = 1
    squeezed: tuple[int, ...] = (0, 0, 0, 0)


MODELS = {
    "s0": Model(48, (48, 128, 256, 1024), 71.4, branches=4),
    "s1": Model(64, (96, 192, 512, 1280), 75.9),
    "s2": Model(64, (96, 256, 640, 2048), 77.4),
    "s3": Model(64, (128, 320, 768, 2048), 78.1),
    "s4": Model(64, (192, 448, 896, 2048), 79.4, squeezed=(0, 0, 5, 1)),
}


def _stage(model: Model, width: int, repeats: int, squeezed: int) -> list[RepConvRow]:
    counts = [(repeats - squeezed, 0.0), (squeezed, 1 / 16)]
    rows = [(count, ratio) for count, ratio in counts if count]
    return [
        RepConvRow(
            width=width,
            repeats=count,
            stride=1 if index else 2,
            separable=True,
            branches=model.branches,
            se_ratio=ratio,
        )
        for index, (count, ratio) in enumerate(rows)
    ]


def _entry(size: str, model: Model) -> Entry:
    table = paper_table(
        f"mobileone_{size}",
        stem=[RepConvRow(width=model.stem, stride=2, grows_deeper=False)],
        stages=[_stage(model, *each) for each in zip(model.widths, REPEATS, model.squeezed, strict=True)],
        classifier=ClassifierRow(),
    )
    published = (Published({}, model.top1, "Table 9"),)
    return Entry(table.name, f"MobileOne-{size.upper()}", "arXiv:2206.04040, Table 3", table, published=published)


ENTRIES = tuple(_entry(size, model) for size, model in MODELS.items())
