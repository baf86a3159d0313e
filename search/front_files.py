"""What a search for several budgets writes beside a folder for each: a table, a plot, the study's summary."""

from __future__ import annotations

import csv
import io
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.results import TESTED, WEIGHTS
from searchspace.errors import InvalidArgument
from searchspace.files import copy_files, write_atomic, write_json
from studies.figure import new_figure, save_figure
from studies.storage import BEST, SUMMARY

if TYPE_CHECKING:
    from search.loop import Search

FRONT_CSV, FRONT_PLOT = "front.csv", "front.png"
NO_PLOT = "no plot: it needs matplotlib, pip install 'phinas[plot]'; the same command then draws it"


def folder_of(study: Path, budget_ms: float) -> Path:
    """The folder of one budget's network in its study's: budget-5ms."""
    return study / f"budget-{budget_ms:g}ms"


def copy_network(source: Path, folder: Path) -> None:
    """Copy a finished network: spec, weights, and which test images it told right."""
    (folder / TESTED).unlink(missing_ok=True)  # another network's
    copy_files(source, folder, (WEIGHTS, BEST, TESTED))


def row_of(summary: dict[str, Any]) -> dict[str, Any]:
    """One finished network as a row of the front. Latencies are predicted where nothing is measured."""
    winner, handed = summary["winner"], summary["handed_over"]
    kind = "predicted" if winner["measured_latency_ms"] is None else "measured"
    return {
        "budget_ms": summary["budget_ms"],
        "network": winner["network"] or f"trial {winner['trial']}",
        "fingerprint": winner["fingerprint"],
        "test_accuracy": winner["test_accuracy"],
        "test_low": winner["test_low"],
        "test_high": winner["test_high"],
        "validation_accuracy": winner["validation_accuracy"],
        "latency": kind,
        **{f"{part}_ms": winner[f"{kind}_{part}_ms"] for part in ("latency", "low", "high")},
        "within_budget": summary["within_budget"],
        "macs": winner["macs"],
        "params": winner["params"],
        "flash_kb": winner["flash_kb"],
        "ram_kb": winner["ram_kb"],
        "resolution": summary["resolution"],
        "trained_s": winner["trained_s"],
        "from_budget_ms": handed and handed["from_budget_ms"],
        "why": handed and handed["why"],
        "folder": Path(summary["folder"]).name,
    }


def with_network(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of budgets for which there is a network."""
    return [row for row in rows if row["folder"] is not None]


def write_front(
    search: Search,
    folder: Path,
    done: Mapping[float, dict[str, Any]],
    lacking: Mapping[float, str],
    notes: Sequence[str],
) -> dict[str, Any]:
    """Write front.csv, front.png and summary.json, and the largest budget's network as the study's best.json.

    done: Budgets in ms -> the summary of their network. lacking: Budgets -> why they have none. notes: What could not
    be made, for people. Gives the content of summary.json.
    """
    largest = done[max(done)]
    empty = dict.fromkeys(row_of(largest))
    missing = [{**empty, "budget_ms": ms, "within_budget": False, "why": why} for ms, why in lacking.items()]
    rows = sorted([*map(row_of, done.values()), *missing], key=lambda row: float(row["budget_ms"]))
    write_atomic(folder / FRONT_CSV, csv_text(rows))
    notes = [*dict.fromkeys(notes), *([] if draw(rows, folder / FRONT_PLOT, search.study.study_name) else [NO_PLOT])]
    copy_network(Path(largest["folder"]), folder)
    trials = (trial.user_attrs.get("status", "running") for trial in search.study.get_trials(deepcopy=False))
    rejected = Counter[str]()
    for sampler in search.samplers:
        rejected.update(sampler.rejected)
    summary = {
        **largest,
        "kind": "front",
        "folder": str(folder),
        "budgets_ms": [row["budget_ms"] for row in rows],
        "front": rows,
        "notes": notes,
        "trials": dict(Counter(map(str, trials))),
        "priced_and_rejected": {"over_budget": rejected["over_limit"], "duplicate": rejected["duplicate"]},
        "spent_s": round(search.clock.elapsed_s(), 1),
        "finished_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    write_json(folder / SUMMARY, summary)
    return summary


def csv_text(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as CSV with a head; what is not known is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [*rows[0]], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def draw(rows: Sequence[dict[str, Any]], path: Path, name: str) -> bool:
    """Draw test accuracy over latency, each with its interval, and the budgets; False where matplotlib is missing."""
    try:
        figure = new_figure(path)
    except InvalidArgument:
        return False
    axes = figure.subplots()
    networks = {row["fingerprint"]: row for row in with_network(rows)}.values()  # each once
    for row in networks:
        ms, test = row["latency_ms"], row["test_accuracy"]
        beside = [[max(0.0, ms - row["low_ms"])], [max(0.0, row["high_ms"] - ms)]]
        above = [[max(0.0, test - row["test_low"])], [max(0.0, row["test_high"] - test)]]
        axes.errorbar(ms, test, xerr=beside, yerr=above, fmt="o", color="tab:orange", capsize=2)
        axes.annotate(row["network"], (ms, test), textcoords="offset points", xytext=(6, 6), fontsize="small")
    axes.step(
        [row["latency_ms"] for row in networks],
        [row["test_accuracy"] for row in networks],
        where="post",
        color="tab:orange",
        linewidth=0.8,
    )
    for row in rows:
        axes.axvline(row["budget_ms"], linestyle=":", color="gray")
    kinds = " and ".join(sorted({row["latency"] for row in networks}))
    title = f"{name}: networks for {len(rows)} budgets (dotted), with 95 % intervals"
    axes.set(xlabel=f"{kinds} latency (ms)", ylabel="test accuracy", title=title)
    save_figure(figure, path)
    return True
