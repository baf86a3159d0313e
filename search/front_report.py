"""The report of a search for several budgets, as text."""

import shlex
from pathlib import Path
from typing import Any

from search.front_files import FRONT_CSV, FRONT_PLOT, with_network
from search.report import command
from searchspace.report import count_text, interval_text, ms_text, next_steps, notes, paragraphs, percent_text, table
from studies.storage import BEST


def front_table(rows: list[dict[str, Any]]) -> str:
    """The rows of a front, the smallest budget first."""
    cells = [
        [
            f"{row['budget_ms']:g}",
            row["network"] or "none",
            percent_text(row["test_accuracy"]),
            interval_text(row["test_low"], row["test_high"], percent_text),
            ms_text(row["latency_ms"]),
            interval_text(row["low_ms"], row["high_ms"]),
            "yes" if row["within_budget"] else "NO",
            count_text(row["macs"]),
            count_text(row["params"]),
            row["folder"] or "-",
        ]
        for row in rows
    ]
    kind = with_network(rows)[0]["latency"]
    heads = ("budget ms", "network", "test", "95 % interval", f"{kind} ms", "interval", "within", "MACs", "params")
    return table((*heads, "folder"), cells, text_columns=(1, 6, 9))


def report(summary: dict[str, Any]) -> str:
    """What a person reads: the table of the front, what one network wins, files, next commands."""
    folder, rows, trials = Path(summary["folder"]), summary["front"], summary["trials"]
    judged = (
        f"{trials.get('trained', 0)} networks judged for all budgets, {trials.get('stopped_early', 0)} stopped early, "
        f"{trials.get('failed', 0)} failed; {summary['spent_s'] / 60:.1f} minutes"
    )
    handed = [
        f"{row['budget_ms']:g} ms has the network for {row['from_budget_ms']:g} ms: {row['why']}"
        for row in rows
        if row["from_budget_ms"] is not None
    ]
    lacking = [f"{row['budget_ms']:g} ms has no network: {row['why']}" for row in rows if row["folder"] is None]
    plot = f", {FRONT_PLOT}" if (folder / FRONT_PLOT).exists() else ""
    return "\n" + paragraphs(
        f"Networks of {summary['study']} for {len(rows)} budgets",
        front_table(rows),
        notes(judged, *handed, *lacking, *summary["notes"]),
        f"Written to {folder}/: {FRONT_CSV}{plot}, trials.csv, summary.json, and in a folder for each budget best.json "
        "(network), best.safetensors (weights), summary.json",
        next_steps(_next_steps(summary, folder)),
    )


def _next_steps(summary: dict[str, Any], folder: Path) -> list[str]:
    best = shlex.quote(str(folder / with_network(summary["front"])[0]["folder"] / BEST))
    minutes = max(30, round(summary["spent_s"] / 60) * 3)
    return [
        f"python -m studies {summary['study']}",
        f"python -m searchspace.export {best}",
        f"{command(summary['settings'], study=summary['study'])} --minutes {minutes}",
    ]
