"""PP-HGNetV2-B0 to B3 (PaddleClas, pp_hgnet_v2.py): concatenated convolutions, made for GPUs and used by detectors.

There is no paper; the accuracies are those of PaddleClas' list of models, by distillation (SSLD, stage 2).
"""

from typing import NamedTuple

from searchspace.blocks import AffineClassifierRow, ConvRow, HGBlockRow, HGStemRow
from searchspace.zoo.entry import Entry, Published, paper_table


class Model(NamedTuple):
    """One network: widths of the stem, its last convolution and of each stage (inside, out), layers, depth, top-1."""

    stem: int
    last: int
    widths: tuple[tuple[int, int], ...]
    layers: int
    depth: int
    top1: float


MODELS = {
    "b0": Model(16, 16, ((16, 64), (32, 256), (64, 512), (128, 1024)), 3, 2, 77.77),
    "b1": Model(24, 32, ((32, 64), (48, 256), (96, 512), (192, 1024)), 3, 2, 79.18),
    "b2": Model(24, 32, ((32, 96), (64, 384), (128, 768), (256, 1536)), 4, 3, 81.74),
    "b3": Model(24, 32, ((32, 128), (64, 512), (128, 1024), (256, 2048)), 5, 3, 82.98),
}


def _entry(size: str, model: Model) -> Entry:
    down = ConvRow(width=1, input_ratio=1.0, kernel=3, stride=2, group_width=1, activation="identity")
    stages = []
    for number, (inner, out) in enumerate(model.widths, 1):
        light = number > 2
        row = HGBlockRow(
            width=out,
            mid_width=inner,
            layers=model.layers,
            light=light,
            kernel=5 if light else 3,
            repeats=model.depth if number == 3 else 1,
        )
        stages.append([row] if number == 1 else [down, row])
    stem = HGStemRow(
        width=model.last,
        first_width=model.stem,
        branch_width=model.stem // 2,
        side_width=model.stem,
        merge_width=model.stem,
    )
    table = paper_table(
        f"hgnetv2_{size}", stem=[stem], stages=stages, classifier=AffineClassifierRow(hidden_width=2048, scales=False)
    )
    published = (Published({}, model.top1, "PaddleClas"),)
    return Entry(table.name, f"PP-HGNetV2-{size.upper()}", "PaddleClas, pp_hgnet_v2.py", table, published=published)


ENTRIES = tuple(_entry(size, model) for size, model in MODELS.items())
