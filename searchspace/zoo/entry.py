"""What the zoo knows of one published network: its table, its options, its source and its published figures."""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple

from searchspace.blocks import ClassifierRow, Row
from searchspace.template import StageTemplate, Template

DROPOUT_20 = ClassifierRow(dropout_percent=20)


class Published(NamedTuple):
    """ImageNet top-1 accuracy in percent that a paper prints for one variant, given by its options of `zoo.get`."""

    options: dict[str, float]
    top1: float
    source: str


@dataclass(frozen=True)
class Entry:
    """One name of the zoo.

    Attributes:
        template: the paper's table, or what makes it for the given `options`.
        options: those beyond width, depth, resolution, classes and padding.
        reads_width: `template` takes the width multiplier too, since the released networks do more than multiply.
        multiplies_width: false where `template` has then done all of it.
        width: the name's own multiplier (EfficientNet-B1 to B7), as `depth` and `resolution`.
    """

    name: str
    title: str
    source: str
    template: Template | Callable[..., Template]
    _: KW_ONLY
    options: tuple[str, ...] = ()
    published: tuple[Published, ...] = ()
    reads_width: bool = False
    multiplies_width: bool = True
    width: float = 1.0
    depth: float = 1.0
    resolution: int = 224
    note: str = ""


def paper_table(
    name: str,
    *,
    stem: Sequence[Row],
    stages: Sequence[Sequence[Row]],
    head: Sequence[Row] = (),
    classifier: Row = DROPOUT_20,
    first_stage: int = 1,
) -> Template:
    """A Template of stem, numbered stages, head (the last convolution, where there is one) and classifier."""
    numbered = [(f"stage{number}", rows) for number, rows in enumerate(stages, first_stage)]
    named = [("stem", stem), *numbered, ("head", head), ("classifier", (classifier,))]
    return Template(name, tuple(StageTemplate(stage, tuple(rows)) for stage, rows in named if rows))
