"""What the command prints: the list of networks or one of them, as text for a person, as a dict for a machine."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from searchspace.cost import Costs, costs
from searchspace.describe import short, stage_rows, stage_table, table
from searchspace.errors import MissingLatency
from searchspace.graph import Graph, lower
from searchspace.latency.table import LatencyTable, Prediction
from searchspace.latency.table import describe as describe_identity
from searchspace.serialize import spec_to_dict
from searchspace.spec import NetworkSpec
from searchspace.zoo.catalogue import describe, entry, get, published
from searchspace.zoo.entry import Published


class Row(NamedTuple):
    """One network as it is listed; `predicted` is None without a table, and where the table has no kernel of a kind."""

    name: str
    spec: NetworkSpec
    cost: Costs
    published: Published | None
    predicted: Prediction | None


def price(name: str, options: dict[str, Any], latencies: LatencyTable | None) -> Row:
    """The network `name` with these options of `zoo.get`, its costs, and its latency where the table can tell it."""
    spec = get(name, **options)
    graph = lower(spec)
    # A figure of ImageNet belongs to its 1000 classes; the padding is the implementation's business.
    asked = {option: value for option, value in options.items() if option not in ("classes", "padding")}
    known = published(name, **asked) if spec.classes == 1000 else None
    return Row(name, spec, costs(graph), known, _predicted(graph, latencies))


def _predicted(graph: Graph, latencies: LatencyTable | None) -> Prediction | None:
    try:
        return None if latencies is None else latencies.predict(graph)
    except MissingLatency:
        return None


def list_dict(rows: Sequence[Row], latencies: LatencyTable | None) -> dict[str, Any]:
    """The list for a machine; `latencies` is the table that the rows were priced with."""
    return {
        "latency_table": latencies and latencies.to_dict(),
        "networks": [_row_dict(row) for row in rows],
    }


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
        "spec": spec_to_dict(row.spec),
        "written": written and str(written),
    }


def list_text(rows: Sequence[Row], options: dict[str, Any], latencies: LatencyTable | None) -> str:
    """The list for a person: a table, what its columns mean, what to do next."""
    headers = ["name", "params", "MACs", "px", "top-1 %", "source"]
    lines = [
        [
            row.name,
            short(row.cost.params),
            short(row.cost.macs),
            str(row.spec.resolution),
            str(row.published.top1) if row.published else "-",
            _source(row),
        ]
        for row in rows
    ]
    if latencies is not None:
        headers[5:5] = ["ms", "(low-high)", "estimated"]
        for line, row in zip(lines, rows, strict=True):
            line[5:5] = _latency_cells(row)
    given = "".join(f", {option} {value}" for option, value in options.items())
    legend = 'top-1: ImageNet, as the paper prints it for exactly this network; "-" where it prints none'
    parts = [
        f"{len(rows)} published networks{given}; MACs of one image, 1 multiply-add = 1",
        table(headers, lines, text_columns=(0, len(headers) - 1)) + "\n" + legend,
        *([_latency_text(rows, latencies)] if latencies else []),
        _list_next(latencies),
    ]
    return "\n\n".join(parts)


def _source(row: Row) -> str:
    paper = entry(row.name).source.partition(",")[0]
    return f"{paper}, {row.published.source}" if row.published else paper


def _latency_text(rows: Sequence[Row], latencies: LatencyTable) -> str:
    """What the ms are of, which of them are estimates, and why some are missing."""
    lines = [
        f"ms: predicted for {describe_identity(latencies.identity)}; own error {latencies.relative_error:.1%}",
        "low-high: where 9 of 10 such networks measure",
    ]
    if any(row.predicted and row.predicted.estimated for row in rows):
        lines.append(f"~: layers whose kernels the table lacks and estimates; {_build(latencies)} measures the zoo's")
    resolution, others = latencies.identity["resolution"], _elsewhere(rows, latencies)
    if others:
        lines.append(
            f"the table is for {resolution} px, {others} networks are not: their kernels are estimated; give "
            f"--resolution {resolution}"
        )
    lacking = sum(row.predicted is None for row in rows)
    if lacking:
        adds = f"{_build(latencies)} adds them"
        lines.append(f"-: {lacking} networks have kinds of kernels that the table has none of; {adds}")
    return "\n".join(lines)


def _elsewhere(rows: Sequence[Row], latencies: LatencyTable) -> int:
    """How many networks are estimated for being of another resolution than the table."""
    pixels = latencies.identity["resolution"]
    return sum(bool(row.predicted and row.predicted.estimated) and row.spec.resolution != pixels for row in rows)


def _latency_cells(row: Row) -> list[str]:
    """ms, (low-high), and how many layers are estimates: "-" where there is no prediction."""
    if row.predicted is None:
        return ["-", "-", "-"]
    latency_ms, low_ms, high_ms, estimated = row.predicted
    return [f"{latency_ms:.2f}", f"({low_ms:.2f}-{high_ms:.2f})", _estimated(row, len(estimated))]


def _estimated(row: Row, count: int) -> str:
    return f"~{count}/{len(lower(row.spec).layers)}" if count else "0"


def _build(latencies: LatencyTable) -> str:
    resolution = latencies.identity["resolution"]
    return "python -m search.latency build --zoo" + (f" --resolution {resolution}" if resolution != 224 else "")


def _list_next(latencies: LatencyTable | None) -> str:
    steps = [("python -m searchspace.zoo mobilenet_v3_large", "one of them, stage by stage")]
    if latencies is None:
        steps.append(("python -m search.latency build --zoo", "measure their kernels here, for --latency"))
    steps.append(("python -m search.run --budget-ms 20 --baselines", "train them beside a search's winner"))
    return _next(steps)


def _next(steps: Sequence[tuple[str, str]]) -> str:
    width = max(len(step) for step, _ in steps)
    return "\n".join(["Next:", *(f"  {step:{width}}  # {what}" for step, what in steps)])


def one_text(row: Row, options: dict[str, Any], latencies: LatencyTable | None, *, written: Path | None) -> str:
    """One network for a person: description, stages, totals, what to do next."""
    name, spec, cost = row.name, row.spec, row.cost
    facts = [
        f"{spec.name}: {cost.params:,} parameters, {cost.macs:,} MACs at {spec.resolution} px",
        f"peak memory {cost.peak_memory_bytes / 1e6:.1f} MB (batch 1, float32), fingerprint {spec.fingerprint()}",
    ]
    if latencies is not None:
        facts.append(_latency_line(row, latencies))
    if written is not None:
        facts.append(f"written to {written}")
    file = shlex.quote(str(written)) if written else f"{name}.json"
    flags = "".join(f" {_flag(option, value)}" for option, value in options.items())
    steps = [] if written else [(f"python -m searchspace.zoo {name}{flags} --out {file}", "keep it as a spec")]
    steps += [
        (f"python -m scaling.compound --phi 1 --network {file if options or written else name}", "grow it"),
        (f"python -m search.run --budget-ms 20 --baselines {name}", "train it as a search's winner"),
        ("python -m searchspace.zoo", "the other networks"),
    ]
    return "\n\n".join([describe(name), stage_table(spec), "\n".join(facts), _next(steps)])


def _flag(option: str, value: object) -> str:
    flag = "--" + option.replace("_", "-")
    return flag if value is True else f"{flag} {value}"


def _latency_line(row: Row, latencies: LatencyTable) -> str:
    if row.predicted is None:
        return f"predicted latency -: the table has no kernels of some of its kinds; {_build(latencies)} adds the zoo's"
    latency_ms, low_ms, high_ms, estimated = row.predicted
    line = (
        f"predicted latency {latency_ms:.2f} ms, {low_ms:.2f} to {high_ms:.2f} in 9 of 10 "
        f"({describe_identity(latencies.identity)})"
    )
    if not estimated:
        return line
    share = f"{len(estimated)} of its {len(lower(row.spec).layers)}"
    return f"{line}\n~ the kernels of {share} layers are estimated{_why(row, latencies)}"


def _why(row: Row, latencies: LatencyTable) -> str:
    """What to do about estimated kernels."""
    resolution = latencies.identity["resolution"]
    if row.spec.resolution != resolution:
        return f": the table is for {resolution} px; give --resolution {resolution}"
    return f"; {_build(latencies)} measures the zoo's own"
