"""ShuffleNetV2 (arXiv:1807.11164): channel split, a branch of dense 1x1 convolutions, concatenation and shuffle.

`WIDTHS` are the channels of Table 5, which are no multiples of each other; other widths scale the 1x column to even
numbers.
"""

from searchspace.blocks import ClassifierRow, ConvRow, MaxPoolRow, ShuffleV2Row
from searchspace.template import Template
from searchspace.zoo.entry import Entry, Published, paper_table

# width: (stage2, stage3, stage4, conv5)
WIDTHS = {
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}
REPEATS = (4, 8, 4)


def template(*, width: float = 1.0) -> Template:
    """Table 5's column for `width`; for a width that has none, the 1x column scaled to it."""
    *channels, last = WIDTHS.get(width) or (*(2 * round(c * width / 2) for c in WIDTHS[1.0][:3]), 1024)
    rows = [ShuffleV2Row(width=c, repeats=n, stride=2) for c, n in zip(channels, REPEATS, strict=True)]
    return paper_table(
        "shufflenet_v2",
        stem=[ConvRow(width=24, kernel=3, stride=2, scaling="fixed"), MaxPoolRow()],
        stages=[[row] for row in rows],
        head=[ConvRow(width=last, scaling="fixed")],
        classifier=ClassifierRow(),
        first_stage=2,
    )


ENTRIES = (
    Entry(
        "shufflenet_v2",
        "ShuffleNetV2",
        "arXiv:1807.11164, Table 5",
        template,
        reads_width=True,
        multiplies_width=False,
        published=(
            Published({}, 69.4, "Table 8"),
            Published({"width": 0.5}, 60.3, "Table 8"),
            Published({"width": 1.5}, 72.6, "Table 8"),
            Published({"width": 2.0}, 74.9, "Table 8"),
        ),
    ),
)
