"""What the zoo knows of one published network: its table, its options, its source and its published figures."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from searchspace.template import MBConvRow, StageTemplate, Template


class Published(NamedTuple):
    """ImageNet top-1 accuracy in percent that a paper prints for one variant, given by its options of `zoo.get`."""

    options: dict[str, float]
    top1: float
    source: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One name of the zoo.

    `template` gives the paper's table for the given `options` (those beyond width, depth, resolution, classes and
    padding). With `reads_width` it takes the width multiplier too, since the released networks do more than multiply;
    with `multiplies_width` false it has then done all of it. `width` and `depth` are the name's own
    (EfficientNet-B1 to B7).
    """

    name: str
    title: str
    source: str
    template: Callable[..., Template]
    options: tuple[str, ...] = ()
    published: tuple[Published, ...] = ()
    reads_width: bool = False
    multiplies_width: bool = True
    width: float = 1.0
    depth: float = 1.0
    resolution: int = 224
    note: str = ""


def mobile(name: str, *rows: MBConvRow) -> StageTemplate:
    """A stage of inverted residuals."""
    return StageTemplate(name, rows)
