"""What the command prints: the list of networks or one of them, as text for a person, as a dict for a machine."""

import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from searchspace.cost import Costs, costs
from searchspace.describe import short, stage_rows, stage_table, table
from searchspace.graph import lower
from searchspace.latency import LatencyTable
from searchspace.latency import describe as describe_identity
from searchspace.serialize import spec_to_dict
from searchspace.spec import NetworkSpec
from searchspace.zoo.catalogue import describe, entry, get, published
from searchspace.zoo.entry import Published

_LACKING, _ELSEWHERE = "lacks kernels", "other resolution"


class Row(NamedTuple):
    """One network as it is listed; `latency_ms` is None without a table, and `gap` says why where there is one."""

    name: str
    spec: NetworkSpec
    cost: Costs
    published: Published | None
    latency_ms: float | None
    gap: str | None


def price(name: str, options: dict[str, Any], latencies: LatencyTable | None) -> Row:
    """The network `name` with these options of `zoo.get`, its costs, and its latency where the table has it."""
    spec = get(name, **options)
    graph = lower(spec)
    gap = latency_ms = None
    if latencies is not None:
        if spec.resolution != latencies.identity["resolution"]:
            gap = _ELSEWHERE
        elif latencies.missing(graph):
            gap = _LACKING
        else:
            latency_ms = latencies.latency_ms(graph)
    # A figure of ImageNet belongs to its 1000 classes; the padding is the implementation's business.
    asked = {option: value for option, value in options.items() if option not in ("classes", "padding")}
    known = published(name, **asked) if spec.classes == 1000 else None
    return Row(name, spec, costs(graph), known, latency_ms, gap)


def list_dict(rows: Sequence[Row], latencies: LatencyTable | None) -> dict[str, Any]:
    """The list for a machine; `latencies` is the table that the rows were priced with."""
    return {
        "latency_table": latencies and latencies.to_dict(),
        "networks": [_row_dict(row) for row in rows],
    }


def _row_dict(row: Row) -> dict[str, Any]:
    known = row.published
    return {
        "name": row.name,
        "title": entry(row.name).title,
        "source": entry(row.name).source,
        "resolution": row.spec.resolution,
        "params": row.cost.params,
        "macs": row.cost.macs,
        "top1": known and known.top1,
        "top1_source": known and known.source,
        "latency_ms": row.latency_ms,
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
        [row.name, short(row.cost.params), short(row.cost.macs), str(row.spec.resolution),
         str(row.published.top1) if row.published else "-", _source(row)]
        for row in rows
    ]  # fmt: skip
    if latencies is not None:
        headers.insert(5, "ms")
        for line, row in zip(lines, rows, strict=True):
            line.insert(5, "-" if row.latency_ms is None else f"{row.latency_ms:.2f}")
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
    """What the ms are of, and why some are missing."""
    gaps = Counter(row.gap for row in rows)
    lines = [f"ms: predicted for {describe_identity(latencies.identity)}; own error {latencies.relative_error:.1%}"]
    if gaps[_LACKING]:
        lines.append(f"-: the table lacks kernels of {gaps[_LACKING]} networks; {_build(latencies)} adds them")
    if gaps[_ELSEWHERE]:
        resolution = latencies.identity["resolution"]
        lines.append(
            f"-: the table is for {resolution} px, {gaps[_ELSEWHERE]} networks are not; give --resolution {resolution}"
        )
    return "\n".join(lines)


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
    if row.latency_ms is not None:
        return f"predicted latency {row.latency_ms:.2f} ms ({describe_identity(latencies.identity)})"
    if row.gap == _ELSEWHERE:
        return f"predicted latency -: the table is for {latencies.identity['resolution']} px"
    missing = len(latencies.missing(lower(row.spec)))
    return f"predicted latency -: the table lacks {missing} of its layers; {_build(latencies)} adds the zoo's own"
