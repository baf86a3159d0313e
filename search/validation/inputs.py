"""What a reference set is made of: weights, images, a latency table, the networks."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from search import data
from search.budget import CostModel
from search.console import Progress
from search.latency.cache import stored_table
from search.latency.runtimes import runtime
from search.training.auto_augment import Decision, decide
from search.training.variation import AUTO
from search.validation.files import AUGMENT
from search.validation.networks import Member, members
from search.validation.reference import Halves, halves, long_recipe
from search.validation.settings import BAND, Settings
from searchspace.errors import InvalidData
from searchspace.graph import lower
from searchspace.latency.table import LatencyTable, read_table
from searchspace.nn.weights.sources import Parents, resolve
from searchspace.spaces.space import SearchSpace
from searchspace.spec import NetworkSpec

LEAST_VALIDATION = 40  # images: two halves that say something


@dataclass(frozen=True)
class Inputs:
    """What a set is made of, each worked out when it is first asked for."""

    settings: Settings
    threads: int | None
    progress: Progress
    begun: str | None = None  # what --augment came to when the set was begun; None for a new set

    @cached_property
    def parents(self) -> Parents | None:
        """Published weights to start from. The embedded task is learnt faster from random ones, as in a search."""
        if self.settings.weights == "auto" and data.is_digits(self.settings.data):
            return None
        return resolve(self.settings.weights, ema=self.settings.ema, note=self.progress.line)

    @cached_property
    def images(self) -> Halves:
        """At the set's pixels, or at their own where a fine-tuning enlarges them. Raises InvalidData for too few."""
        pixels = self.settings.resolution
        if self.parents is not None:
            pixels = min(pixels, data.native_resolution(self.settings.data))
        return self.images_at(pixels)

    @cached_property
    def augmentation(self) -> Decision:
        """What `--augment` comes to: what was decided when the set was begun stands."""
        given = self.settings.augment
        if self.begun is not None and given in (AUTO, self.begun):
            return Decision(self.begun, "as this set was begun")
        return decide(given, self.settings.data, self.images.shown)

    def images_at(self, pixels: int) -> Halves:
        """The same images at other pixels."""
        settings = self.settings
        images = data.load(
            settings.data,
            resolution=pixels,
            seed=settings.seed,
            progress=lambda done, total: self.progress.update(done / max(1, total), "reading images"),
        )
        if len(images.validation) < LEAST_VALIDATION or len(images.classes) < 2:
            raise InvalidData(
                f"a reference set needs at least 2 classes and {LEAST_VALIDATION} validation images, got "
                f"{len(images.classes)} and {len(images.validation)}: add images"
            )
        return halves(images, judged=settings.judged_images)

    @cached_property
    def table(self) -> LatencyTable | None:
        """What prices networks; None where they are counted in MACs. Nothing is measured. Raises InvalidArgument."""
        settings = self.settings
        if settings.budget_ms is None:
            return None
        if settings.latency is not None:
            return read_table(Path(settings.latency))
        identity = runtime(threads=self.threads).identity(settings.resolution)
        return stored_table(identity, note=self.progress.line)

    @cached_property
    def space(self) -> SearchSpace:
        """At the set's pixels, with the classes of the images."""
        return self.settings.search_space(classes=len(self.images.shown.classes))

    def identity(self) -> dict[str, Any]:
        """What scores and trainings of one file must agree in."""
        parents = self.parents
        return {
            "settings": self.settings.identity(),
            AUGMENT: self.augmentation.augment,
            "data_fingerprint": self.images.shown.fingerprint,
            "weights_sha256": None if parents is None else {parent.name: parent.sha256 for parent in parents},
        }

    def about(self) -> dict[str, Any]:
        """What trainings of one file must agree in."""
        return {
            **self.identity(),
            "classes": list(self.images.shown.classes),
            "space": self.space.to_dict(),
            "recipe": long_recipe(self.settings, self.augmentation.augment, tunes=self.parents is not None).identity(),
            "table": None if self.table is None else self.table.fingerprint(),
        }

    @cached_property
    def cost_model(self) -> CostModel:
        """What prices networks."""
        return CostModel("macs") if self.table is None else CostModel("ms", self.table)

    def within(self, spec: NetworkSpec) -> bool:
        """Whether a network costs no more than those of the set."""
        return self.cost_model.cost(lower(spec)) <= BAND[1] * self.settings.budget

    def members(self) -> list[Member]:
        """The networks of the set."""
        settings, parents = self.settings, self.parents
        return members(
            self.space, self.cost_model, settings.budget, count=settings.networks, seed=settings.seed, parents=parents
        )
