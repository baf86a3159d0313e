"""The report at the end of a search, as text."""

import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

from search.latency.runtimes import known
from search.settings import Settings
from searchspace.describe import short, stage_table, table
from searchspace.serialize import read_spec


def report(summary: dict[str, Any]) -> str:
    """What a person reads: the winner stage by stage, accuracy, latency, size, files, next commands."""
    folder = Path(summary["folder"])
    return "\n".join(
        [
            "",
            f"Winner of {summary['study']}: trial {summary['winner']['trial']}",
            "",
            stage_table(read_spec(folder / "best.json")),
            "",
            *_figures(summary),
            "",
            *_baselines(summary),
            f"Written to {folder}/: best.json (network), best.safetensors (weights), trials.csv, summary.json",
            "",
            *_next_steps(summary, folder),
        ]
    )


def _figures(summary: dict[str, Any]) -> list[str]:
    winner = summary["winner"]
    trials = summary["trials"]
    lines = [
        f"accuracy   test {winner['test_accuracy']:.1%} (95 % interval {winner['test_low']:.1%} to "
        f"{winner['test_high']:.1%}, {winner['test_images']} images), validation "
        f"{winner['validation_accuracy']:.1%}, at {summary['proxy_resolution']} px",
        *_latency(summary),
        f"size       {winner['params'] / 1e6:.2f} M parameters, {winner['macs'] / 1e6:.0f} M MACs "
        f"at {summary['resolution']} px",
        f"search     {trials.get('trained', 0)} networks trained, {trials.get('stopped_early', 0)} stopped early, "
        f"{trials.get('failed', 0)} failed; {summary['priced_and_rejected'].get('over_budget', 0)} proposals over the "
        f"budget never trained; {summary['spent_s'] / 60:.1f} minutes",
    ]
    if summary.get("refined"):
        lines.append(_pruning(summary["refined"]))
    lines += [
        f"           trial {row['trial']} was better but takes {_ms(row)} ms: passed over"
        for row in summary["rejected"]
    ]
    if summary["times_tested"] > 1:
        lines.append(
            f"           the test images have now been used {summary['times_tested']} times (once per extension)"
        )
    return lines


def _latency(summary: dict[str, Any]) -> list[str]:
    """What the winner measured, what was predicted of it, and whether the promise held."""
    winner, budget = summary["winner"], f"the budget of {summary['budget_ms']:g} ms"
    held = f"{'within' if summary['within_budget'] else 'NOT within'} {budget}"
    where = f"at {summary['resolution']} px, {_runtime(summary)}"
    predicted = (
        f"predicted {winner['predicted_latency_ms']:.2f} ms ({winner['predicted_low_ms']:.2f} to "
        f"{winner['predicted_high_ms']:.2f} in 9 of 10 networks{_estimated(summary)})"
    )
    if winner["measured_latency_ms"] is None:
        return [
            f"latency    {predicted} {where}: {held}",
            "           not measured: the table is of another device or setting",
        ]
    noisy = "; the machine was noisy" if winner["noisy"] else ""
    learnt = summary.get("correction", {"networks": 0})
    bias = (
        f"; corrected by {learnt['factor'] - 1:+.1%} after {learnt['networks']} measured" if learnt["networks"] else ""
    )
    return [
        f"latency    measured {winner['measured_latency_ms']:.2f} ms ({winner['measured_low_ms']:.2f} to "
        f"{winner['measured_high_ms']:.2f}) {where}: {held}{noisy}",
        f"           {predicted}: {'as predicted' if winner['as_predicted'] else 'outside the prediction'}{bias}",
    ]


def _estimated(summary: dict[str, Any]) -> str:
    """How much of the prediction is not the table's own."""
    layers = summary["winner"].get("estimated_layers", 0)
    return f", {layers} of its layers estimated" if layers else ""


def _pruning(refined: dict[str, Any]) -> str:
    timed = ", each step measured to be no slower" if refined.get("timed", True) else ""
    return (
        f"pruning    from {refined['start_ms']:.2f} ms in {refined['iterations']} steps ({refined['proposals']} "
        f"offers){timed}: python -m studies {refined['study']}"
    )


def _runtime(summary: dict[str, Any]) -> str:
    device = summary["settings"].get("device") or {}
    threads = device.get("threads", summary.get("threads", 1))
    name = device.get("runtime") or known(summary["settings"].get("runtime", "eager")).title
    return f"{name}, {threads} thread{'s' if threads > 1 else ''}"


def _ms(row: dict[str, Any]) -> str:
    """Measured, or predicted where nothing is measured."""
    return f"{row.get('measured_latency_ms') or row['predicted_latency_ms']:.2f}"


def _baselines(summary: dict[str, Any]) -> list[str]:
    """Winner and published networks in one table, best first."""
    if not summary.get("baselines"):
        return []
    winner = {**summary["winner"], "name": f"winner: trial {summary['winner']['trial']}", "status": "trained"}
    rows = [row for row in (winner, *summary["baselines"]) if row["status"] == "trained"]
    rows.sort(key=lambda row: -row["test_accuracy"])
    kind = "measured" if winner["measured_latency_ms"] is not None else "predicted"
    headers = ["network", "width", "params", "MACs", f"{kind} ms", "validation", "test", "95 % interval"]
    cells = [
        [
            row["name"],
            f"{row['width']:g}" if "width" in row else "-",
            short(row["params"]),
            short(row["macs"]),
            _ms(row),
            f"{row['validation_accuracy']:.1%}",
            f"{row['test_accuracy']:.1%}",
            f"{row['test_low']:.1%} to {row['test_high']:.1%}",
        ]
        for row in rows
    ]
    others = [f"{row['name']}: {row['status']}" for row in summary["baselines"] if row["status"] != "trained"]
    better = sum(row["test_accuracy"] > winner["test_accuracy"] for row in rows)
    verdict = f"{better or 'none'} of {len(rows) - 1} published networks did better than the winner"
    return [
        f"The same budget, recipe and effort ({winner['epochs']} epochs each), one seed: {verdict}.",
        "",
        table(headers, cells, text_columns=(0,)),
        *([f"left out: {', '.join(others)}"] if others else []),
        "",
    ]


def _source(settings: dict[str, Any]) -> str:
    data = settings.get("data")
    return f" --data {shlex.quote(str(data))}" if data else ""


def _runtime_flag(settings: dict[str, Any]) -> str:
    if settings.get("latency"):
        return f"--latency {shlex.quote(settings['latency'])} "
    name, threads = settings.get("runtime", "eager"), settings.get("threads")
    return ("" if name == "eager" else f"--runtime {name} ") + (f"--threads {threads} " if threads else "")


def grow_command(settings: dict[str, Any], folder: Path) -> str:
    """The command that makes a larger network of the winner, trained on from its weights."""
    spec, weights, out = (shlex.quote(str(folder / name)) for name in ("best.json", "best.safetensors", "grown.json"))
    source = _source(settings)
    seed = settings.get("seed", 0)
    source += f" --seed {seed}" if seed else ""  # the same splits: nothing that was trained on is tested on
    return f"  python -m scaling.compound --phi 1 --network {spec} --inherit {weights} --epochs 20{source} --out {out}"


def _next_steps(summary: dict[str, Any], folder: Path) -> list[str]:
    minutes = max(30, round(summary["spent_s"] / 60) * 3)
    again = f"  {command(summary['settings'], study=summary['study'])}"
    steps = [
        "Next:",
        f"  python -m studies {summary['study']}",
        f"  python -m search.netadapt --network {shlex.quote(str(folder / 'best.json'))}{_source(summary['settings'])} "
        f"{_runtime_flag(summary['settings'])}"
        f"--budget-ms {0.75 * summary['budget_ms']:.3g}",
        grow_command(summary["settings"], folder),
        f"  python -m searchspace.export {shlex.quote(str(folder / 'best.json'))}",
        f"{again} --minutes {minutes}",
    ]
    return steps if summary.get("baselines") else [*steps, f"{again} --baselines"]


def command(settings: dict[str, Any], *, study: str) -> str:
    """The command line that goes on with a study of these settings; what is at its default is left out."""
    words = ["python -m search.run"]
    for field in fields(Settings):
        value = settings.get(field.name, field.default)
        if value != field.default and field.name != "study":
            flag = "--space" if field.name == "space_file" else "--" + field.name.replace("_", "-")
            text = f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)
            words.append(f"{flag} {shlex.quote(text)}")
    return " ".join([*words, f"--study {study}"])
