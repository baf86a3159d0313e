"""Several growths of one base, a line each: a family over phi, or rules side by side."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scaling.result import Member, PricedNetwork, Result
from searchspace.cost import Costs
from searchspace.latency.table import LatencyTable
from searchspace.report import (
    WIDTH,
    count_text,
    interval_text,
    megabytes_text,
    ms_text,
    notes,
    paragraphs,
    signed_percent_text,
    table,
)
from searchspace.serialize import spec_to_dict


def family_dict(result: Result, *, written: str | Path | None = None) -> dict[str, Any]:
    """The networks of several phis or rules as JSON types."""
    heading = _heading(result)
    return {
        "base": result.base.as_dict(),
        heading: [
            {
                heading: _row_title(result, member),
                "phi": member.phi,
                **member.factors._asdict(),
                "coefficients": member.coefficients and asdict(member.coefficients),
                **member.network.as_dict(),
                "spec": spec_to_dict(member.spec),
            }
            for member in result.grown
        ],
        "latency_table": result.latencies and result.latencies.to_dict(),
        "written": str(written) if written else None,
    }


def family_text(result: Result) -> str:
    """One line a network, with what the columns mean; at most 100 columns wide."""
    members = result.grown or result.members
    headers = ["depth", "width", "px"]
    rows = [["", "", str(result.base.spec.resolution)]]
    rows += [[f"{m.factors.depth:.3f}", f"{m.factors.width:.3f}", str(m.factors.resolution)] for m in members]
    if result.by_rule:
        headers = ["alpha", "beta", "gamma", "phi", *headers]
        rows = [[*_bases(member), *row] for member, row in zip([None, *members], rows, strict=True)]
    networks = [result.base, *(member.network for member in members)]
    cost_headers = ["params", "MACs", "x base", "activations", "x base"]
    cost_rows = [_cost_cells(one.costs, result.base.costs) for one in networks]
    for name, cell in _LATENCY_COLUMNS:
        column = [cell(one) for one in networks]
        if any(column):
            cost_headers.append(name)
            cost_rows = [[*row, text] for row, text in zip(cost_rows, column, strict=True)]
    titles = [[one] for one in ("base", *(_row_title(result, member) for member in members))]
    legend = "Activations: what all layers write, batch 1, float32."
    if result.latencies:
        is_estimated = any(one.latency is not None and one.latency.estimated for one in networks)
        legend += f" Latency: predicted for {device_text(result.latencies)}, with its 90 % interval"
        legend += "; ~ some kernels are not in the table and were estimated." if is_estimated else "."
    parts = _side_by_side(_heading(result), titles, (headers, cost_headers), (rows, cost_rows))
    return f"{parts}\n{notes(legend)}"


def _side_by_side(
    heading: str, titles: list[list[str]], headers: Sequence[list[str]], parts: Sequence[list[list[str]]]
) -> str:
    """Parts of a table side by side, or where that is too wide, one under the other; each row behind its title."""

    def joined(*columns: list[list[str]]) -> list[list[str]]:
        return [[cell for cells in row for cell in cells] for row in zip(titles, *columns, strict=True)]

    whole = table([heading, *headers[0], *headers[1]], joined(*parts), text_columns=(0,))
    if max(map(len, whole.splitlines())) <= WIDTH:
        return whole
    return paragraphs(
        *(table([heading, *own], joined(rows), text_columns=(0,)) for own, rows in zip(headers, parts, strict=True))
    )


def _bases(member: Member | None) -> list[str]:
    if member is None or member.coefficients is None:
        return [""] * 4
    own = member.coefficients
    return [f"{own.alpha:.3f}", f"{own.beta:.3f}", f"{own.gamma:.3f}", f"{member.phi:.3g}"]


def _cost_cells(own: Costs, base: Costs) -> list[str]:
    return [
        count_text(own.params),
        count_text(own.macs),
        f"{own.macs / base.macs:.2f}",
        megabytes_text(own.activation_bytes),
        f"{own.activation_bytes / base.activation_bytes:.2f}",
    ]


def predicted_text(own: PricedNetwork) -> str:
    """The predicted ms; a ~ where kernels were estimated."""
    return f"{'~' if own.latency.estimated else ''}{ms_text(own.latency.latency_ms)}" if own.latency else ""


def latency_interval_text(own: PricedNetwork) -> str:
    """The ends of the 90 % interval, ms."""
    return interval_text(own.latency.low_ms, own.latency.high_ms) if own.latency else ""


def _off(own: PricedNetwork) -> str:
    """How far the prediction is from the measurement."""
    if own.latency is None or own.measured is None:
        return ""
    return signed_percent_text(own.latency.latency_ms / own.measured.latency_ms - 1)


_LATENCY_COLUMNS: tuple[tuple[str, Callable[[PricedNetwork], str]], ...] = (
    ("ms", predicted_text),
    ("interval", latency_interval_text),
    ("measured", lambda own: ms_text(own.measured.latency_ms) if own.measured else ""),
    ("off by", _off),
    ("", lambda own: "noisy" if own.measured and own.measured.noisy else ""),
)


def device_text(latencies: LatencyTable) -> str:
    """The runtime, threads and machine of a latency table."""
    identity = latencies.identity
    return f"{identity['runtime']}, {identity['threads']} threads, {identity['machine']}"


def _heading(result: Result) -> str:
    return "rule" if result.by_rule else "phi"


def _row_title(result: Result, member: Member) -> str:
    return member.name if result.by_rule or member.phi is None else f"{member.phi:.4g}"


def plot(result: Result, figure: Any, path: Path) -> None:
    """MACs, parameters and latency against phi, as multiples of the base. Raises StorageError."""
    from studies.figure import save_figure

    axes = figure.subplots()
    base = result.base
    members = sorted(result.grown, key=lambda member: member.phi or 0.0)
    curves: dict[str, Callable[[PricedNetwork], float]] = {
        "MACs": lambda own: own.costs.macs,
        "parameters": lambda own: own.costs.params,
        "activations": lambda own: own.costs.activation_bytes,
    }
    if base.latency:
        curves["predicted latency"] = lambda own: own.latency.latency_ms if own.latency else 0.0
    if base.measured:
        curves["measured latency"] = lambda own: own.measured.latency_ms if own.measured else 0.0
    for name, value in curves.items():
        multiples = [value(member.network) / value(base) for member in members]
        axes.plot([member.phi for member in members], multiples, marker="o", label=name)
    axes.set(xlabel="phi", ylabel="multiple of the base", yscale="log", title=f"{base.spec.name} by compound scaling")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    save_figure(figure, path)
