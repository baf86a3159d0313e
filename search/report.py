"""The report at the end of a search, as text."""

import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

from search.differences import flag_of
from search.latency.runtimes import runtime_info
from search.settings import NO_WEIGHTS, Settings
from search.sizes import SizeLimits
from searchspace.describe import stage_table
from searchspace.preprocessing import Preprocessing
from searchspace.report import count_text, interval_text, ms_text, next_steps, paragraphs, percent_text, table
from searchspace.report import fields as labelled
from searchspace.spec import read_spec
from studies.storage import BEST

BALANCED = "test_balanced_accuracy"  # see search.training.balance


def report(summary: dict[str, Any]) -> str:
    """What a person reads: the winner stage by stage, accuracy, latency, size, files, next commands."""
    folder = Path(summary["folder"])
    return "\n" + paragraphs(
        f"Winner of {summary['study']}: trial {summary['winner']['trial']}{_named(summary['winner'])}",
        stage_table(read_spec(folder / BEST)),
        labelled(
            [
                *_accuracy(summary),
                *latency_rows(summary),
                *_weights(summary),
                *_contest(summary),
                *training_rows(summary),
                *_search(summary),
            ]
        ),
        _baselines(summary),
        f"Written to {folder}/: best.json (network), best.safetensors (weights), trials.csv, summary.json",
        next_steps(_next_steps(summary, folder)),
    )


def _named(winner: dict[str, Any]) -> str:
    return f", {winner['network']}" if winner.get("network") else ""


def _accuracy(summary: dict[str, Any]) -> list[tuple[str, str]]:
    winner = summary["winner"]
    interval = interval_text(winner["test_low"], winner["test_high"], percent_text)
    pixels = winner.get("tested_at_px", summary["proxy_resolution"])  # before there was no other size
    text = (
        f"test {percent_text(winner['test_accuracy'])} (95 % interval {interval}, {winner['test_images']} images), "
        f"validation {percent_text(winner['validation_accuracy'])}, at {pixels} px"
    )
    rows = [("accuracy", text)]
    if winner.get("trained_at_px", pixels) != pixels:
        rows.append(
            (
                "",
                f"trained at {winner['trained_at_px']} px, where validation was "
                f"{percent_text(winner['accuracy_at_training_px'])}",
            )
        )
    rows += balance_rows(winner)
    times = summary["times_tested"]
    if times > 1:
        rows.append(("", f"the test images have now been used {times} times (once per extension)"))
    return rows


def _weights(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """Where the winner's weights began, and how an image becomes its input."""
    winner, found = summary["winner"], summary.get("weights")
    rows = []
    if found:
        each = found.split("; ")  # the winner began as one of them
        own = next((text for text in each if text.startswith(f"{winner['parent']} (")), winner["parent"])
        rows = [("weights", f"{own}, fine-tuned")]
    if summary.get("preprocessing"):
        how = Preprocessing.from_dict(summary["preprocessing"]).sentence()
        rows.append(("input", f"{how}, at {winner.get('tested_at_px', summary['resolution'])} px"))
    return rows


def latency_rows(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """What the winner measured, what was predicted of it, and whether the promise held."""
    winner, budget = summary["winner"], f"the budget of {summary['budget_ms']:g} ms"
    held = f"{'within' if summary['within_budget'] else 'NOT within'} {budget}"
    where = f"at {summary['resolution']} px, {_runtime(summary)}"
    layers = winner.get("estimated_layers", 0)
    estimated = f", {layers} of its layers estimated" if layers else ""
    predicted = (
        f"predicted {ms_text(winner['predicted_latency_ms'])} ms "
        f"({interval_text(winner['predicted_low_ms'], winner['predicted_high_ms'])} in 9 of 10 networks{estimated})"
    )
    if winner["measured_latency_ms"] is None:
        return [
            ("latency", f"{predicted} {where}: {held}"),
            ("", "not measured: the table is of another device or setting"),
        ]
    noisy = "; the machine was noisy" if winner["noisy"] else ""
    learnt = summary.get("correction", {"networks": 0, "factor": 1.0})
    after = f"; corrected by {learnt['factor'] - 1:+.1%} after {learnt['networks']} measured"
    correction = after if learnt["networks"] else ""
    measured = (
        f"measured {ms_text(winner['measured_latency_ms'])} ms "
        f"({interval_text(winner['measured_low_ms'], winner['measured_high_ms'])})"
    )
    verdict = "as predicted" if winner["as_predicted"] else "outside the prediction"
    return [("latency", f"{measured} {where}: {held}{noisy}"), ("", f"{predicted}: {verdict}{correction}")]


def _runtime(summary: dict[str, Any]) -> str:
    device = summary["settings"].get("device") or {}
    threads = device.get("threads", summary.get("threads", 1))
    name = device.get("runtime") or runtime_info(summary["settings"].get("runtime", "eager")).title
    return f"{name}, {threads} thread{'s' if threads > 1 else ''}"


def _contest(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """What decided between tied finalists, and how the winner stands to the best published network of the study."""
    rows, contest, published = [], summary.get("contest"), summary.get("published")
    if contest:
        each = ", ".join(
            f"{row['network'] or 'trial ' + str(row['trial'])} {percent_text(row['expected'])} ± "
            f"{100 * row['deviation']:.1f}"
            + (f", then {percent_text(after)}" if (after := row["contest_accuracy"]) is not None else "")
            for row in contest["tied"]
        )
        rows += [("chosen", f"{contest['decided_by']}, of those tied with the best:"), ("", each)]
    if published and published["is_winner"]:
        rows.append(("", f"the published network {published['network']} is the winner"))
    elif published:
        where = "in the contest" if published["judged"] == "contest" else "as candidates were judged"
        stands = f"{100 * published['behind']:+.1f} points to the best published network, {published['network']}"
        rows.append(("", f"{stands}, {where}"))
    return rows


def balance_rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    """The accuracy that counts classes alike, where they are of very different sizes."""
    if BALANCED not in found:
        return []
    (large, most), (small, least) = found["largest_class"], found["smallest_class"]
    text = f"balanced: test {percent_text(found[BALANCED])}, the mean over the classes"
    return [("", f"{text}, of which {large!r} has {most} training images and {small!r} {least}")]


def training_rows(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """How training images were varied, and why; whether the winner's training ended early."""
    found, winner = summary.get("augmentation"), summary.get("winner", {})
    rows = [("varied", f"{found['augment']}: {found['why']}")] if found else []
    if winner.get("stopped_early"):
        early = f"after {winner['trained_s']:.0f} s, as the validation images could not show what was left to gain"
        rows.append(("trained", f"ended early, {early}"))
    return rows


def _search(summary: dict[str, Any]) -> list[tuple[str, str]]:
    winner, trials = summary["winner"], summary["trials"]
    rows = [
        (
            "size",
            f"{count_text(winner['params'])} parameters, {count_text(winner['macs'])} MACs at "
            f"{summary['resolution']} px",
        ),
        *_memory(summary),
        (
            "search",
            f"{trials.get('trained', 0)} networks judged, {trials.get('stopped_early', 0)} stopped early, "
            f"{trials.get('failed', 0)} failed; {summary['priced_and_rejected'].get('over_budget', 0)} proposals over "
            f"the budget never trained; {summary['spent_s'] / 60:.1f} minutes",
        ),
    ]
    if (gain := summary.get("expected_gain")) is not None:
        rows.append(("", f"one more candidate is expected to gain {100 * gain:.2f} points"))
    rows += [
        ("", f"trial {row['trial']} was better but takes {_ms(row)} ms: passed over") for row in summary["rejected"]
    ]
    if refined := summary.get("refined"):
        timed = ", each step measured to be no slower" if refined.get("timed", True) else ""
        steps = f"{refined['iterations']} steps ({refined['proposals']} proposals)"
        text = f"from {ms_text(refined['start_ms'])} ms in {steps}{timed}: python -m studies {refined['study']}"
        rows.append(("pruning", text))
    return rows


def _memory(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """Flash and RAM, and the limits that were kept."""
    winner, limits = summary["winner"], SizeLimits.of(summary["settings"])
    if "flash_kb" not in winner:  # before, nobody counted them
        return []
    text = (
        f"flash {winner['flash_kb']:g} KB for the weights, RAM {winner['ram_kb']:g} KB for the activations of an image"
    )
    return [("", text + (f", within {limits.text()}" if limits.given else ""))]


def _ms(row: dict[str, Any]) -> str:
    """Measured, or predicted where nothing is measured."""
    return ms_text(row.get("measured_latency_ms") or row["predicted_latency_ms"])


def _baselines(summary: dict[str, Any]) -> str:
    if not summary.get("baselines"):
        return ""
    name = f"winner: trial {summary['winner']['trial']}"
    winner = {"resolution": summary["resolution"], **summary["winner"], "name": name, "status": "trained"}
    rows = [row for row in (winner, *summary["baselines"]) if row["status"] == "trained"]
    rows.sort(key=lambda row: -row["test_accuracy"])
    balanced = BALANCED in winner
    kind = "measured" if winner["measured_latency_ms"] is not None else "predicted"
    cells = [
        [
            row["name"],
            f"{row['width']:g}" if "width" in row else "-",
            str(row.get("resolution", summary["resolution"])),
            count_text(row["params"]),
            count_text(row["macs"]),
            _ms(row),
            percent_text(row["test_accuracy"]),
            interval_text(row["test_low"], row["test_high"], percent_text),
            *([percent_text(row[BALANCED]) if BALANCED in row else "-"] if balanced else []),
            *_versus(row),
        ]
        for row in rows
    ]
    heads = ["network", "width", "px", "params", "MACs", f"{kind} ms", "test", "95 % interval"]
    heads += [*(["balanced"] if balanced else []), "to the winner", "it is"]
    others = [f"{row['name']}: {row['status']}" for row in summary["baselines"] if row["status"] != "trained"]
    return paragraphs(
        _verdict(summary, [row["versus_winner"] for row in rows if "versus_winner" in row]),
        table(heads, cells, text_columns=(0, len(heads) - 1)) + (f"\nleft out: {'; '.join(others)}" if others else ""),
    )


def _versus(row: dict[str, Any]) -> list[str]:
    """The difference to the winner in points with its interval, and the verdict."""
    found = row.get("versus_winner")
    if found is None:
        return ["-", "-"]
    value, low, high = (f"{100 * found[name]:+.1f}" for name in ("value", "low", "high"))
    return [f"{value} ({low} to {high})", found["verdict"]]


def _verdict(summary: dict[str, Any], found: list[dict[str, Any]]) -> str:
    """One sentence that says whether the search was worth it, and by what."""
    better, tied, worse = (sum(each["verdict"] == verdict for each in found) for verdict in ("better", "tied", "worse"))
    how = "fine-tuned from their own weights" if summary.get("weights") else "trained from scratch"
    paired = all(each["paired"] for each in found)
    by = "paired on the same test images (McNemar's counts)" if paired else "of two accuracies, not paired"
    return (
        f"Of {len(found)} published networks within the same budget, {how} for {summary['spent_s'] / 60:.1f} minutes "
        f"each, as long as the whole search: {better} better than the winner, {tied} tied with it, {worse} worse, by "
        f"the 95 % interval of the difference, {by}; one seed."
    )


def _next_steps(summary: dict[str, Any], folder: Path) -> list[str]:
    settings, best = summary["settings"], shlex.quote(str(folder / BEST))
    again = command(settings, study=summary["study"])
    minutes = max(30, round(summary["spent_s"] / 60) * 3)
    steps = [
        f"python -m studies {summary['study']}",
        f"python -m search.netadapt --network {best}{_source(settings)} {_runtime_flag(settings)}"
        f"--budget-ms {0.75 * summary['budget_ms']:.3g}",
        grow_command(settings, folder),
        f"python -m searchspace.export {best}",
        f"{again} --minutes {minutes}",
    ]
    compared = "--baselines best" if summary.get("weights") else "--baselines"
    return steps if summary.get("baselines") else [*steps, f"{again} {compared}"]


def _source(settings: dict[str, Any]) -> str:
    data, weights = settings.get("data"), settings.get("class_weights", NO_WEIGHTS)
    source = f" --data {shlex.quote(str(data))}" if data else ""
    return source if weights == NO_WEIGHTS else f"{source} --class-weights {weights}"


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
    effort = "--epochs 20" if settings.get("weights", "none") == "none" else "--minutes 20"  # as the winner learnt
    return f"python -m scaling.compound --phi 1 --network {spec} --inherit {weights} {effort}{source} --out {out}"


def command(settings: dict[str, Any], *, study: str) -> str:
    """The command line that goes on with a study of these settings; what is at its default is left out."""
    words = ["python -m search.run"]
    one_budget = bool(settings.get("pareto")) or not settings.get("budgets_ms")
    for field in fields(Settings):
        value = settings.get(field.name, field.default)
        if field.name == ("budgets_ms" if one_budget else "budget_ms"):
            continue
        if value != field.default and field.name != "study":
            if field.name == "ema":
                words.append("--ema" if value else "--no-ema")
                continue
            text = ",".join(map(_text, value)) if isinstance(value, list) else _text(value)
            flag = flag_of(field.name)
            words.append(f"{flag} {shlex.quote(text)}")
    return " ".join([*words, f"--study {study}"])


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)
