"""RepVGG-A0 to A2 (arXiv:2101.03697, Tables 2 and 3): a plain stack of 3x3 convolutions, trained with branches.

The networks are the training form, which the published weights and counts are of. Timed, exported and deployed is one
convolution a block: `searchspace.nn.reparametrise` and `searchspace.deployed`.
"""

from searchspace.blocks import ClassifierRow, RepConvRow
from searchspace.zoo.entry import Entry, Published, paper_table

REPEATS = (2, 4, 14, 1)
# name: widths of the stem and the four stages, top-1 in 120 epochs
MODELS = {
    "a0": (48, (48, 96, 192, 1280), 72.41),
    "a1": (64, (64, 128, 256, 1280), 74.46),
    "a2": (64, (96, 192, 384, 1408), 76.48),
}


def _entry(size: str, stem: int, widths: tuple[int, ...], top1: float) -> Entry:
    rows = [RepConvRow(width=width, repeats=n, stride=2) for width, n in zip(widths, REPEATS, strict=True)]
    table = paper_table(
        f"repvgg_{size}",
        stem=[RepConvRow(width=stem, stride=2, grows_deeper=False)],
        stages=[[row] for row in rows],
        classifier=ClassifierRow(),
    )
    published = (Published({}, top1, "Table 4"),)
    return Entry(table.name, f"RepVGG-{size.upper()}", "arXiv:2101.03697, Table 3", table, published=published)


ENTRIES = tuple(_entry(size, *model) for size, model in MODELS.items())
