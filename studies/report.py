"""What `python -m studies` prints and draws: text for a person, JSON and CSV for a program."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from searchspace.errors import PhinasError, StudyMismatch
from studies import frame, storage
from studies.figure import new_figure, save_figure
from studies.schema import SETTINGS, Status

_FIGURES = ["trial", "accuracy", "reward", "predicted_latency_ms", "measured_latency_ms", "params", "macs", "train_s"]
_HEADINGS = ("trial", "accuracy", "reward", "predicted ms", "measured ms", "M params", "M MACs", "train s")


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
        return f"no study in {storage.root().resolve()}: make one with python -m search.run --budget-ms 20"
    table = _table("", ("study", "trials", "trained", "best accuracy", "its ms", "budget ms", "state"), left=(0, 6))
    for row in rows:
        table.add_row(
            row["name"],
            _number(row["trials"], "d"),
            _number(row["trained"], "d"),
            _number(row["accuracy"], ".1%"),
            _number(row["latency_ms"], ".2f"),
            _number(row["budget_ms"], "g"),
            row["state"],
        )
    return _text(table) + "\n".join(f"{row['name']}: {row['error']}" for row in rows if row["error"])


_OVERVIEW = ("name", "trials", "trained", "accuracy", "latency_ms", "budget_ms", "state", "folder", "error")


def _overview(name: str) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(_OVERVIEW) | {"name": name, "folder": str(storage.root() / name)}
    try:
        df = frame.load(name)
        best = frame.within_budget(df).head(1)
        row |= {
            "trials": len(df),
            "trained": int((df["status"] == Status.TRAINED).sum()),
            "budget_ms": df.attrs[SETTINGS].get("budget_ms"),
            "state": storage.state(name),
        }
    except PhinasError as error:
        damaged = isinstance(error, StudyMismatch)
        return row | {"state": "damaged" if damaged else "unreadable", "error": str(error)}
    if not best.empty:
        first = _records(best)[0]
        measured = first["measured_latency_ms"]
        latency_ms = first["predicted_latency_ms"] if measured is None else measured
        row |= {"accuracy": first["accuracy"], "latency_ms": latency_ms}
    return row


def study(name: str, form: str, *, top: int) -> str:
    """One study: its `top` best trials, its Pareto front and its summary; as "csv" all its trials."""
    df = frame.load(name)
    if form == "csv":
        return frame.to_csv(df)
    trained = df[df["status"] == Status.TRAINED]
    best = trained.sort_values(["reward", "accuracy"], ascending=False, kind="stable").head(top)
    front = frame.pareto(df)
    found = frame.summary(name)
    if form == "json":
        content = {
            "name": name,
            "folder": df.attrs["folder"],
            "state": storage.state(name),
            "trials": df["status"].value_counts().to_dict(),
            "settings": df.attrs[SETTINGS],
            "best": _records(best),
            "pareto": _records(front),
            "summary": found,
        }
        return json.dumps(content, indent=1)
    tables = [_trials(f"Best {len(best)} of {len(trained)} trained", best)]
    tables.append(_trials("Pareto front: none is faster and as accurate", front))
    return "\n".join([*_headline(df, found), "", *map(_text, tables)])


def plot(name: str, path: Path) -> None:
    """Draw accuracy over predicted latency (over MACs or parameters where the budget is one of those) of the trials,
    the front and the budget into `path`.

    Raises InvalidArgument if matplotlib is missing or the suffix is unknown; StorageError if it cannot be written.
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


def _headline(df: pd.DataFrame, found: dict[str, Any]) -> list[str]:
    settings = df.attrs[SETTINGS]
    counts = df["status"].value_counts()
    told = ", ".join(f"{count} {str(status).replace('_', ' ')}" for status, count in counts.items() if count)
    budget = f", budget {settings['budget_ms']:g} ms" if "budget_ms" in settings else ""
    lines = [f"{df.attrs['name']}: {len(df)} trials ({told}){budget}, {storage.state(df.attrs['name'])}"]
    lines[0] = lines[0].replace(" ()", "")
    winner = found.get("winner", {})
    if winner:
        held = "within" if found.get("within_budget") else "NOT within"
        held = "predicted " * (found.get("held") == "predicted") + held
        ms = winner.get("measured_latency_ms")
        measured = "" if ms is None else f"measured {ms:.2f} ms, "
        lines += [
            f"winner: trial {winner['trial']}, test accuracy {_number(winner.get('test_accuracy'), '.1%')} "
            f"({_number(winner.get('test_low'), '.1%')} to {_number(winner.get('test_high'), '.1%')}), {measured}"
            f"{held} the budget",
            f"network: {df.attrs['folder']}/{storage.BEST}",
        ]
    return lines


def _trials(title: str, df: pd.DataFrame) -> Table:
    table = _table(title, _HEADINGS)
    for row in _records(df):
        values = [row[name] for name in _FIGURES]
        values[5:7] = [None if value is None else value / 1e6 for value in values[5:7]]
        formats = ("d", ".1%", ".4f", ".2f", ".2f", ".2f", ".0f", ".0f")
        table.add_row(*(_number(value, spec) for value, spec in zip(values, formats, strict=True)))
    return table


def _records(df: pd.DataFrame) -> list[dict[str, Any]]:
    """The figures of each row as Python numbers; None where one is missing."""
    rows = df[_FIGURES].astype(object).where(df[_FIGURES].notna(), None)
    return [{str(key): value for key, value in row.items()} for row in rows.to_dict("records")]


def _number(value: float | None, spec: str) -> str:
    return "-" if value is None else format(value, spec)


def _table(title: str, headings: Sequence[str], *, left: Sequence[int] = ()) -> Table:
    table = Table(title=title or None, title_justify="left", header_style="bold")
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="left" if place in left else "right", overflow="fold")
    return table


def _text(table: Table) -> str:
    console = Console(file=io.StringIO(), width=None if Console().is_terminal else 120, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return capture.get()
