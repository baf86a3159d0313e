"""A pruning under way: from settings and inputs to a network within each budget."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import torch

from search.budget import DEFAULT_CONFIDENCE, CostModel
from search.console import Progress, TimeLeft
from search.netadapt.history import History, StoredHistory
from search.netadapt.inputs import Inputs
from search.netadapt.plan import Plan
from search.netadapt.pruner import Pruner
from search.netadapt.screen import SCREEN_IMAGES
from search.netadapt.settings import Settings
from search.netadapt.short_training import Serial, ShortTraining, Workers, short_recipe
from search.netadapt.timing import PairedTimer
from search.netadapt.trials import add_trials
from search.session import given_table
from search.training.augmentation import weights_metadata
from search.training.recipe import Recipe
from searchspace.channels.groups import in_the_way
from searchspace.latency.table import LatencyTable
from searchspace.nn import network_bytes
from studies.storage import folder

PRUNING_SHARE = 0.75  # of the progress bar


def definition(settings: Settings, inputs: Inputs, table: LatencyTable | None) -> dict[str, Any]:
    """What defines the study of a spec: another pruning under its name must agree in all of it."""
    network = inputs.network
    found = {
        **settings.identity(),
        "kind": "netadapt",
        "seed": inputs.seed,
        "resolution": network.graph.in_shape[1],
        "proxy_resolution": inputs.images.resolution,
        "network": network.fingerprint,
        "weights": hashlib.sha256(network_bytes(network.module, {})).hexdigest()[:16],
        "data_fingerprint": inputs.images.fingerprint,
        "threads": torch.get_num_threads() if table else None,
        "device": None if table is None else dict(table.identity),
        "table": None,
        **given_table(settings.latency, table),
    }
    return found | ({"budget_ms": settings.limits[-1]} if settings.unit == "ms" else {})


@dataclass
class Job:
    """A pruning under way.

    Attributes:
        study: Where it is kept; None for a user's own module, of which nothing is kept.
        confidence: See Plan.
        late: Whether the time is over. The long training ends with its epoch then.
    """

    settings: Settings
    inputs: Inputs
    cost_model: CostModel
    timer: PairedTimer | None
    progress: Progress
    recipe: Recipe
    study: optuna.Study | None = None
    clock: TimeLeft = field(default_factory=TimeLeft)
    confidence: float = DEFAULT_CONFIDENCE
    late: Callable[[], bool] | None = None

    def __post_init__(self) -> None:
        self.history = History()
        self.folder: Path | None = None
        if self.study is not None:
            self.folder = folder(self.study.study_name)
            self.history = StoredHistory(self.folder, keep_all=self.settings.family, about=self.about_weights())
            if self.settings.family and self.history.lost:
                self.progress.line(
                    "the study was begun without --family: the weights of its earlier iterations are gone"
                )

    def prune(self) -> None:
        """Down to the smallest budget. Raises InfeasibleBudget."""
        for name, why in self.fixed().items():
            self.progress.line(f"{name} is not pruned: {why}")
        with self._short_training() as train:
            pruner = Pruner(
                self.plan(),
                self.inputs.images,
                self.history,
                timer=self.timer,
                train=train,
                progress=lambda share, what: self.progress.update(self.clock.at(PRUNING_SHARE * share), what),
                line=self.progress.line,
                committed=lambda _: self._add_trials(),
            )
            self._add_trials()
            pruner.run(self.inputs.network)

    def plan(self) -> Plan:
        """What the settings ask for."""
        settings = self.settings
        step, decay = settings.reduction
        return Plan(
            cost_model=self.cost_model,
            budgets=settings.limits,
            moves=settings.moves,
            criterion=settings.criterion,
            by_ratio=settings.algorithm == "mobilenetv3",
            step=step,
            decay=decay,
            shortlist=settings.shortlist,
            trains=settings.short_steps > 0,
            images=settings.validation_images,
            screen_images=min(SCREEN_IMAGES, settings.validation_images),
            seed=self.inputs.seed,
            confidence=self.confidence,
        )

    def fixed(self) -> dict[str, str]:
        """The channel groups that cannot be pruned, and why."""
        return in_the_way(self.inputs.network.groups())

    def about_weights(self) -> dict[str, Any]:
        """What is written beside weights, the fingerprint apart."""
        return weights_metadata(self.inputs.images, seed=self.inputs.seed)

    def _add_trials(self) -> None:
        if self.study is not None:
            add_trials(self.study, self.history, self.cost_model)

    @contextmanager
    def _short_training(self) -> Iterator[ShortTraining]:
        settings, images = self.settings, self.inputs.images
        recipe = short_recipe(self.recipe, max(1, settings.short_steps), len(images.train))
        if settings.workers == 1:
            yield Serial.on(images, recipe=recipe, validation_images=settings.validation_images)
            return
        with Workers(
            settings.workers,
            source=settings.data,
            resolution=images.resolution,
            seed=self.inputs.seed,
            recipe=recipe,
            validation_images=settings.validation_images,
        ) as workers:
            yield workers
