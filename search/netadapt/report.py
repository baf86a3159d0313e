"""What `python -m search.netadapt` prints and draws."""

import shlex
from pathlib import Path
from typing import Any

from search.budget import CostModel
from search.report import grow_command
from searchspace.describe import stage_table, table
from searchspace.serialize import read_spec


def report(summary: dict[str, Any], *, data: str | None) -> str:
    """The iterations, the network, what it came to, and what to do next."""
    text = CostModel(summary["unit"]).text
    if summary.get("nothing_to_do"):
        return (
            f"nothing to do: the network costs {text(summary['cost'])}, which is within the budget of "
            f"{text(summary['budget'])} already"
        )
    start, winner = summary["start"], summary["winner"]
    rows = [
        [
            str(one["number"]),
            one["step"],
            text(one["cost"]),
            f"{one['accuracy']:.1%}",
            str(one["tried"] or ""),
            "" if one["ratio"] is None else f"{one['ratio']:.3f}",
            str(one["refused"] or ""),
        ]
        for one in summary["iterations"]
    ]
    headers = ["", "step", "cost", "accuracy", "offers", "time ratio", "slower"]
    lines = [
        "",
        table(headers, rows, text_columns=(1,)),
        "accuracy: validation, after the short training",
        *(
            [
                "time ratio: measured beside the iteration before; slower: "
                "offers that measured slower and were passed over"
            ]
            if summary["timed"]
            else []
        ),
        "",
        stage_table(read_spec(Path(winner["network"]))),
        "",
    ]
    for one in summary["budgets"]:
        lines += _outcome(one, start, text, timed=summary["timed"])
    if missed := summary.get("missed"):
        lines.append(f"missed     {', '.join(map(text, missed['budgets']))}: {missed['why']}")
    folder = Path(summary["folder"])
    return "\n".join([*lines, "", *_next_steps(summary, folder, data)])


def _outcome(one: dict[str, Any], start: dict[str, Any], text: Any, *, timed: bool) -> list[str]:
    how, among = one["held"], ""
    if how == "measured":
        how = f"measured ({one['measured_low_ms']:.2f} to {one['measured_high_ms']:.2f})"
    elif how == "predicted":
        guessed = f", {len(one['estimated_layers'])} of its layers estimated" if one["estimated_layers"] else ""
        among = f" ({one['predicted_low_ms']:.2f} to {one['predicted_high_ms']:.2f} in 9 of 10 networks){guessed}"
    cut = 1 - one["cost"] / start["cost"]
    trained = f"after {one['epochs']} epochs" if one["epochs"] else "not trained on"
    return [
        f"budget     {text(one['budget'])}: {how} {text(one['cost'])}{among}, {one['used']:.1%} of it used, "
        f"{cut:.0%} less than at the start ({text(start['cost'])})"
        + ("; the machine was noisy" if one["noisy"] else ""),
        f"accuracy   test {one['test_accuracy']:.1%} ({one['test_low']:.1%} to {one['test_high']:.1%}, "
        f"{one['test_images']} images), validation {one['validation_accuracy']:.1%} {trained}; at the start "
        f"{start['accuracy']:.1%} of {start['images']} validation images",
        f"size       {one['params'] / 1e6:.2f} M parameters (from {start['params'] / 1e6:.2f}), "
        f"{one['macs'] / 1e6:.4g} M MACs (from {start['macs'] / 1e6:.4g})",
        f"files      {one['network']} and .safetensors",
    ]


def _next_steps(summary: dict[str, Any], folder: Path, data: str | None) -> list[str]:
    return [
        "Next:",
        f"  python -m studies {summary['study']}",
        f"  {grow_command({'data': data, 'seed': summary['settings']['seed']}, folder)}",
        f"  python -m searchspace.export {shlex.quote(str(folder / 'best.json'))}",
    ]


def plot(summary: dict[str, Any], path: Path) -> None:
    """Accuracy against cost: every proposal, the way taken, the budgets. Raises InvalidArgument, StorageError."""
    from studies.figure import new_figure, save_figure

    figure = new_figure(path)
    axes = figure.subplots()
    steps = summary.get("iterations", [])
    if steps:
        import studies

        df = studies.load(summary["study"])
        column = {"ms": "predicted_latency_ms"}.get(summary["unit"], summary["unit"])
        for status, colour, label in (
            ("stopped_early", "0.75", "offers, untrained"),
            ("trained", "tab:blue", "offers"),
        ):
            some = df[df["status"] == status]
            axes.scatter(some[column].astype(float), some["accuracy"].astype(float), s=9, color=colour, label=label)
        axes.plot(
            [one["cost"] for one in steps],
            [one["accuracy"] for one in steps],
            color="tab:orange",
            marker="o",
            markersize=3,
            label="taken",
        )
    for one in summary.get("budgets", []):
        axes.axvline(one["budget"], linestyle=":", color="gray")
        axes.plot([one["cost"]], [one["validation_accuracy"]], marker="*", markersize=11, color="tab:red")
    units = {"ms": "latency (ms)", "macs": "MACs", "params": "parameters"}
    axes.set(xlabel=units[summary["unit"]], ylabel="validation accuracy", title=summary["study"])
    axes.legend()
    save_figure(figure, path)
