"""What `python -m studies` prints and draws: text for a person, JSON and CSV for a program."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pandas as pd

from searchspace.errors import PhinasError, StudyMismatch
from searchspace.files import full_path
from searchspace.report import count_text, interval_text, ms_text, paragraphs, percent_text, table
from studies import frame, storage
from studies.figure import new_figure, save_figure
from studies.schema import SETTINGS, Status

_FIGURES = ["trial", "accuracy", "reward", "predicted_latency_ms", "measured_latency_ms", "params", "macs", "train_s"]
_HEADINGS = ("trial", "accuracy", "reward", "predicted ms", "measured ms", "params", "MACs", "train s")
_OVERVIEW = ("name", "trials", "trained", "accuracy", "latency_ms", "budget_ms", "state", "folder", "error")


def listing(form: str) -> str:
    """All studies as a "table", "json" or "csv"; one that cannot be read is listed as such."""
    rows = [_overview(name) for name in storage.names()]
    if form == "json":
        return json.dumps(rows, indent=1)
    if form == "csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, _OVERVIEW, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()
    if not rows:
        return f"no study in {full_path(storage.root())}: make one with python -m search.run --budget-ms 20"
    cells = [
        [
            row["name"],
            _number(row["trials"], "d"),
            _number(row["trained"], "d"),
            percent_text(row["accuracy"]),
            ms_text(row["latency_ms"]),
            _number(row["budget_ms"], "g"),
            row["state"],
        ]
        for row in rows
    ]
    headings = ("study", "trials", "trained", "best accuracy", "its ms", "budget ms", "state")
    errors = "\n".join(f"{row['name']}: {row['error']}" for row in rows if row["error"])
    return paragraphs(table(headings, cells, text_columns=(0, 6)), errors)


def _overview(name: str) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(_OVERVIEW) | {"name": name, "folder": str(storage.root() / name)}
    try:
        df = frame.load(name)
        best = frame.within_budget(df).head(1)
        row |= {
            "trials": len(df),
            "trained": 0 if _is_of_table(df) else int((df["status"] == Status.TRAINED).sum()),
            "budget_ms": df.attrs[SETTINGS].get("budget_ms"),
            "state": storage.state(name),
        }
    except PhinasError as error:
        damaged = isinstance(error, StudyMismatch)
        return row | {"state": "damaged" if damaged else "unreadable", "error": str(error)}
    for first in _records(best):
        measured_ms = first["measured_latency_ms"]
        row["accuracy"] = first["accuracy"]
        row["latency_ms"] = first["predicted_latency_ms"] if measured_ms is None else measured_ms
    return row


def study(name: str, form: str, *, top: int) -> str:
    """One study: its `top` best trials, its Pareto front and its summary; as "csv" all its trials."""
    df = frame.load(name)
    if form == "csv":
        return frame.to_csv(df)
    trained = df[df["status"] == Status.TRAINED]
    best = trained.sort_values(["reward", "accuracy"], ascending=False, kind="stable").head(top)
    front = frame.pareto(df)
    summary = frame.summary(name)
    if form == "json":
        content = {
            "name": name,
            "folder": df.attrs["folder"],
            "state": storage.state(name),
            "trials": df["status"].value_counts().to_dict(),
            "settings": df.attrs[SETTINGS],
            "best": _records(best),
            "pareto": _records(front),
            "summary": summary,
        }
        return json.dumps(content, indent=1)
    return paragraphs(
        _headline(df, summary),
        _trials(f"Best {len(best)} of {len(trained)} {'predicted' if _is_of_table(df) else 'trained'}", best),
        _trials("Pareto front: none is faster and as accurate", front),
    )


def plot(name: str, path: Path) -> None:
    """Draw the trials, the Pareto front and the budget: accuracy over predicted latency.

    Where the budget is one of MACs or parameters, those take the place of the latency. Raises InvalidArgument if
    matplotlib is missing or the suffix is unknown; StorageError if `path` cannot be written.
    """
    figure = new_figure(path)
    df = frame.load(name)
    cost, budget = frame.budget_of(df)
    axes = figure.subplots()
    for status, colour, size in ((Status.STOPPED_EARLY, "0.75", 9), (Status.TRAINED, "tab:blue", 18)):
        some = df[(df["status"] == status) & df[cost].notna() & df["accuracy"].notna()]
        label = str(status).replace("_", " ")
        axes.scatter(some[cost].astype(float), some["accuracy"].astype(float), s=size, color=colour, label=label)
    front = frame.pareto(df)
    axes.step(
        front[cost].astype(float),
        front["accuracy"].astype(float),
        where="post",
        marker="o",
        color="tab:orange",
        label="Pareto front",
    )
    unit = {"macs": "MACs", "params": "parameters"}.get(cost, "ms")
    if budget < float("inf"):
        axes.axvline(budget, linestyle=":", color="gray", label=f"budget {budget:g} {unit}")
    axes.set(xlabel="predicted latency (ms)" if unit == "ms" else unit, ylabel="validation accuracy", title=name)
    axes.legend()
    save_figure(figure, path)


def _headline(df: pd.DataFrame, summary: dict[str, Any]) -> str:
    name, settings = df.attrs["name"], df.attrs[SETTINGS]
    counts = df["status"].value_counts()
    endings = ", ".join(f"{count} {str(status).replace('_', ' ')}" for status, count in counts.items() if count)
    endings = "by a table of measured networks, none trained" if _is_of_table(df) else endings
    budget = f", budget {settings['budget_ms']:g} ms" if "budget_ms" in settings else ""
    if several := settings.get("budgets_ms"):
        budget = f", budgets {', '.join(f'{one:g}' for one in several)} ms"
    lines = [f"{name}: {len(df)} trials{f' ({endings})' if endings else ''}{budget}, {storage.state(name)}"]
    winner = summary.get("winner")
    if front := summary.get("front"):
        return "\n".join([*lines, *(_front_line(row, df.attrs["folder"]) for row in front)])
    if winner and _is_of_table(df):
        lines.append(f"best: trial {winner['trial']}, expected {percent_text(winner['accuracy'])}")
        lines.append(f"network: {df.attrs['folder']}/{storage.BEST}")
    elif winner:
        within = "within" if summary.get("within_budget") else "NOT within"
        predicted = "predicted " if summary.get("held") == "predicted" else ""
        ms = winner.get("measured_latency_ms")
        measured = "" if ms is None else f"measured {ms_text(ms, unit=True)}, "
        interval = interval_text(winner.get("test_low"), winner.get("test_high"), percent_text)
        lines += [
            f"winner: trial {winner['trial']}, test accuracy {percent_text(winner.get('test_accuracy'))} ({interval}), "
            f"{measured}{predicted}{within} the budget",
            f"network: {df.attrs['folder']}/{storage.BEST}",
        ]
    return "\n".join(lines)


def _front_line(row: dict[str, Any], folder: str) -> str:
    """The network that a search for several budgets found for one of them."""
    if row["folder"] is None:
        return f"{row['budget_ms']:g} ms: no network: {row['why']}"
    latency = f"{row['latency']} {ms_text(row['latency_ms'], unit=True)}"
    found = f"{row['network']}, test accuracy {percent_text(row['test_accuracy'])}, {latency}"
    return f"{row['budget_ms']:g} ms: {found}: {folder}/{row['folder']}/{storage.BEST}"


def _is_of_table(df: pd.DataFrame) -> bool:
    """Whether the study is of networks that were measured elsewhere: its accuracies are theirs, or predicted."""
    return "table_sha256" in df.attrs[SETTINGS]


def _trials(title: str, df: pd.DataFrame) -> str:
    cells = [
        [
            str(row["trial"]),
            percent_text(row["accuracy"]),
            _number(row["reward"], ".4f"),
            ms_text(row["predicted_latency_ms"]),
            ms_text(row["measured_latency_ms"]),
            count_text(row["params"]),
            count_text(row["macs"]),
            _number(row["train_s"], ".0f"),
        ]
        for row in _records(df)
    ]
    return table(_HEADINGS, cells, title=title)


def _records(df: pd.DataFrame) -> list[dict[str, Any]]:
    """The figures of each row as Python numbers; None where one is missing."""
    rows = df[_FIGURES].astype(object).where(df[_FIGURES].notna(), None)
    return [{str(key): value for key, value in row.items()} for row in rows.to_dict("records")]


def _number(value: float | None, spec: str) -> str:
    return "-" if value is None else format(value, spec)
