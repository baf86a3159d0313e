"""What a pruning is about: settings, inputs, history, and which of its budgets are met."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import optuna

from search.budget import DEFAULT_CONFIDENCE, CostModel
from search.console import Progress, TimeLeft
from search.cores import default_threads
from search.latency.measurement import TARGET_SHARE, Measurement
from search.netadapt.history import History, StoredHistory
from search.netadapt.inputs import Inputs
from search.netadapt.records import Part
from search.netadapt.settings import Settings
from search.netadapt.short_training import Serial, ShortTraining, Workers, short_recipe
from search.netadapt.timing import PairedTimer
from search.session import given_table
from search.training.augmentation import preprocessing_of, weights_metadata
from search.training.handover import Handover
from search.training.recipe import Recipe
from searchspace.graph import Graph
from searchspace.latency.table import LatencyTable
from searchspace.nn import network_bytes
from studies.storage import folder


def definition(settings: Settings, inputs: Inputs, table: LatencyTable | None) -> dict[str, Any]:
    """What defines the study of a spec: another pruning under its name must agree in all of it."""
    network = inputs.network
    found = {
        **settings.identity(),
        "kind": "netadapt",
        "seed": inputs.seed,
        "resolution": network.graph.in_shape[1],
        "proxy_resolution": inputs.trained_px,
        "network": network.fingerprint,
        "weights": hashlib.sha256(network_bytes(network.module, {})).hexdigest()[:16],
        "data_fingerprint": inputs.images.fingerprint,
        "threads": default_threads() if table else None,
        "device": None if table is None else dict(table.identity),
        "table": None,
        **given_table(settings.latency, table),
    }
    return found | ({"budget_ms": settings.limits[-1]} if settings.unit == "ms" else {})


@dataclass
class Job:
    """A pruning under way.

    Attributes:
        timer: What times networks; None to time nothing.
        recipe: Of a training from scratch; short and long trainings are derived from it.
        study: Where all is kept; None to keep nothing, as of a user's own module.
        confidence: With which a network that is only predicted must measure within a budget; 0.5 takes predictions as
            they are.
        replay: Outcomes of timing tests that are taken and not timed again.
        late: Whether the time is over. The long training ends with its epoch then.
        too_late: Whether there is no time for another iteration; pruning gives up then.
        pruning_began: By time.monotonic, where the job is by minutes.
        tests: Whether what is finished is tested; not where more is done to it.
    """

    settings: Settings
    inputs: Inputs
    cost_model: CostModel
    timer: PairedTimer | None
    progress: Progress
    recipe: Recipe
    study: optuna.Study | None = None
    history: History = field(default_factory=History)
    clock: TimeLeft = field(default_factory=TimeLeft)
    confidence: float = DEFAULT_CONFIDENCE
    replay: Part | None = None
    late: Callable[[], bool] | None = None
    too_late: Callable[[], bool] = lambda: False
    pruning_began: float | None = None
    tests: bool = True
    folder: Path | None = None

    def __post_init__(self) -> None:
        if self.study is not None:
            self.folder, keep_all = folder(self.study.study_name), self.settings.family
            self.history = StoredHistory(self.folder, keep_all=keep_all, about=self.about_weights())
            if keep_all and self.history.lost:
                self.progress.line(
                    "the study was begun without --family: the weights of its earlier iterations are gone"
                )

    def about_weights(self, *, deployed: bool = False) -> dict[str, Any]:
        """What is written beside weights, the fingerprint apart. deployed: they were made good at the deployed size."""
        inputs = self.inputs
        return weights_metadata(
            inputs.images,
            seed=inputs.seed,
            preprocessing=preprocessing_of(inputs.network.module),
            trained_at=inputs.trained_px,
            deployed_at=inputs.deployed_px if deployed else None,
        )

    def handover(
        self, recipe: Recipe, on_share: Callable[[float], None] = lambda share: None, *, pixels: int | None = None
    ) -> Handover:
        """What trains networks on, to be used at `pixels` (None: the deployed size), and tests them."""
        inputs = self.inputs
        return Handover(
            images=inputs.images,
            recipe=recipe,
            seed=inputs.seed,
            trained_px=inputs.trained_px,
            deployed_px=pixels or inputs.deployed_px,
            on_share=on_share,
            on_line=self.progress.line,
        )

    @property
    def is_tuned(self) -> bool:
        """Whether the network has weights of a published one, fine-tuned: those alone say what their pixels are."""
        spec = self.inputs.network.spec
        return spec is not None and spec.preprocessing is not None

    @contextmanager
    def short_training(self) -> Iterator[ShortTraining]:
        """What trains proposals."""
        settings, images = self.settings, self.inputs.images
        recipe = short_recipe(self.recipe, max(1, settings.short_steps), len(images.train))
        how: dict[str, Any] = {"recipe": recipe, "validation_images": settings.validation_images}
        how |= {"pixels": self.inputs.pixels, "tuned": self.is_tuned}
        if settings.workers == 1:
            yield Serial.on(images, **how)
            return
        make = partial(Serial.load, settings.data, images.resolution, self.inputs.seed, **how)
        with Workers(settings.workers, make) as workers:
            yield workers

    @property
    def budgets_left(self) -> list[float]:
        """The budgets that are not met, the largest first."""
        met = {budget for iteration in self.history.iterations for budget in iteration.reached}
        return [budget for budget in self.settings.limits if budget not in met]

    def limit(self, budget: float, graph: Graph) -> float:
        """The largest cost within a budget: the budget itself, where networks are measured or counted.

        Else it is the largest prediction whose network measures within the budget with the job's confidence. `graph`
        says how sure predictions are, less so where more of its kernels are estimated.
        """
        if self.timer is not None or self.cost_model.table is None:
            return budget
        found = self.cost_model.table.predict(graph, 2 * self.confidence - 1)
        return budget * found.latency_ms / found.high_ms

    def goal(self, graph: Graph) -> float:
        """What a network is to come to for the next budget."""
        return self.limit(self.budgets_left[0], graph) * (TARGET_SHARE if self.timer else 1)

    def met(
        self, budgets: Sequence[float], cost: float, measured: Measurement | None, graph: Graph
    ) -> tuple[float, ...]:
        """Those of `budgets` that the network of `graph` surely meets."""
        if measured is None:
            return tuple(budget for budget in budgets if cost <= self.limit(budget, graph))
        return tuple(budget for budget in budgets if measured.latency_upper_ms <= budget)
