"""Several growths of one base, a line each: a family over phi, or rules side by side."""

from collections.abc import Callable, Sequence
from operator import attrgetter
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


def as_text(base: Member, members: Sequence[Member], *, by_rule: bool) -> str:
    """One line a network, with what the columns mean; at most 100 columns wide."""
    members = [base, *members]

    def lines(columns: Sequence[Column]) -> str:
        cells = [(name, [cell(member) for member in members]) for name, cell in [titles(by_rule), *columns]]
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
        ("off by", _prediction_error),
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


def titles(by_rule: bool) -> Column:
    """The heading and the cell of the column that tells the networks apart: rules or phis."""
    if by_rule:
        return "rule", lambda member: member.name
    return "phi", lambda member: member.name if member.phi is None else f"{member.phi:.4g}"


def _base_column(name: str) -> Column:
    return name, lambda member: f"{getattr(member.coefficients, name):.3f}" if member.coefficients else ""


def predicted_text(member: Member) -> str:
    """The predicted ms; a ~ where kernels were estimated."""
    return f"{'~' if member.latency.estimated else ''}{ms_text(member.latency.latency_ms)}" if member.latency else ""


def measured_text(member: Member) -> str:
    """The measured ms, and whether its rounds scattered."""
    measured = member.measured
    return f"{ms_text(measured.latency_ms)}{' (noisy)' if measured.noisy else ''}" if measured else ""


def latency_interval_text(member: Member) -> str:
    """The ends of the 90 % interval, ms."""
    return interval_text(member.latency.low_ms, member.latency.high_ms) if member.latency else ""


def _prediction_error(member: Member) -> str:
    known = member.latency, member.measured
    return signed_percent_text(known[0].latency_ms / known[1].latency_ms - 1) if known[0] and known[1] else ""


def device_text(latencies: LatencyTable) -> str:
    """The runtime, threads and machine of a latency table."""
    return "{runtime}, {threads} threads, {machine}".format(**latencies.identity)


def plot(base: Member, members: Sequence[Member], figure: Any, path: Path) -> None:
    """MACs, parameters and latency against phi, as multiples of the base. Raises StorageError."""
    from studies.figure import save_figure

    axes = figure.subplots()
    members = sorted(members, key=lambda member: member.phi or 0.0)
    curves = {"MACs": "costs.macs", "parameters": "costs.params", "activations": "costs.activation_bytes"}
    if base.latency:
        curves["predicted latency"] = "latency.latency_ms"
    if base.measured:
        curves["measured latency"] = "measured.latency_ms"
    for name, quantity in curves.items():
        value = attrgetter(quantity)
        multiples = [value(member) / value(base) for member in members]
        axes.plot([member.phi for member in members], multiples, marker="o", label=name)
    axes.set(xlabel="phi", ylabel="multiple of the base", yscale="log", title=f"{base.spec.name} by compound scaling")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    save_figure(figure, path)
