"""A network as a table for people: one line a row of its template, with shapes, parameters and MACs. ASCII only."""

from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from typing import NamedTuple

from searchspace.blocks.protocol import Block, Row
from searchspace.cost import costs
from searchspace.graph import lower
from searchspace.report import count_text, ratio_text, table
from searchspace.spec import NetworkSpec
from searchspace.to_template import to_template


class StageRow(NamedTuple):
    """Like blocks in sequence.

    `expand_ratio` and `se_ratio` are of a block's input, None where they mean nothing (`se_ratio` 0: no SE);
    `stride` is the first block's; `out_resolution` is in pixels; `params` and `macs` (batch 1) are of all layers.
    """

    stage: str
    kind: str
    expand_ratio: float | None
    kernel: int | None
    se_ratio: float | None
    activation: str | None
    stride: int | None
    channels: int
    layers: int
    out_resolution: int
    params: int
    macs: int


def stage_rows(spec: NetworkSpec) -> list[StageRow]:
    """The network row by row: a stage of like blocks is one row, a stage of unequal ones is several."""
    graph = lower(spec)
    layers = zip(graph.layers, costs(graph).layers, strict=True)
    by_block = [list(group) for _, group in groupby(layers, key=lambda pair: pair[0].name.split(".")[:2])]
    rows = []
    for stage, row, run in _runs(spec):
        by_block, own = by_block[len(run) :], [pair for pairs in by_block[: len(run)] for pair in pairs]
        block, (expand_ratio, se_ratio) = run[0], row.ratios()
        kernel, activation = (getattr(block, field, None) for field in ("kernel", "activation"))
        channels, out_resolution, _ = own[-1][0].out_shape
        shape = (None if block.is_head else block.reduction, channels, len(run), out_resolution)
        total = (sum(cost.params for _, cost in own), sum(cost.macs for _, cost in own))
        rows.append(StageRow(stage, block.printed(), expand_ratio, kernel, se_ratio, activation, *shape, *total))
    return rows


def _runs(spec: NetworkSpec) -> Iterator[tuple[str, Row, list[Block]]]:
    """(stage's name, template row, its blocks) of the network in order."""
    blocks = iter(spec.blocks)
    for stage in to_template(spec).stages:
        for row in stage.rows:
            yield stage.name, row, list(islice(blocks, row.repeats))


def block_names(spec: NetworkSpec) -> list[str]:
    """For each of `stage_rows`: kind, expansion and kernel as EfficientNet's Table 1 writes them, MBConv6 5x5."""
    names = []
    for _, row, (block, *_) in _runs(spec):
        name, kernel = block.printed(), getattr(block, "kernel", None)
        ratio = ratio_text(row.ratios()[0]) if block.prints_ratio else ""
        names.append(f"{name}{ratio} {kernel}x{kernel}" if kernel else name)
    return names


def stage_table(spec: NetworkSpec) -> str:
    """`stage_rows` as aligned text, totals last; at most 100 columns for resolutions below 10,000 px."""
    headers = ["stage", "block", "exp", "kernel", "SE", "act", "stride", "chan", "layers", "out px", "params", "MACs"]
    rows = stage_rows(spec)
    lines = [[name, *_cells(row)] for name, row in zip(stage_names(rows), rows, strict=True)]
    layers = sum(row.layers for row in rows)
    params, macs = sum(row.params for row in rows), sum(row.macs for row in rows)
    total = ["total", *[""] * 7, str(layers), "", count_text(params), count_text(macs)]
    return table(headers, lines, text_columns=(0, 1, 5), total=total)


def _cells(row: StageRow) -> list[str]:
    kernel = f"{row.kernel}x{row.kernel}" if row.kernel else "-"
    block = [row.kind, ratio_text(row.expand_ratio), kernel, ratio_text(row.se_ratio)]
    activation = "-" if row.activation in (None, "identity") else str(row.activation)
    shape = [str(row.stride or "-"), str(row.channels), str(row.layers), str(row.out_resolution)]
    return [*block, activation, *shape, count_text(row.params), count_text(row.macs)]


def stage_names(rows: Sequence[StageRow]) -> list[str]:
    """The stage's name where a stage begins, "" on its further rows; long ones shortened to 12 characters."""
    names = [row.stage if len(row.stage) <= 12 else row.stage[:10] + ".." for row in rows]
    return ["" if i and rows[i - 1].stage == rows[i].stage else name for i, name in enumerate(names)]
