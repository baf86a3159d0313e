"""`to_template`: a NetworkSpec back to a Template, so that a searched, pruned or hand-made network can grow.

Laws: `to_template(spec).expand()` is `spec` again, for every spec; and lifting the network that a template expands to
gives that template back as far as its integers tell ratios apart: expansion ratios of one decimal and SE ratios of
1/2 to 1/8, from 16 input channels on.
"""

from itertools import groupby

from searchspace.blocks.protocol import ROWS, Block, Row
from searchspace.spec import NetworkSpec
from searchspace.template import StageTemplate, Template


def to_template(spec: NetworkSpec) -> Template:
    """The template whose `expand()` is `spec`.

    Like blocks in sequence are one row with repeats, and each block that differs from its neighbours is a row with its
    own ratios. The stored channel counts are the template's widths: the rounding that made them is not undone.
    """
    channels = spec.in_channels
    stages = []
    for stage in spec.stages:
        stages.append(StageTemplate(stage.name, _rows(channels, stage.blocks)))
        for block in stage.blocks:
            channels = block.channels_after(channels)
    own = (spec.in_channels, spec.conventions, spec.preprocessing)
    return Template(spec.name, _divisible(stages), spec.resolution, *own)


def _divisible(stages: list[StageTemplate]) -> tuple[StageTemplate, ...]:
    """Rows whose output feeds a row that needs a divisor (`Row.input_divisor`) keep to it, however they are scaled."""
    divisor = 1
    found = []
    for stage in reversed(stages):
        rows = []
        for row in reversed(stage.rows):
            rows.append(row.divisible_by(divisor) if divisor > 1 else row)
            divisor = row.input_divisor(divisor)
        found.append(StageTemplate(stage.name, tuple(reversed(rows))))
    return tuple(reversed(found))


def _rows(in_channels: int, blocks: tuple[Block, ...]) -> tuple[Row, ...]:
    rows: list[Row] = []
    while blocks:
        _, like = next(groupby(blocks[1:]), (None, ()))  # a row's blocks are the same block, after its first
        kind = ROWS[type(blocks[0])]
        run = (blocks[0], *(block for block in like if ROWS[type(block)] is kind))
        row = kind.from_blocks(in_channels, run)
        if row.blocks(in_channels, 1.0, 2) != list(run[:2]):
            run = run[:1]
            row = kind.from_blocks(in_channels, run)
        rows.append(row)
        for block in run:
            in_channels = block.channels_after(in_channels)
        blocks = blocks[len(run) :]
    return tuple(rows)
