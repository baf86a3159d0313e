"""What python -m search.latency prints: tables, predictions, measurements and checks, for people and as JSON types."""

from collections.abc import Sequence
from dataclasses import asdict
from statistics import fmean, median

from search.latency.check import Agreement, Check
from search.latency.measurement import Measurement
from searchspace.cost import costs
from searchspace.describe import short
from searchspace.describe import table as columns
from searchspace.graph import lower
from searchspace.latency.table import Identity, LatencyTable, Prediction, describe
from searchspace.spec import NetworkSpec


def predicted_text(specs: list[NetworkSpec], found: list[Prediction], table: LatencyTable) -> str:
    """Predictions for people."""
    rows = []
    for spec, one in zip(specs, found, strict=True):
        cost, layers = costs(lower(spec)), len(lower(spec).layers)
        rows.append(
            [
                spec.name,
                str(spec.resolution),
                short(cost.params),
                short(cost.macs),
                f"{one.latency_ms:.2f}",
                f"{one.low_ms:.2f} to {one.high_ms:.2f}",
                f"{len(one.estimated)} of {layers}",
            ]
        )
    headers = ["network", "px", "params", "MACs", "ms", "in 9 of 10 of its space", "layers estimated"]
    return f"{columns(headers, rows, text_columns=(0,))}\n\n{table_text(table)}"


def measured_text(specs: list[NetworkSpec], found: list[Measurement], reference_ms: float, identity: Identity) -> str:
    """Measurements for people."""
    rows = []
    for spec, one in zip(specs, found, strict=True):
        cost = costs(lower(spec))
        rows.append(
            [
                spec.name,
                str(spec.resolution),
                short(cost.params),
                short(cost.macs),
                f"{one.latency_ms:.2f}",
                f"{one.low_ms:.2f} to {one.high_ms:.2f}",
                f"{one.raw_median_ms:.2f}",
                str(one.rounds),
                "noisy" if one.noisy else "",
            ]
        )
    headers = ["network", "px", "params", "MACs", "ms", "95 % interval", "by the clock", "rounds", ""]
    noisy = "\nThe machine was too noisy to tell: stop what else runs, or give more --seconds."
    return (
        f"{columns(headers, rows, text_columns=(0, 8))}\n\n"
        f"one image, {identity['runtime']}, {identity['threads']} threads, {identity['dtype']}, batch norm folded; ms "
        f"at the quiet speed of this device's reference network, {reference_ms:.2f} ms; by the clock: at the speed the "
        "machine had meanwhile"
        f"{noisy if any(one.noisy for one in found) else ''}"
    )


def table_text(table: LatencyTable) -> str:
    """What a table is, in two lines."""
    scale, network_ms, error = table.correction
    return (
        f"latency table: {describe(table.identity)}\n"
        f"{len(table.kernels)} kernels; ms at the reference's quiet speed of {table.reference_ms:.2f} ms; "
        f"network = {network_ms:.2f} ms + {scale:.3f} x sum of kernels; own error {error:.1%}"
        f"{f'; drift {table.drift:.2f}' if table.drift else ''}"
    )


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
        f"{len(errors)} fresh networks of the space, predicted and measured: "
        f"{fmean(size <= 0.1 for size in sizes):.0%} within 10 %, {fmean(size <= 0.05 for size in sizes):.0%} within "
        f"5 %, bias {median(errors):+.1%}, worst {max(sizes):.1%}"
    )


def check_text(found: Check) -> str:
    """A check for people."""
    rounds = min(one.rounds for one in found.measured)
    real = [one.latency_ms for one in found.measured]
    noisy = sum(one.noisy for one in found.measured)
    lines = [
        f"{len(found.specs)} networks, {min(real):.1f} to {max(real):.1f} ms, {rounds} interleaved rounds, "
        f"{noisy} of them too noisy to tell within 10 %",
        "               within 10 %  within 5 %  mean error    bias   worst  Spearman",
        f"this table     {_row(found.table)}",
        f"MACs alone     {_row(found.macs_alone)}",
        f"{found.coverage:.0%} measure within their interval, which is made for 90 % of the search space's networks",
    ]
    for place, layers in found.worst.items():
        spec, predicted = found.specs[place], found.predicted[place]
        lines.append(
            f"off by {predicted.latency_ms / real[place] - 1:+.1%}: {spec.name} at {spec.resolution} px, predicted "
            f"{predicted.latency_ms:.2f} ms ({predicted.low_ms:.2f} to {predicted.high_ms:.2f}), measured "
            f"{real[place]:.2f} ms"
            + ("; most wrong: " if layers else "")
            + ", ".join(f"{one.layer} ({one.predicted_ms:.2f} for {one.measured_ms:.2f})" for one in layers)
        )
    return "\n".join(lines)


def _row(one: Agreement) -> str:
    return (
        f"{one.within_10_percent:10.0%} {one.within_5_percent:11.0%} {one.mape:11.1%} {one.bias:+7.1%} "
        f"{one.worst:7.1%} {one.spearman:9.3f}"
    )
