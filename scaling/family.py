"""Several growths of one base, a line each: a family over phi, or rules side by side."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scaling.formula import BASES
from scaling.member import Member
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

Column = tuple[str, Callable[[Member], str]]


def as_dict(
    base: Member, members: Sequence[Member], *, by_rule: bool, written: str | Path | None = None
) -> dict[str, Any]:
    """The networks of several phis or rules as JSON types."""
    heading, title = _titles(by_rule)
    return {
        "base": base.as_dict(),
        heading: [
            {
                heading: title(member),
                "phi": member.phi,
                **member.factors._asdict(),
                "coefficients": member.coefficients and asdict(member.coefficients),
                **member.as_dict(),
                "spec": member.spec.to_dict(),
            }
            for member in members
        ],
        "latency_table": base.latencies and base.latencies.to_dict(),
        "written": str(written) if written else None,
    }


def as_text(base: Member, members: Sequence[Member], *, by_rule: bool) -> str:
    """One line a network, with what the columns mean; at most 100 columns wide."""
    members = [base, *members]

    def lines(columns: Sequence[Column]) -> str:
        cells = [(name, [cell(member) for member in members]) for name, cell in [_titles(by_rule), *columns]]
        filled = [(name, column) for name, column in cells if any(column)]
        rows = zip(*(column for _, column in filled), strict=True)
        return table([name for name, _ in filled], [*rows], text_columns=(0,))

    factors: list[Column] = [
        ("depth", lambda member: f"{member.factors.depth:.3f}"),
        ("width", lambda member: f"{member.factors.width:.3f}"),
        ("px", lambda member: str(member.factors.resolution)),
    ]
    if by_rule:
        phi: Column = ("phi", lambda member: "" if member.phi is None else f"{member.phi:.3g}")
        factors = [*map(_base_column, BASES), phi, *factors]
    costs: list[Column] = [
        ("params", lambda member: count_text(member.costs.params)),
        ("MACs", lambda member: count_text(member.costs.macs)),
        ("x base", lambda member: f"{member.costs.macs / base.costs.macs:.2f}"),
        ("activations", lambda member: megabytes_text(member.costs.activation_bytes)),
        ("x base", lambda member: f"{member.costs.activation_bytes / base.costs.activation_bytes:.2f}"),
        ("ms", predicted_text),
        ("interval", latency_interval_text),
        ("measured", lambda member: ms_text(member.measured.latency_ms) if member.measured else ""),
        ("off by", _off),
        ("", lambda member: "noisy" if member.measured and member.measured.noisy else ""),
    ]
    text = lines([*factors, *costs])
    if max(map(len, text.splitlines())) > WIDTH:
        text = paragraphs(lines(factors), lines(costs))
    legend = "Activations: what all layers write, batch 1, float32."
    if base.latencies:
        is_estimated = any(member.latency is not None and member.latency.estimated for member in members)
        legend += f" Latency: predicted for {device_text(base.latencies)}, with its 90 % interval"
        legend += "; ~ some kernels are not in the table and were estimated." if is_estimated else "."
    return f"{text}\n{notes(legend)}"


def _titles(by_rule: bool) -> Column:
    """What tells the networks apart."""
    if by_rule:
        return "rule", lambda member: member.name
    return "phi", lambda member: member.name if member.phi is None else f"{member.phi:.4g}"


def _base_column(name: str) -> Column:
    return name, lambda member: f"{getattr(member.coefficients, name):.3f}" if member.coefficients else ""


def predicted_text(member: Member) -> str:
    """The predicted ms; a ~ where kernels were estimated."""
    return f"{'~' if member.latency.estimated else ''}{ms_text(member.latency.latency_ms)}" if member.latency else ""


def latency_interval_text(member: Member) -> str:
    """The ends of the 90 % interval, ms."""
    return interval_text(member.latency.low_ms, member.latency.high_ms) if member.latency else ""


def _off(member: Member) -> str:
    if member.latency is None or member.measured is None:
        return ""
    return signed_percent_text(member.latency.latency_ms / member.measured.latency_ms - 1)


def device_text(latencies: LatencyTable) -> str:
    """The runtime, threads and machine of a latency table."""
    identity = latencies.identity
    return f"{identity['runtime']}, {identity['threads']} threads, {identity['machine']}"


def plot(base: Member, members: Sequence[Member], figure: Any, path: Path) -> None:
    """MACs, parameters and latency against phi, as multiples of the base. Raises StorageError."""
    from studies.figure import save_figure

    axes = figure.subplots()
    members = sorted(members, key=lambda member: member.phi or 0.0)
    curves: dict[str, Callable[[Member], float]] = {
        "MACs": lambda member: member.costs.macs,
        "parameters": lambda member: member.costs.params,
        "activations": lambda member: member.costs.activation_bytes,
    }
    if base.latency:
        curves["predicted latency"] = lambda member: member.latency.latency_ms if member.latency else 0.0
    if base.measured:
        curves["measured latency"] = lambda member: member.measured.latency_ms if member.measured else 0.0
    for name, value in curves.items():
        multiples = [value(member) / value(base) for member in members]
        axes.plot([member.phi for member in members], multiples, marker="o", label=name)
    axes.set(xlabel="phi", ylabel="multiple of the base", yscale="log", title=f"{base.spec.name} by compound scaling")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    save_figure(figure, path)
