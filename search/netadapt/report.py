"""What `python -m search.netadapt` prints and draws."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from search.budget import CostModel
from search.console import clock_text
from search.report import balance_rows, grow_command, training_rows
from searchspace.describe import stage_table
from searchspace.preprocessing import Preprocessing
from searchspace.report import count_text, interval_text, next_steps, paragraphs, percent_text, table
from searchspace.spec import read_spec

_UNITS = {"ms": "latency (ms)", "macs": "MACs", "params": "parameters"}


def report(summary: dict[str, Any]) -> str:
    """The iterations, the network, what it came to, and what to do next."""
    text = CostModel(summary["unit"]).text
    if summary.get("nothing_to_do"):
        return (
            f"nothing to do: the network costs {text(summary['cost'])}, which is within the budget of "
            f"{text(summary['budget'])} already"
        )
    rows = [
        [
            str(one["number"]),
            one["step"],
            text(one["cost"]),
            percent_text(one["accuracy"]),
            str(one["tried"] or ""),
            "" if one["ratio"] is None else f"{one['ratio']:.3f}",
            str(one["refused"] or ""),
        ]
        for one in summary["iterations"]
    ]
    headers = ["", "step", "cost", "accuracy", "proposals", "time ratio", "slower"]
    notes = ["accuracy: validation, after the short training"]
    if summary["timed"]:
        notes.append("time ratio: measured beside the iteration before; slower: passed over, as they measured slower")
    network = summary["winner"]["network"]
    outcomes = [line for one in summary["budgets"] for line in _outcome(one, summary, text)]
    if missed := summary.get("missed"):
        outcomes.append(f"missed     {', '.join(map(text, missed['budgets']))}: {missed['why']}")
    return "\n" + paragraphs(
        "\n".join([table(headers, rows, text_columns=(1,)), *notes]),
        stage_table(read_spec(Path(network))) if network else "",
        "\n".join([*outcomes, *_input(summary)]),
        next_steps(_commands(summary)) if network else "",
    )


def _input(summary: dict[str, Any]) -> list[str]:
    """How an image becomes the network's input, and where its weights began."""
    lines = []
    if how := summary.get("preprocessing"):
        lines.append(f"input      {Preprocessing.from_dict(how).sentence()}, at {summary['deployed_at']} px")
    if summary.get("weights"):
        lines.append(f"weights    began as {summary['weights']}")
    lines += [f"{label:<10} {text}" for label, text in training_rows(summary)]
    return lines


def _at_other_pixels(one: dict[str, Any], summary: dict[str, Any]) -> list[str]:
    if "test_accuracy_as_trained" not in one:
        return []
    trained, deployed = summary["proxy_resolution"], summary["deployed_at"]
    return [f"pixels     tested at {deployed} px, as timed; at {trained} px {one['test_accuracy_as_trained']:.1%}"]


def _outcome(one: dict[str, Any], summary: dict[str, Any], text: Callable[[float], str]) -> list[str]:
    start = summary["start"]
    how, among = one["held"], ""
    if how == "measured":
        how = f"measured ({interval_text(one['measured_low_ms'], one['measured_high_ms'])})"
    elif how == "predicted":
        guessed = f", {len(one['estimated_layers'])} of its layers estimated" if one["estimated_layers"] else ""
        interval = interval_text(one["predicted_low_ms"], one["predicted_high_ms"])
        among = f" ({interval} in 9 of 10 networks){guessed}"
    less = 1 - one["cost"] / start["cost"]
    trained = f"after {one['epochs']} epochs" if one["epochs"] else "not trained on"
    if one.get("seconds"):
        trained = f"fine-tuned for {clock_text(one['seconds'])}"
    tested = interval_text(one["test_low"], one["test_high"], percent_text)
    lines = [
        f"budget     {text(one['budget'])}: {how} {text(one['cost'])}{among}, {one['used']:.1%} of it used, "
        f"{less:.0%} less than at the start ({text(start['cost'])})"
        + ("; the machine was noisy" if one["noisy"] else ""),
        f"accuracy   test {one['test_accuracy']:.1%} ({tested}, "
        f"{one['test_images']} images), validation {one['validation_accuracy']:.1%} {trained}; at the start "
        f"{start['accuracy']:.1%} of {start['images']} validation images",
        *_at_other_pixels(one, summary),
        *[f"{'':<10} {line}" for _, line in balance_rows(one)],
        f"size       {count_text(one['params'])} parameters (from {count_text(start['params'])}), "
        f"{count_text(one['macs'])} MACs (from {count_text(start['macs'])})",
    ]
    if "fvcore" in one:
        lines.append(f"counted    {one['fvcore']}")
    return [*lines, f"files      {one['network']} and .safetensors"] if one["network"] else lines


def _commands(summary: dict[str, Any]) -> list[str]:
    folder, settings = Path(summary["folder"]), summary["settings"]
    data = None if settings["data"] == "digits" else settings["data"]
    weights = "none" if settings.get("minutes") is None else "published"  # trained by epochs, or fine-tuned by minutes
    return [
        f"python -m studies {summary['study']}",
        grow_command({**settings, "data": data, "weights": weights}, folder).strip(),
        f"python -m searchspace.export {shlex.quote(str(folder / 'best.json'))}",
    ]


def plot(summary: dict[str, Any], path: Path) -> None:
    """Accuracy against cost: every proposal, the way taken, the budgets. Raises InvalidArgument, StorageError."""
    import studies
    from studies.figure import new_figure, save_figure

    figure = new_figure(path)
    axes = figure.subplots()
    df, steps = studies.load(summary["study"]), summary["iterations"]
    column = {"ms": "predicted_latency_ms"}.get(summary["unit"], summary["unit"])
    kinds = ("stopped_early", "0.75", "proposals, untrained"), ("trained", "tab:blue", "proposals")
    for status, colour, label in kinds:
        some = df[df["status"] == status]
        axes.scatter(some[column].astype(float), some["accuracy"].astype(float), s=9, color=colour, label=label)
    costs, accuracies = ([one[name] for one in steps] for name in ("cost", "accuracy"))
    axes.plot(costs, accuracies, color="tab:orange", marker="o", markersize=3, label="accepted")
    for one in summary["budgets"]:
        axes.axvline(one["budget"], linestyle=":", color="gray")
        axes.plot([one["cost"]], [one["validation_accuracy"]], marker="*", markersize=11, color="tab:red")
    axes.set(xlabel=_UNITS[summary["unit"]], ylabel="validation accuracy", title=summary["study"])
    axes.legend()
    save_figure(figure, path)
