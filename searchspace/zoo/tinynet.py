"""TinyNet-A to -E (arXiv:2010.14819): EfficientNet-B0 made smaller by resolution and depth before width.

`PRESETS` are the released width and depth multipliers and input pixels. Unlike EfficientNet's, the layers of a stage
are rounded to the nearest integer (and half to even), the stem keeps its width, and the last convolution is not
narrowed.
"""

from dataclasses import replace
from typing import NamedTuple

from searchspace.blocks import ConvRow
from searchspace.template import StageTemplate, Template
from searchspace.zoo.efficientnet import B0
from searchspace.zoo.entry import Entry, Published


class Preset(NamedTuple):
    """One member: multipliers of EfficientNet-B0, input pixels."""

    width: float
    depth: float
    resolution: int


PRESETS = {
    "a": Preset(1.0, 1.2, 192),
    "b": Preset(0.75, 1.1, 188),
    "c": Preset(0.54, 0.85, 184),
    "d": Preset(0.54, 0.695, 152),
    "e": Preset(0.51, 0.6, 106),
}


def template(depth: float) -> Template:
    """EfficientNet-B0's table with TinyNet's stem and head, and `depth` times the layers."""
    stem, *stages, head, classifier = B0.stages
    deeper = [
        StageTemplate(stage.name, tuple(replace(row, repeats=max(1, round(row.repeats * depth))) for row in stage.rows))
        for stage in stages
    ]
    ends = [
        StageTemplate(stage.name, tuple(replace(row, scaling=scaling) for row in stage.rows if type(row) is ConvRow))
        for stage, scaling in ((stem, "fixed"), (head, "wider"))
    ]
    return replace(B0, name="tinynet", stages=(ends[0], *deeper, ends[1], classifier))


ENTRIES = tuple(
    Entry(
        f"tinynet_{name}",
        f"TinyNet-{name.upper()}",
        "arXiv:2010.14819, EfficientNet-B0 scaled by the released multipliers",
        template(row.depth),
        published=(Published({}, 59.9, "abstract"),) if name == "e" else (),
        width=row.width,
        resolution=row.resolution,
    )
    for name, row in PRESETS.items()
)
