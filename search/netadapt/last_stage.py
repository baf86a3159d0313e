"""Pruning as the last stage of a search: its winner, a little over the budget, comes down to it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from search.budget import CostModel, LatencyBudget
from search.console import Progress
from search.data import Dataset
from search.latency.measurement import Measurement
from search.latency.runtimes import runtime_of
from search.netadapt.finish import finish
from search.netadapt.inputs import Inputs
from search.netadapt.job import Job, definition
from search.netadapt.pruner import prune
from search.netadapt.settings import LAST_STAGE, Settings
from search.netadapt.specs import PrunableSpec
from search.netadapt.timing import DeviceTimer, PairedTimer
from search.netadapt.variants import variants
from search.session import opened_study
from search.training.recipe import Recipe
from searchspace.errors import StudyMismatch
from searchspace.latency.table import LatencyTable
from searchspace.nn import Network, load_network
from searchspace.spaces.space import SearchSpace
from searchspace.spec import read_spec
from studies.storage import folder

VARIANTS = 2


@dataclass(frozen=True, kw_only=True)
class PrunedWinner:
    """A search's winner after pruning by `table`, not trained on; `pruning` says how it came there."""

    pruning: dict[str, Any]
    network: Network
    measured: Measurement
    table: LatencyTable


def prune_winner(
    network: Network,
    *,
    budget: LatencyBudget,
    fixed_table: bool,
    images: Dataset,
    recipe: Recipe,
    name: str,
    data: str | None,
    seed: int,
    augment: str,
    space: SearchSpace,
    progress: Progress,
    timer: Callable[..., PairedTimer] = DeviceTimer,
    pixels: int | None = None,
    too_late: Callable[[], bool] = lambda: False,
) -> PrunedWinner:
    """A search's trained winner pruned to the budget, as the study `name`; training on and testing are the caller's.

    fixed_table: The budget's table is taken as it is; else kernels of odd channel counts, which no network of the space
        has, are measured and added.
    timer: `timer(table, seed=...)` makes what times cuts.
    augment: What the recipe's variation of images is called, other than "auto".
    pixels: That proposals are compared and trained at; None for those of the images.
    too_late: Whether there is no time for another iteration.

    A study of this name that is of other weights, or damaged, is set aside. Raises InfeasibleBudget.
    """
    settings = Settings(
        network=Path(name),
        budget_ms=budget.limit_ms,
        data=data,
        epochs=0,
        seed=seed,
        augment=augment,
        class_weights=recipe.class_weights,
        study=name,
        **LAST_STAGE,
    )
    if not fixed_table:
        table = budget.device.table_for(
            space,
            networks=variants(network.spec, VARIANTS),
            progress=progress.update,
            note=progress.line,
            runtime=runtime_of(budget.table.identity),
        )
        budget = budget.with_table(table)
    inputs = Inputs(network=PrunableSpec(network), images=images, seed=seed, pixels=pixels)
    job = Job(
        settings,
        inputs,
        CostModel("ms", budget.table),
        timer(budget.table, seed=seed) if budget.measures else None,
        progress,
        recipe,
        confidence=budget.confidence,
        tests=False,
        too_late=too_late,
    )
    try:
        return _run(job, budget, fresh=False)
    except StudyMismatch:
        return _run(job, budget, fresh=True)


def _run(job: Job, budget: LatencyBudget, *, fresh: bool) -> PrunedWinner:
    name, about = job.settings.study_name, definition(job.settings, job.inputs, budget.table)
    with opened_study(name, about, fresh=fresh) as study:
        job = replace(job, study=study)
        prune(job)
        summary = finish(job, always=True)  # a second measurement may find the winner within the budget
    winner = summary["winner"]
    path = folder(name) / "best.json"
    network = load_network(read_spec(path), path.with_suffix(".safetensors"))
    pruning = {"study": name, "start_ms": summary["start"]["cost"], "iterations": winner["iteration"]}
    pruning |= {"proposals": summary["proposals"], "timed": budget.measures}
    measured = job.history.snapshot(budget.limit_ms).measured or budget.networks([network.spec])[0]
    return PrunedWinner(pruning=pruning, network=network, measured=measured, table=budget.table)
