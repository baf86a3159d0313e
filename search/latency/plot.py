"""A check as a picture: predicted over measured latency, with the predicted intervals."""

from pathlib import Path
from typing import Any

from search.latency.check import Check
from searchspace.latency.table import LatencyTable
from studies.figure import save_figure


def plot(found: Check, table: LatencyTable, figure: Any, path: Path) -> None:
    """Draw it in `figure` (studies.figure.new_figure) and write that to `path`. Raises StorageError."""
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
