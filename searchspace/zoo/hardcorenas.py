"""HardCoRe-NAS-A to -F (arXiv:2102.11646): MobileNetV3's blocks, searched one by one under a latency constraint.

The rows are the released networks'; the accuracies are those of the release's README, without distillation.
"""

from functools import partial

from searchspace.blocks import ClassifierRow, ConvRow, MBConvRow
from searchspace.template import Template
from searchspace.zoo.entry import Entry, Published, paper_table

HS = "h_swish"
_WIDTHS, _STRIDES = (24, 40, 80, 112, 192), (2, 2, 2, 1, 2)
_row = partial(MBConvRow, expand_divisor=8, se_of_expanded=True, se_divisor=8, gate="hard_sigmoid")

# name: ImageNet top-1 of the release, and for each stage its blocks as "kernel expansion", "+" for SE.
NETWORKS: dict[str, tuple[float, tuple[str, ...]]] = {
    "a": (75.9, ("53 53+", "53 56+", "56+ 56+", "56+ 56+", "56+ 56+")),
    "b": (76.5, ("53 53+ 33", "53 53 53", "53 53 33 33", "53 33 33 33", "56+ 56+ 33+")),
    "c": (77.1, ("53 53+", "53 53 53 53", "54 56+ 33 33", "56+ 33 33 33", "56+ 56+ 33+")),
    "d": (77.4, ("53+ 53+", "53+ 54+ 33+", "54+ 33+ 33+ 33+", "34+ 54+ 33+ 53+", "56+ 56+ 56+ 36+")),
    "e": (77.9, ("53+ 53+", "56+ 54+ 54+ 33+", "54+ 36+", "56+ 56+ 56+ 53+", "56+ 56+ 56+ 36+")),
    "f": (78.1, ("53+ 53+", "56+ 56+", "56+ 56+ 33+ 33+", "36+ 56+ 56+ 33+", "56+ 56+ 36+ 36+")),
}


def template(stages: tuple[str, ...]) -> Template:
    """A network by its stages; the first two of them have ReLU, as the SepConv before them."""
    rows = []
    for number, (stage, width, stride) in enumerate(zip(stages, _WIDTHS, _STRIDES, strict=True)):
        blocks = [
            _row(
                kernel=int(block[0]),
                expand_ratio=int(block[1]),
                width=width,
                stride=1 if index else stride,
                se_ratio=0.25 if block.endswith("+") else 0,
                activation="relu" if number < 2 else HS,
            )
            for index, block in enumerate(stage.split())
        ]
        rows.append(blocks)
    return paper_table(
        "hardcorenas",
        stem=[ConvRow(width=32, kernel=3, stride=2, activation=HS)],
        stages=[[_row(expand_ratio=1, width=16)], *rows],
        head=[ConvRow(width=960, activation=HS)],
        classifier=ClassifierRow(hidden_width=1280, hidden_activation=HS, hidden_scaling="fixed", dropout_percent=20),
    )


ENTRIES = tuple(
    Entry(
        f"hardcorenas_{name}",
        f"HardCoRe-NAS-{name.upper()}",
        "arXiv:2102.11646, the released network",
        template(stages),
        published=(Published({}, top1, "README"),),
    )
    for name, (top1, stages) in NETWORKS.items()
)
