"""What `python -m searchspace.zoo` prints: all networks or one of them, as text for a person or a dict for JSON."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from searchspace.cost import Costs, costs
from searchspace.describe import stage_rows, stage_table
from searchspace.errors import MissingLatency
from searchspace.graph import Graph, lower
from searchspace.latency.table import LatencyTable, Prediction
from searchspace.latency.table import describe as describe_identity
from searchspace.report import count_text, ms_text, next_steps, paragraphs, table
from searchspace.spec import NetworkSpec
from searchspace.zoo.catalogue import describe, entry, get, published
from searchspace.zoo.entry import Published


class Row(NamedTuple):
    """One network as it is listed.

    `predicted` is None without a table, and where the table has no kernel of one of the network's kinds.
    """

    name: str
    spec: NetworkSpec
    graph: Graph
    cost: Costs
    published: Published | None
    predicted: Prediction | None


def price(name: str, options: dict[str, Any], latencies: LatencyTable | None) -> Row:
    """The network `name` with these options of `zoo.get`, its costs, and its latency where the table can tell it."""
    spec = get(name, **options)
    graph = lower(spec)
    # A figure of ImageNet belongs to its 1000 classes; the padding is the implementation's business.
    paper_options = {option: value for option, value in options.items() if option not in ("classes", "padding")}
    known = published(name, **paper_options) if spec.classes == 1000 else None
    try:
        predicted = None if latencies is None else latencies.predict(graph)
    except MissingLatency:
        predicted = None
    return Row(name, spec, graph, costs(graph), known, predicted)


def list_dict(rows: Sequence[Row], latencies: LatencyTable | None) -> dict[str, Any]:
    """The list for a machine; `latencies` is the table that the rows were priced with."""
    return {"latency_table": latencies and latencies.to_dict(), "networks": [_row_dict(row) for row in rows]}


def _row_dict(row: Row) -> dict[str, Any]:
    known, predicted = row.published, row.predicted
    return {
        "name": row.name,
        "title": entry(row.name).title,
        "source": entry(row.name).source,
        "resolution": row.spec.resolution,
        "params": row.cost.params,
        "macs": row.cost.macs,
        "top1": known and known.top1,
        "top1_source": known and known.source,
        "latency_ms": predicted and predicted.latency_ms,
        "latency_low_ms": predicted and predicted.low_ms,
        "latency_high_ms": predicted and predicted.high_ms,
        "estimated_layers": predicted and len(predicted.estimated),
        "fingerprint": row.spec.fingerprint(),
    }


def one_dict(row: Row, latencies: LatencyTable | None, *, written: Path | None) -> dict[str, Any]:
    """One network for a machine, its spec included; `written` is where --out put it."""
    return {
        **_row_dict(row),
        "latency_table": latencies and latencies.to_dict(),
        "activation_bytes": row.cost.activation_bytes,
        "peak_memory_bytes": row.cost.peak_memory_bytes,
        "options": list(entry(row.name).options),
        "published": [each._asdict() for each in entry(row.name).published],
        "stages": [each._asdict() for each in stage_rows(row.spec)],
        "spec": row.spec.to_dict(),
        "written": written and str(written),
    }


def list_text(rows: Sequence[Row], options: dict[str, Any], latencies: LatencyTable | None) -> str:
    """The list for a person: a table, what its columns mean, what to do next."""
    headers = ["name", "params", "MACs", "px", "top-1 %", *(_LATENCY_COLUMNS if latencies else ()), "source"]
    chosen = "".join(f", {option} {value}" for option, value in options.items())
    steps = [
        ("python -m searchspace.zoo mobilenet_v3_large", "one of them, stage by stage"),
        *([] if latencies else [("python -m search.latency build --zoo", "measure their kernels here, for --latency")]),
        ("python -m search.run --budget-ms 20 --baselines", "train them beside a search's winner"),
    ]
    return paragraphs(
        f"{len(rows)} published networks{chosen}; MACs of one image, 1 multiply-add = 1",
        table(headers, [_cells(row, latencies) for row in rows], text_columns=(0, len(headers) - 1))
        + '\ntop-1: ImageNet, as the paper prints it for exactly this network; "-" where it prints none',
        _latency_notes(rows, latencies) if latencies else "",
        next_steps(steps),
    )


_LATENCY_COLUMNS = ("ms", "(low-high)", "estimated")


def _cells(row: Row, latencies: LatencyTable | None) -> list[str]:
    paper, known = entry(row.name).source.partition(",")[0], row.published
    cells = [row.name, count_text(row.cost.params), count_text(row.cost.macs), str(row.spec.resolution)]
    cells += [str(known.top1) if known else "-"]
    if row.predicted:
        latency_ms, low_ms, high_ms, estimated = row.predicted
        share = f"~{len(estimated)}/{len(row.graph.layers)}" if estimated else "0"
        cells += [ms_text(latency_ms), f"({ms_text(low_ms)}-{ms_text(high_ms)})", share]
    elif latencies:
        cells += ["-"] * len(_LATENCY_COLUMNS)
    return [*cells, f"{paper}, {known.source}" if known else paper]


def _latency_notes(rows: Sequence[Row], latencies: LatencyTable) -> str:
    resolution, build = latencies.identity["resolution"], _build_command(latencies)
    estimated = [row for row in rows if row.predicted and row.predicted.estimated]
    others = sum(row.spec.resolution != resolution for row in estimated)
    lacking = sum(row.predicted is None for row in rows)
    return _lines(
        f"ms: predicted for {describe_identity(latencies.identity)}; own error {latencies.relative_error:.1%}",
        "low-high: where 9 of 10 such networks measure",
        f"~: layers whose kernels the table lacks and estimates; {build} measures the zoo's" * bool(estimated),
        f"the table is for {resolution} px, {others} networks are not: their kernels are estimated; give "
        f"--resolution {resolution}" * bool(others),
        f"-: {lacking} networks have kinds of kernels that the table has none of; {build} adds them" * bool(lacking),
    )


def _lines(*texts: str) -> str:
    """One text a line; they hold commands, which are not wrapped."""
    return "\n".join(text for text in texts if text)


def _build_command(latencies: LatencyTable) -> str:
    resolution = latencies.identity["resolution"]
    return "python -m search.latency build --zoo" + (f" --resolution {resolution}" if resolution != 224 else "")


def one_text(row: Row, options: dict[str, Any], latencies: LatencyTable | None, *, written: Path | None) -> str:
    """One network for a person: description, stages, totals, what to do next."""
    name, spec, cost = row.name, row.spec, row.cost
    file = shlex.quote(str(written)) if written else f"{name}.json"
    named = {option.replace("_", "-"): value for option, value in options.items()}
    flags = "".join(f" --{name}" if value is True else f" --{name} {value}" for name, value in named.items())
    steps = [
        *([] if written else [(f"python -m searchspace.zoo {name}{flags} --out {file}", "keep it as a spec")]),
        (f"python -m scaling.compound --phi 1 --network {file if options or written else name}", "grow it"),
        (f"python -m search.run --budget-ms 20 --baselines {name}", "train it as a search's winner"),
        ("python -m searchspace.zoo", "the other networks"),
    ]
    facts = _lines(
        f"{spec.name}: {cost.params:,} parameters, {cost.macs:,} MACs at {spec.resolution} px",
        f"peak memory {cost.peak_memory_bytes / 1e6:.1f} MB (batch 1, float32), fingerprint {spec.fingerprint()}",
        *(_latency_lines(row, latencies) if latencies else ()),
        f"written to {written}" * bool(written),
    )
    return paragraphs(describe(name), stage_table(spec), facts, next_steps(steps))


def _latency_lines(row: Row, latencies: LatencyTable) -> list[str]:
    build, resolution = _build_command(latencies), latencies.identity["resolution"]
    if row.predicted is None:
        return [f"predicted latency -: the table has no kernels of some of its kinds; {build} adds the zoo's"]
    latency_ms, low_ms, high_ms, estimated = row.predicted
    line = f"predicted latency {ms_text(latency_ms)} ms, {ms_text(low_ms)} to {ms_text(high_ms)} in 9 of 10"
    step = f"; {build} measures the zoo's own"
    if row.spec.resolution != resolution:
        step = f": the table is for {resolution} px; give --resolution {resolution}"
    share = f"{len(estimated)} of its {len(row.graph.layers)}"
    return [
        f"{line} ({describe_identity(latencies.identity)})",
        f"~ the kernels of {share} layers are estimated{step}" * bool(estimated),
    ]
