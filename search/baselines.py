"""Was the search worth it? Published networks that meet the same budget, trained exactly as the winner was.

Each network of the zoo is taken as it is if it measures within the budget, and otherwise at the largest width
multiplier that does. It is trained with the winner's recipe, epochs, seed and images, and tested once, after training.
Every result is in the study's baselines.json before the next training begins; a training that is cut off goes on at
its last epoch.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from search.budget import LatencyBudget
from search.console import Progress, clock_text
from search.latency import Measurement
from search.settings import Settings
from search.training.errors import OutOfMemory, TrainingFailed
from search.training.evaluate import Accuracy
from search.training.trainer import Trainer
from searchspace import zoo
from searchspace.cost import costs
from searchspace.errors import InvalidSpec, MissingLatency, StorageError
from searchspace.files import read_json, write_atomic
from searchspace.graph import lower
from searchspace.nn import build
from searchspace.spec import NetworkSpec
from studies.storage import SUMMARY

if TYPE_CHECKING:
    from search.data import Dataset

BASELINES = "baselines.json"
WIDTH_STEP = 0.05
Fitting = tuple[NetworkSpec, float, Measurement]  # the network, its width multiplier, its latency


def run_baselines(
    summary: dict[str, Any],
    names: Sequence[str],
    settings: Settings,
    dataset: Dataset,
    trainer: Trainer,
    budget: LatencyBudget,
    progress: Progress,
    folder: Path,
) -> dict[str, Any]:
    """Train the zoo networks `names` as the winner of `summary` was; the summary with its "baselines", best first.

    summary.json is written anew with them. Raises a PhinasError as search and training do.
    """
    trainer = trainer.with_recipe(replace(trainer.recipe, epochs=summary["winner"]["epochs"]))
    effort = {
        "epochs": trainer.recipe.epochs,
        "seed": settings.seed,
        "data": dataset.fingerprint,
        "device": json.loads(json.dumps(budget.table.identity)),
        **({} if budget.measures else {"kernels": len(budget.table.kernels), "error": budget.table.relative_error}),
    }
    path = folder / BASELINES
    runs = _stored(path)
    run = next((run for run in runs if run["effort"] == effort), None)
    if run is None:
        run = {"effort": effort, "networks": {}}
        runs.append(run)
    done: dict[str, Any] = run["networks"]
    missing = [name for name in names if name not in done]
    seconds: list[float] = []
    progress.left_s = lambda: None  # the search's clock has run out; these have their own
    strange = {name for name in missing if not _known(name, settings, len(dataset.classes), budget)}
    known = [name for name in missing if name not in strange]
    fitting = fit_to_budget(known, settings, len(dataset.classes), budget, progress) if known else {}
    for place, name in enumerate(missing):
        began = time.monotonic()
        progress.left_s = partial(_left_s, seconds, len(missing) - place, began)
        fitted = fitting.get(name)
        if name in strange:
            done[name] = {"name": name, "status": "the latency table has no kernels like some of its"}
        elif fitted is None:
            done[name] = {"name": name, "status": f"no width meets {budget.limit_ms:g} ms"}
        else:
            done[name] = _train_one(name, fitted, trainer, dataset, progress, folder)
            seconds.append(time.monotonic() - began)
        write_atomic(path, json.dumps(runs, indent=1))
    rows = sorted((done[name] for name in names), key=lambda row: -row.get("test_accuracy", -1.0))
    summary = {**summary, "baselines": rows}
    write_atomic(folder / SUMMARY, json.dumps(summary, indent=1))
    return summary


def _stored(path: Path) -> list[dict[str, Any]]:
    """What earlier runs wrote: one entry for each effort that baselines were trained with. Raises StorageError."""
    runs = read_json(path) if path.exists() else []
    if not isinstance(runs, list) or not all(
        isinstance(run, dict) and {"effort", "networks"} <= run.keys() for run in runs
    ):
        raise StorageError(
            f"{path} must be what --baselines wrote and is not: restore it from a copy, or delete it to train anew"
        )
    return runs


def _left_s(seconds: Sequence[float], networks: int, began: float) -> float | None:
    """Seconds for `networks` more, the first of them begun at `began`, by what those before took; None before any."""
    if not seconds:
        return None
    return max(0.0, networks * sum(seconds) / len(seconds) - (time.monotonic() - began))


def fit_to_budget(
    names: Sequence[str], settings: Settings, classes: int, budget: LatencyBudget, progress: Progress
) -> dict[str, Fitting | None]:
    """For each name the network at the largest width of a grid of 0.05, at most 1, that measures within the budget.

    EfficientNet-B1 to B7 are B0 grown, so they are not narrowed: one that is over the budget is left out (None). All
    networks of a step are measured in one interleaved run. By bisection: five steps.
    """
    steps = round(1 / WIDTH_STEP)
    low, high = dict.fromkeys(names, 0), dict.fromkeys(names, steps + 1)  # in grid steps: fits, does not fit
    asking = dict.fromkeys(names, steps)
    best: dict[str, Fitting | None] = dict.fromkeys(names)
    while asking:
        specs = {name: _spec(name, step * WIDTH_STEP, settings, classes) for name, step in asking.items()}
        built = {name: spec for name, spec in specs.items() if spec is not None}
        found = dict(zip(built, budget.networks(list(built.values()), seconds=1.0 + 0.4 * len(built)), strict=True))
        for name, step in asking.items():
            spec, one = specs[name], found.get(name)
            if spec is None or one is None:
                low[name] = step  # too narrow to be built
            elif one.high_ms <= budget.limit_ms:
                low[name], best[name] = step, (spec, round(step * WIDTH_STEP, 2), one)
            else:
                high[name] = 0 if zoo.is_grown(name) else step
        asking = {name: (low[name] + high[name]) // 2 for name in names if high[name] - low[name] > 1}
        widest = max((high[name] - low[name] for name in asking), default=1)
        progress.update(1 - widest / (steps + 1), "finding the widths that meet the budget")
    return best


def _known(name: str, settings: Settings, classes: int, budget: LatencyBudget) -> bool:
    """Whether it can be told how long the network takes: a table of another device may lack kinds of kernels."""
    spec = _spec(name, 1.0, settings, classes)
    try:
        return budget.measures or spec is None or bool(budget.networks([spec]))
    except MissingLatency:
        return False


def _spec(name: str, width: float, settings: Settings, classes: int) -> NetworkSpec | None:
    try:
        return zoo.get(name, width=width, resolution=settings.resolution, classes=classes)
    except InvalidSpec:
        return None


def _train_one(
    name: str, fitted: Fitting, trainer: Trainer, dataset: Dataset, progress: Progress, folder: Path
) -> dict[str, Any]:
    """One row of the comparison. A training that diverges or finds no memory is a result too."""
    spec, width, measured = fitted
    cost, kind = costs(lower(spec)), "measured" if measured.rounds else "predicted"
    epochs = trainer.recipe.epochs
    row: dict[str, Any] = {
        "name": name,
        "width": width,
        "fingerprint": spec.fingerprint(),
        "params": cost.params,
        "macs": cost.macs,
        "epochs": epochs,
        f"{kind}_latency_ms": measured.latency_ms,
        f"{kind}_low_ms": measured.low_ms,
        f"{kind}_high_ms": measured.high_ms,
    }
    what = f"baseline {name}, width {width:g}, {measured.latency_ms:.1f} ms"
    progress.line(f"{what}: training for {epochs} epochs")
    state_file = folder / f"baseline-{row['fingerprint']}-{epochs}.ckpt"
    module = build(spec, generator=torch.Generator().manual_seed(trainer.seed))
    try:
        outcome = trainer.fit(
            module, state_file=state_file, on_step=lambda step, steps: progress.update(step / steps, what)
        )
    except TrainingFailed as error:
        progress.line(f"{what}: {error}")
        return {**row, "status": "out of memory" if isinstance(error, OutOfMemory) else "diverged"}
    test = Accuracy.of(module, dataset.open_test())
    state_file.unlink(missing_ok=True)
    progress.line(f"{what}: test {test.value:.1%} after {clock_text(outcome.seconds)}")
    return {
        **row,
        "status": "trained",
        "train_s": outcome.seconds,
        "validation_accuracy": outcome.accuracy,
        **test.as_test(),
    }
