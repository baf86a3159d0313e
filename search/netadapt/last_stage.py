"""Pruning as the last stage of a search: its winner, a little over the budget, comes down to it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from search.budget import CostModel, LatencyBudget
from search.console import Progress, TimeLeft
from search.data import Dataset
from search.latency.measurement import Measurement
from search.latency.runtimes import runtime_of
from search.netadapt.inputs import Given
from search.netadapt.job import Job, definition
from search.netadapt.settings import STAGE, Settings
from search.netadapt.timing import DeviceTimer, PairedTimer
from search.netadapt.variants import variants
from search.session import opened_study
from search.training.recipe import Recipe
from searchspace.errors import StudyMismatch
from searchspace.latency.table import LatencyTable
from searchspace.nn import Network, load_weights, read_weights
from searchspace.serialize import read_spec
from searchspace.spaces.space import SearchSpace
from studies.storage import folder

VARIANTS = 2


def refine_winner(
    network: Network,
    *,
    budget: LatencyBudget,
    fixed: bool,
    images: Dataset,
    recipe: Recipe,
    epochs: int,
    name: str,
    data: str | None,
    seed: int,
    space: SearchSpace,
    progress: Progress,
    late: Callable[[], bool] | None = None,
    timer: Callable[..., PairedTimer] = DeviceTimer,
) -> tuple[dict[str, Any], Network, Measurement, LatencyTable]:
    """A search's trained winner pruned to the budget and trained on: (what `Job.finish` says of it and how it was
    `refined`, the network, its measurement, the table that it was pruned by).

    `fixed`: the budget's table is taken as it is; else kernels of odd channel counts, which no network of the space
    has, are measured and added. `late` ends the last training with its epoch. It is the study `name`; one of other
    weights, or one that is damaged, is set aside. Raises InfeasibleBudget.
    """
    settings = Settings(
        network=Path(name),
        weights=Path(name),
        unit="ms",
        budgets=(budget.limit_ms,),
        data=data,
        epochs=epochs,
        seed=seed,
        study=name,
        **STAGE,
    )
    table = budget.table
    if not fixed:
        table = budget.device.table_for(
            space,
            networks=variants(network.spec, VARIANTS),
            progress=progress.update,
            note=progress.line,
            runtime=runtime_of(table.identity),
        )
    given = Given(network=network, about={}, images=images, seed=seed)
    define = definition(settings, given, table)
    own = budget.with_table(table)
    try:
        return *_run(settings, given, define, own, recipe, progress, fresh=False, late=late, timer=timer), table
    except StudyMismatch:
        return *_run(settings, given, define, own, recipe, progress, fresh=True, late=late, timer=timer), table


def _run(
    settings: Settings,
    given: Given,
    define: dict[str, Any],
    budget: LatencyBudget,
    recipe: Recipe,
    progress: Progress,
    *,
    fresh: bool,
    late: Callable[[], bool] | None,
    timer: Callable[..., PairedTimer],
) -> tuple[dict[str, Any], Network, Measurement]:
    with opened_study(settings.study_name, define, fresh=fresh) as study:
        cost_model = CostModel("ms", budget.table)
        job = Job(
            settings,
            given,
            cost_model,
            timer(budget.table, seed=given.seed) if budget.measures else None,
            study,
            progress,
            TimeLeft(),
            recipe,
            confidence=budget.confidence,
            late=late,
        )
        job.descend()
        summary = job.finish(always=True)  # a second measurement may find the winner within the budget
    winner = summary["winner"]
    path = folder(settings.study_name) / "best.json"
    network = load_weights(read_spec(path), read_weights(path.with_suffix(".safetensors"))).eval()
    refined = {
        "study": settings.study_name,
        "start_ms": summary["start"]["cost"],
        "iterations": winner["iteration"],
        "proposals": summary["proposals"],
        "timed": budget.measures,
    }
    measured = job.history.snapshot(settings.budgets[-1]).measured or budget.networks([network.spec])[0]
    return winner | {"refined": refined}, network, measured
