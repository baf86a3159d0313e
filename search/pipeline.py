"""From flags to a winner: images, latency table, search, winner, files."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import optuna

from search import data as images
from search.baselines import run_baselines
from search.budget import CostModel, LatencyBudget
from search.candidates import PricedSpace
from search.console import Progress
from search.latency import table_for
from search.latency.runtimes import is_here, runtime
from search.loop import Clock, Search, make_pruner, make_sampler, measured_before, recover
from search.session import given_table, sole_runner, stored_settings
from search.settings import Settings, check_same
from search.training.trainer import Recipe
from search.winner import Winner, select_winner, write_winner
from searchspace import zoo
from searchspace.cost import costs
from searchspace.errors import InvalidChoice, InvalidData, PhinasError, StorageError
from searchspace.files import write_atomic
from searchspace.graph import lower
from searchspace.latency.table import LatencyTable, describe, read_table
from searchspace.spaces.encode import encode
from searchspace.spaces.mnasnet import KNOWN
from searchspace.spaces.space import Choices, SearchSpace
from studies.frame import TRIALS_CSV, read_summary, write_trials_csv
from studies.storage import DATABASE, LOCK, SUMMARY, open_study, set_aside
from studies.storage import folder as study_folder


def run_search(
    settings: Settings, *, fresh: bool, quiet: bool = False, baselines: Sequence[str] = ()
) -> dict[str, Any]:
    """The whole job of `python -m search.run`; gives the content of summary.json.

    `baselines` are names of the zoo that are trained like the winner when the search is done (search.baselines).
    Raises a PhinasError for anything the user can mend; KeyboardInterrupt passes with everything kept.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    settings.search_space(classes=2)  # a mistake in --space is told before images are read
    name = settings.study_name
    folder = study_folder(name)
    with sole_runner(folder):
        if fresh:
            set_aside(name)
        is_new = not (folder / DATABASE).exists()
        study, clock = _open(settings, name)
        try:
            with Progress(clock.left_s, quiet=quiet) as progress:
                return _run(settings, study, clock, progress, folder, baselines)
        except PhinasError:
            if is_new and not study.get_trials(deepcopy=False):
                _discard(folder)  # refused before it began: it would stand as an empty study in every list
            raise


def _run(
    settings: Settings, study: optuna.Study, clock: Clock, progress: Progress, folder: Path, baselines: Sequence[str]
) -> dict[str, Any]:
    name = study.study_name
    summary = _finished_already(study, settings, folder)
    if summary is not None:
        progress.line(f"the study {name!r} is finished; give more --minutes or --trials to go on")
    else:
        try:
            summary = _search(settings, study, clock, progress, folder)
        finally:
            study.set_user_attr("spent_s", clock.elapsed_s())
            write_trials_csv(name)
    if baselines:
        dataset, table = _inputs(settings, progress)
        now = {"data_fingerprint": dataset.fingerprint, "device": json.loads(json.dumps(table.identity))}
        now |= given_table(settings.latency, table)
        check_same(name, study.user_attrs["settings"], now)
        recipe = recipe_for(settings)
        budget = LatencyBudget(settings.budget_ms, table, confidence=settings.confidence)
        summary = run_baselines(summary, baselines, settings, dataset, recipe, budget, progress, folder)
    return summary


def _discard(folder: Path) -> None:
    """Take away what opening a study made; the folder stays if it holds anything else, or cannot be changed."""
    with suppress(OSError):
        for path in (*folder.glob(f"{DATABASE}*"), folder / TRIALS_CSV):
            path.unlink(missing_ok=True)
        if {path.name for path in folder.iterdir()} <= {LOCK}:
            (folder / LOCK).unlink(missing_ok=True)
            folder.rmdir()


def _inputs(settings: Settings, progress: Progress) -> tuple[images.Dataset, LatencyTable]:
    """Images and latency table of a finished study, from their caches."""
    dataset = _images(settings, progress)
    space = settings.search_space(classes=len(dataset.classes))
    return dataset, _table(space, settings, progress)


def _table(space: SearchSpace, settings: Settings, progress: Progress) -> LatencyTable:
    """The table of --latency, or this device's."""
    if settings.latency is not None:
        table = read_table(Path(settings.latency))
        if not is_here(table.identity):
            progress.line(
                f"nothing is measured: the table is of another device or setting ({describe(table.identity)})"
            )
        return table
    return table_for(
        space,
        seed=settings.seed,
        progress=progress.update,
        note=progress.line,
        runtime=runtime(settings.runtime, threads=settings.threads),
    )


def _images(settings: Settings, progress: Progress) -> images.Dataset:
    return images.load(
        settings.data,
        resolution=settings.proxy_resolution,
        seed=settings.seed,
        images=settings.images,
        progress=lambda done, total: progress.update(done / max(1, total), "reading images"),
    )


def _open(settings: Settings, name: str) -> tuple[optuna.Study, Clock]:
    study = open_study(name)
    stored = stored_settings(study)
    if stored is not None:
        check_same(name, stored, settings.identity())
    spent = float(study.user_attrs.get("spent_s", 0.0))
    return study, Clock(settings.time_limit_s, spent)


def _finished_already(study: optuna.Study, settings: Settings, folder: Path) -> dict[str, Any] | None:
    """The summary, if this command has run to its end and asks for no more than it had."""
    done = study.user_attrs.get("finished")
    if done is None or not (folder / SUMMARY).exists() or not (folder / "best.json").exists():
        return None
    asked = [settings.time_limit_s, settings.trials]
    more = [a is not None and (d is None or a > d) for a, d in zip(asked, done, strict=True)]
    if any(more):
        return None
    summary = read_summary(folder / SUMMARY)
    if not {"classes", "settings", "budget_ms", "trials", "spent_s"} <= summary.keys():
        raise StorageError(f"{folder / SUMMARY} is damaged: delete it, and this command writes it again")
    stored: dict[str, Any] = study.user_attrs["settings"]
    space = settings.search_space(classes=len(summary["classes"])).to_dict()
    check_same(study.study_name, stored, {"space": json.loads(json.dumps(space))})
    return {**summary, "study": study.study_name, "folder": str(folder)}  # it may have been renamed since


def _search(settings: Settings, study: optuna.Study, clock: Clock, progress: Progress, folder: Path) -> dict[str, Any]:
    if settings.latency is None:
        runtime(settings.runtime, threads=settings.threads)  # one that is not installed is told before images are read
    else:
        settings.check_table(read_table(Path(settings.latency)), settings.search_space(classes=2))
    dataset = _images(settings, progress)
    progress.line(
        f"images: {dataset.name}, {len(dataset.train)} to train and {len(dataset.validation)} to validate at "
        f"{dataset.resolution} px, {len(dataset.classes)} classes"
    )
    for note in dataset.notes:
        progress.line(note)
    if len(dataset.classes) < 2:
        raise InvalidData(f"a search needs at least 2 classes, got {len(dataset.classes)}")
    space = settings.search_space(classes=len(dataset.classes))
    progress.line(f"search space: {space.name}, {space.size():.3g} networks at {space.resolution} px")
    table = _table(space, settings, progress)
    progress.line(f"latency table: {len(table.kernels)} kernels, error {table.relative_error:.1%}")
    recipe = recipe_for(settings)
    _remember(study, settings, dataset, space, table, recipe)
    search = _prepare(settings, study, clock, progress, dataset, space, table, recipe)
    progress.left_s = search.left_s
    search.run()
    winner, module = select_winner(search, folder)
    write_winner(winner, module, folder, classes=dataset.classes, pixels=dataset.resolution, seed=settings.seed)
    summary = summarise(search, winner, dataset, folder)
    write_atomic(folder / SUMMARY, json.dumps(summary, indent=1))
    study.set_user_attr("finished", [settings.time_limit_s, settings.trials])
    return summary


def recipe_for(settings: Settings) -> Recipe:
    """The short training's recipe."""
    return Recipe.for_data(settings.data, epochs=settings.epochs)


def _remember(
    study: optuna.Study,
    settings: Settings,
    dataset: images.Dataset,
    space: SearchSpace,
    table: LatencyTable,
    recipe: Recipe,
) -> None:
    """Store what defines the study, or raise StudyMismatch if it was defined otherwise."""
    identity: dict[str, Any] = {
        **settings.identity(),
        "data_fingerprint": dataset.fingerprint,
        "space": space.to_dict(),
        "recipe": asdict(recipe),
        "device": json.loads(json.dumps(table.identity)),
    }
    identity |= given_table(settings.latency, table)
    identity = json.loads(json.dumps(identity))
    stored = stored_settings(study)
    if stored is None:
        versions = {package: version(package) for package in ("torch", "optuna", "numpy")}
        study.set_user_attr("settings", {**identity, "name": study.study_name, "versions": versions})
    else:
        check_same(study.study_name, stored, identity)


def _prepare(
    settings: Settings,
    study: optuna.Study,
    clock: Clock,
    progress: Progress,
    dataset: images.Dataset,
    space: SearchSpace,
    table: LatencyTable,
    recipe: Recipe,
) -> Search:
    cost_model = CostModel("ms", table)  # which estimates kernels that a table of another device lacks
    priced = PricedSpace(space, cost_model, confidence=settings.confidence)
    fastest = priced.fastest_within(settings.budget_ms)
    known, cut_off = recover(study)
    budget = LatencyBudget(
        settings.budget_ms,
        table,
        confidence=settings.confidence,
        overshoot=settings.overshoot,
        fastest_ms=fastest.latency_upper_ms,
        measured=measured_before(study, priced, table),
    )
    budget.check_reachable()
    goal = "the budget" if settings.overshoot == 1 else f"{settings.overshoot:g} times the budget"
    why = f"there they meet {goal} with a probability of {settings.confidence:.0%}"
    if not budget.is_confident:
        why = f"with a probability of {settings.confidence:.0%} none would do"
    progress.line(
        f"the fastest network takes {fastest.latency_ms:.1f} ms; candidates are kept within "
        f"{budget.prediction_limit_ms:.2f} ms: {why}"
    )
    if known or cut_off:
        progress.line(f"going on with {len(known)} networks tried before; {cut_off} cut off are run again")
    study.sampler = make_sampler(settings, priced, budget, known, _starts(space))
    study.pruner = make_pruner(recipe)
    return Search(study, settings, priced, dataset, recipe, budget, clock, progress, known)


def _starts(space: SearchSpace) -> list[Choices]:
    """The known and the published networks that are points of the space, each once."""
    parameters = space.parameters()
    inside = [
        space.canonical({key: value for key, value in choices.items() if key in parameters})
        for choices in KNOWN.values()
        if all(value in parameters.get(key, ()) for key, value in choices.items())
    ]
    for name in zoo.names():
        with suppress(InvalidChoice):
            inside.append(encode(space, zoo.get(name)))
    return list({space.spec(choices).fingerprint(): choices for choices in reversed(inside)}.values())[::-1]


def _measured(winner: Winner) -> dict[str, Any]:
    """What was measured of the winner; nothing where the table is of another device."""
    found = winner.measured
    if not found.rounds:
        return dict.fromkeys(("as_predicted", "measured_latency_ms", "measured_low_ms", "measured_high_ms", "noisy"))
    return {
        "as_predicted": winner.predicted_low_ms <= found.latency_ms <= winner.predicted_high_ms,
        "measured_latency_ms": found.latency_ms,
        "measured_low_ms": found.low_ms,
        "measured_high_ms": found.high_ms,
        "noisy": found.noisy,
    }


def summarise(search: Search, winner: Winner, dataset: images.Dataset, folder: Path) -> dict[str, Any]:
    """What summary.json holds: the winner, the study's counts, its settings."""
    trials = search.study.get_trials(deepcopy=False)
    counts: dict[str, int] = {}
    for trial in trials:
        status = str(trial.user_attrs.get("status", "running"))
        counts[status] = counts.get(status, 0) + 1
    sampler: Any = search.study.sampler
    own = costs(lower(winner.spec))
    tested = int(search.study.user_attrs.get("times_tested", 0)) + 1
    search.study.set_user_attr("times_tested", tested)
    return {
        "study": search.study.study_name,
        "folder": str(folder),
        "budget_ms": search.settings.budget_ms,
        "within_budget": winner.within_budget,
        "winner": {
            "trial": winner.trial,
            "fingerprint": winner.spec.fingerprint(),
            "params": own.params,
            "macs": own.macs,
            "predicted_latency_ms": winner.predicted_latency_ms,
            "predicted_low_ms": winner.predicted_low_ms,
            "predicted_high_ms": winner.predicted_high_ms,
            "estimated_layers": winner.estimated_layers,
            **_measured(winner),
            "search_accuracy": winner.search_accuracy,
            "validation_accuracy": winner.validation_accuracy,
            "test_accuracy": winner.test_accuracy,
            "test_low": winner.test_low,
            "test_high": winner.test_high,
            "test_images": winner.test_images,
            "epochs": winner.epochs,
        },
        "correction": {"networks": search.budget.learnt_from, "factor": search.budget.correction},
        "refined": winner.refined,
        "rejected": list(winner.rejected),
        "trials": counts,
        "priced_and_rejected": dict(sampler.rejected),
        "times_tested": tested,
        "spent_s": round(search.clock.elapsed_s(), 1),
        "resolution": search.settings.resolution,
        "proxy_resolution": dataset.resolution,
        "classes": list(dataset.classes),
        "skipped_images": list(dataset.skipped),
        "threads": search.budget.table.identity["threads"],
        "finished_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "settings": search.study.user_attrs["settings"],
    }
