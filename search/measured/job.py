"""From a table of measured networks to the best one within a budget: study, files, report. Nothing is trained."""

import time
from pathlib import Path
from typing import Any

import optuna

from search.console import Progress, TimeLeft
from search.measured.networks import MeasuredNetworks, read_measured
from search.measured.search import Found, TableSearch
from search.samplers.network_sampler import distributions
from search.session import opened_study
from searchspace.cost import costs
from searchspace.describe import stage_table
from searchspace.files import write_json
from searchspace.graph import lower
from searchspace.report import fields, interval_text, ms_text, next_steps, paragraphs, percent_text, table
from searchspace.spec import NetworkSpec, read_spec, write_spec
from studies.frame import read_summary, write_trials_csv
from studies.schema import Status, TrialRecord
from studies.storage import BEST, SUMMARY
from studies.storage import folder as study_folder


def search_table(
    path: str | Path,
    *,
    budget_ms: float,
    latency_column: str,
    accuracy_column: str,
    confidence: float,
    seed: int,
    study: str | None = None,
    fresh: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Search the space of a table's networks; the content of summary.json. A finished study is not searched again.

    Raises StorageError, InvalidTable, InfeasibleBudget, StudyMismatch.
    """
    clock = TimeLeft()
    with Progress(clock.left_s, quiet=quiet) as progress:
        networks = read_measured(path)
        progress.line(f"{len(networks.choices)} measured networks of a space of {networks.space.size():.3g}")
        for note in networks.notes:
            progress.line(note)
        name = study or f"{Path(path).stem}-{latency_column}-{budget_ms:g}ms"
        about = {
            "table_sha256": networks.digest,
            "latency_column": latency_column,
            "accuracy_column": accuracy_column,
            "budget_ms": budget_ms,
            "confidence": confidence,
            "seed": seed,
        }
        with opened_study(name, about, fresh=fresh) as opened:
            if finished := _finished(study_folder(name)):
                progress.line(f"{name} is finished; --fresh searches anew")
                return finished
            progress.line("learning from them")
            search = TableSearch.of(
                networks, accuracy=accuracy_column, latency=latency_column, limit_ms=budget_ms, confidence=confidence
            )
            for what, surrogate in ((accuracy_column, search.accuracy), (latency_column, search.latency)):
                fit = surrogate.fit
                progress.line(
                    f"{what}: learnt from {fit.networks} networks, Kendall tau {fit.tau:.3f} on those left out"
                )
            found = search.run(seed, on_progress=lambda share: progress.update(clock.at(share), "searching"))
            summary = _written(opened, networks, search, found, about)
    return summary


def _finished(folder: Path) -> dict[str, Any]:
    """The summary of a search that came to its end; empty if there is none."""
    if not ((folder / BEST).exists() and (folder / SUMMARY).exists()):
        return {}
    return read_summary(folder / SUMMARY) | {"folder": str(folder)}


def _written(
    study: optuna.Study, networks: MeasuredNetworks, search: TableSearch, found: list[Found], about: dict[str, Any]
) -> dict[str, Any]:
    """Store the networks as trials, and the best one's files; gives the summary."""
    folder, space = study_folder(study.study_name), networks.space
    known = {trial.user_attrs.get("fingerprint") for trial in study.get_trials(deepcopy=False)}
    for each in found:
        spec = space.spec(each.choices)
        if spec.fingerprint() not in known:
            study.add_trial(_trial(each, spec, search))
    best = space.spec(found[0].choices, name=f"{study.study_name}-best"[:80])
    trials = {trial.user_attrs.get("fingerprint"): trial.number for trial in study.get_trials(deepcopy=False)}
    summary = {
        "study": study.study_name,
        "folder": str(folder),
        "kind": "table",
        "table": str(networks.path),
        "networks": len(networks.choices),
        "settings": about,
        "budget_ms": search.limit_ms,
        "fits": {"accuracy": search.accuracy.fit._asdict(), "latency": search.latency.fit._asdict()},
        "winner": {"trial": trials[best.fingerprint()], "accuracy": found[0].accuracy},
        "found": [vars(each) for each in found],
        "best_measured": _best_measured(search),
        "finished_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    write_spec(folder / BEST, best)
    write_json(folder / SUMMARY, summary)
    write_trials_csv(study.study_name)
    return summary


def _trial(each: Found, spec: NetworkSpec, search: TableSearch) -> optuna.trial.FrozenTrial:
    cost = costs(lower(spec))
    record = TrialRecord(
        status=Status.TRAINED,
        choices=each.choices,
        spec=spec.to_json(),
        fingerprint=spec.fingerprint(),
        params=cost.params,
        macs=cost.macs,
        predicted_latency_ms=each.latency_ms,
        predicted_low_ms=each.latency_low_ms,
        predicted_high_ms=each.latency_high_ms,
        measured_latency_ms=each.measured_latency_ms,
        accuracy=each.accuracy,
        reward=each.accuracy,
    )
    known = distributions(search.networks.space)
    params = {name: value for name, value in each.choices.items() if name in known}
    return optuna.trial.create_trial(
        params=params,
        distributions={name: known[name] for name in params},
        value=each.accuracy,
        user_attrs=record.to_attrs(),
    )


def _best_measured(search: TableSearch) -> dict[str, float] | None:
    """The most accurate network of the table itself that is within the limit."""
    rows = zip(search.accuracies, search.latencies_ms, strict=True)
    inside = [(float(accuracy), float(ms)) for accuracy, ms in rows if ms <= search.limit_ms and accuracy == accuracy]
    return None if not inside else dict(zip(("accuracy", "latency_ms"), max(inside), strict=True))


def report(summary: dict[str, Any]) -> str:
    """What a person reads: the best network, what is expected of it, the others, what to do next."""
    folder, about, fits = Path(summary["folder"]), summary["settings"], summary["fits"]
    rows = [
        (
            percent_text(each["accuracy"]),
            interval_text(each["accuracy_low"], each["accuracy_high"], percent_text),
            ms_text(each["latency_ms"]),
            interval_text(each["latency_low_ms"], each["latency_high_ms"]),
            "measured" if each["measured_accuracy"] is not None else "",
        )
        for each in summary["found"][:10]
    ]
    headers = (about["accuracy_column"], "95 % interval", "ms", "95 % interval", "in the table")
    best, measured = summary["found"][0], summary["best_measured"]
    beside = "none is within the budget"
    if measured:
        beside = f"{percent_text(measured['accuracy'])} at {ms_text(measured['latency_ms'])} ms"
    pairs = [
        ("expected", f"{percent_text(best['accuracy'])} {about['accuracy_column']}, {ms_text(best['latency_ms'])} ms"),
        ("budget", f"{summary['budget_ms']:g} ms of {about['latency_column']}"),
        ("the table's best", beside),
        (
            "surrogates",
            f"Kendall tau {fits['accuracy']['tau']:.3f} and {fits['latency']['tau']:.3f}, errors "
            f"{100 * fits['accuracy']['rmse']:.2f} points and {fits['latency']['rmse']:.3g} ms (networks left out)",
        ),
    ]
    return "\n" + paragraphs(
        f"Best of {summary['study']}",
        stage_table(read_spec(folder / BEST)),
        fields(pairs),
        table(headers, rows, text_columns=(4,), title="The ten best, as predicted:"),
        f"Written to {folder}/: best.json (network), trials.csv, summary.json. Nothing was trained or measured.",
        next_steps(
            [
                (f"python -m search.finetune --network {folder / BEST} --data YOUR_IMAGES", "train it on your images"),
                (f"python -m scaling.compound --phi 1 --network {folder / BEST}", "a larger one"),
            ]
        ),
    )
