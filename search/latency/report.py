"""What python -m search.latency prints: tables, predictions, measurements and checks, for people and as JSON types."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from shlex import quote
from statistics import fmean, median
from typing import Any

from search.latency.check import Agreement, Check
from search.latency.measurement import Measurement
from searchspace import zoo
from searchspace.cost import costs
from searchspace.graph import lower
from searchspace.latency.table import Identity, LatencyTable, Prediction, describe
from searchspace.report import count_text, interval_text, ms_text, notes, paragraphs, percent_text, signed_percent_text
from searchspace.report import table as columns
from searchspace.spec import NetworkSpec
from studies.figure import save_figure

_NETWORK = ["network", "px", "params", "MACs", "ms"]


def predicted_text(specs: Sequence[NetworkSpec], found: Sequence[Prediction], table: LatencyTable) -> str:
    """Predictions for people."""
    rows = [
        [
            *_cells(spec, one.latency_ms),
            interval_text(one.low_ms, one.high_ms),
            f"{len(one.estimated)} of {len(lower(spec).layers)}",
        ]
        for spec, one in zip(specs, found, strict=True)
    ]
    headers = [*_NETWORK, "in 9 of 10 of its space", "layers estimated"]
    return paragraphs(columns(headers, rows, text_columns=(0,)), table_text(table))


def measured_text(
    specs: Sequence[NetworkSpec], found: Sequence[Measurement], reference_ms: float, identity: Identity
) -> str:
    """Measurements for people."""
    rows = [
        [
            *_cells(spec, one.latency_ms),
            interval_text(one.low_ms, one.high_ms),
            ms_text(one.raw_median_ms),
            str(one.rounds),
            "noisy" if one.noisy else "",
        ]
        for spec, one in zip(specs, found, strict=True)
    ]
    headers = [*_NETWORK, "95 % interval", "by the clock", "rounds", ""]
    noisy = "The machine was too noisy to tell: stop what else runs, or give more --seconds."
    return paragraphs(
        columns(headers, rows, text_columns=(0, 8)),
        notes(
            f"one image, {identity['runtime']}, {identity['threads']} threads, {identity['dtype']}, batch norm folded; "
            f"ms at the quiet speed of this device's reference network, {reference_ms:.2f} ms; by the clock: at the "
            "speed that the machine had meanwhile",
            noisy if any(one.noisy for one in found) else "",
        ),
    )


def _cells(spec: NetworkSpec, latency_ms: float) -> list[str]:
    cost = costs(lower(spec))
    return [spec.name, str(spec.resolution), count_text(cost.params), count_text(cost.macs), ms_text(latency_ms)]


def table_text(table: LatencyTable) -> str:
    """What a table is, in two lines."""
    scale, network_ms, error = table.correction
    quick = " (quick: the other kernels of its space are estimated)" if table.quick else ""
    return (
        f"latency table: {describe(table.identity)}\n"
        f"{len(table.kernels)} kernels{quick}; ms at the reference's quiet speed of {table.reference_ms:.2f} ms; "
        f"network = {network_ms:.2f} ms + {scale:.3f} x sum of kernels; own error {percent_text(error)}"
        f"{f'; drift {table.drift:.2f}' if table.drift else ''}"
    )


def written_text(table: LatencyTable, path: Path, done: str, *, times: Path | None, next_step: str) -> str:
    """A table that was written: what it is, an example by which wrong units show (of `times`), and a next step."""
    out, pixels = quote(str(path)), table.identity["resolution"]
    lines = [table_text(table), f"{done}; written to {path}"]
    names = ("mobilenet_v3_large", "mnasnet_a1", *zoo.names()) if times else ()
    example = next((name for name in names if table.prices(zoo.get(name, resolution=pixels))), None)
    if example:
        found = table.predict(zoo.get(example, resolution=pixels))
        lines.append(
            f"by it {example} takes {found.latency_ms:.3g} ms ({found.low_ms:.3g} to {found.high_ms:.3g}): if that is "
            f"far from what you know of the device, {times} is in another unit than milliseconds"
        )
        next_step = f"search.latency predict --network {example} --latency {out}"
    next_step = next_step or f"search.run --latency {out} --resolution {pixels} --budget-ms MS"
    return "\n".join([*lines, f"next: python -m {next_step}"])


def summary(found: Check) -> dict[str, object]:
    """A check as JSON types."""
    rows = zip(found.specs, found.predicted, found.measured, strict=True)
    return {
        "table": asdict(found.table),
        "macs_alone": asdict(found.macs_alone),
        "coverage": found.coverage,
        "networks": [
            {
                "network": spec.name,
                "resolution": spec.resolution,
                "fingerprint": spec.fingerprint(),
                "predicted_ms": predicted.latency_ms,
                "predicted_low_ms": predicted.low_ms,
                "predicted_high_ms": predicted.high_ms,
                "estimated_layers": len(predicted.estimated),
                **asdict(measured),
            }
            for spec, predicted, measured in rows
        ],
        "worst": {place: [layer._asdict() for layer in layers] for place, layers in found.worst.items()},
    }


def holdout_text(errors: Sequence[float]) -> str:
    """How a table did on networks that it was not fitted to, in a line."""
    sizes = [abs(error) for error in errors]
    return (
        f"{len(errors)} holdout networks of the space, predicted and measured: "
        f"{fmean(size <= 0.1 for size in sizes):.0%} within 10 %, {fmean(size <= 0.05 for size in sizes):.0%} within "
        f"5 %, bias {signed_percent_text(median(errors))}, worst {percent_text(max(sizes))}"
    )


def check_text(found: Check) -> str:
    """A check for people."""
    real = [one.latency_ms for one in found.measured]
    headers = ["", "within 10 %", "within 5 %", "mean error", "bias", "worst", "Spearman"]
    rows = [["this table", *_agreement(found.table)], ["MACs alone", *_agreement(found.macs_alone)]]
    lines = [
        f"{len(found.specs)} networks, {min(real):.1f} to {max(real):.1f} ms, "
        f"{min(one.rounds for one in found.measured)} interleaved rounds, "
        f"{sum(one.noisy for one in found.measured)} of them too noisy to tell within 10 %",
        columns(headers, rows, text_columns=(0,)),
        f"{found.coverage:.0%} measure within their interval, which is made for 90 % of the search space's networks",
    ]
    for place, layers in found.worst.items():
        spec, predicted = found.specs[place], found.predicted[place]
        lines.append(
            f"off by {signed_percent_text(found.errors[place])}: {spec.name} at {spec.resolution} px, predicted "
            f"{ms_text(predicted.latency_ms, unit=True)} ({interval_text(predicted.low_ms, predicted.high_ms)}), "
            f"measured {ms_text(real[place], unit=True)}"
            + ("; largest errors: " if layers else "")
            + ", ".join(f"{one.layer} ({one.predicted_ms:.2f} for {one.measured_ms:.2f})" for one in layers)
        )
    return "\n".join(lines)


def _agreement(one: Agreement) -> list[str]:
    return [
        f"{one.within_10_percent:.0%}",
        f"{one.within_5_percent:.0%}",
        percent_text(one.mape),
        signed_percent_text(one.bias),
        percent_text(one.worst),
        f"{one.spearman:.3f}",
    ]


def plot(found: Check, table: LatencyTable, figure: Any, path: Path) -> None:
    """Draw predicted over measured ms in `figure` (studies.figure.new_figure), and save it. Raises StorageError."""
    axes = figure.subplots()
    real = [one.latency_ms for one in found.measured]
    for estimated, colour, label in (
        (False, "tab:blue", "all kernels measured"),
        (True, "tab:orange", "some estimated"),
    ):
        rows = [(ms, one) for ms, one in zip(real, found.predicted, strict=True) if bool(one.estimated) == estimated]
        if rows:
            axes.errorbar(
                [ms for ms, _ in rows],
                [one.latency_ms for _, one in rows],
                yerr=list(
                    zip(*((one.latency_ms - one.low_ms, one.high_ms - one.latency_ms) for _, one in rows), strict=True)
                ),
                fmt="o",
                markersize=4,
                linewidth=0.8,
                color=colour,
                label=f"{label} ({len(rows)})",
            )
    ends = [0.9 * min(real), 1.1 * max(real)]
    axes.plot(ends, ends, color="gray", linewidth=1, label="predicted = measured")
    axes.fill_between(
        ends, [0.9 * end for end in ends], [1.1 * end for end in ends], color="gray", alpha=0.15, label="within 10 %"
    )
    identity = table.identity
    title = f"{identity['runtime']}, {identity['threads']} threads, {identity['machine']}"
    axes.set(xlabel="measured (ms)", ylabel="predicted (ms), 90 % interval", xscale="log", yscale="log", title=title)
    axes.legend()
    save_figure(figure, path)
