"""Accuracy by a short training from scratch: the reference estimator."""

from dataclasses import replace
from functools import cached_property
from typing import Any

import torch

from search.accuracy.protocol import EPOCHS, Estimate, EstimatorSettings, OnEpoch, OnProgress, register
from search.data import Dataset
from search.training.effort import Effort
from search.training.evaluate import binomial_deviation
from search.training.trainer import Trainer
from searchspace.nn import build
from searchspace.spec import NetworkSpec

# Validation images after an epoch, and after the last one. All 6,000 of the digits after the last and 1,000 after the
# others took as long as 0.8 of the training itself.
LOOK_IMAGES, LAST_IMAGES = 500, 2000

MOST_IMAGES = 2.0  # times a middling network's that cheap ones see, and the same part of them that costly ones do
MIDDLING = 0.75  # of the recipe's images, for a middling network: more candidates are judged in the same time


@register("training")
class ShortTraining:
    """Trains each network from the same seed by the recipe; the deviation is that of the validation images alone.

    With a space to search networks train for about equal time: those whose steps cost twice as much see half as many
    images, as a winner does in what is left of the minutes. A middling one sees MIDDLING of the recipe's.
    What another seed would change is not in it: that takes several trainings.
    """

    trains = True
    only_space = False

    def __init__(self, settings: EstimatorSettings) -> None:
        self._settings = settings
        self._trainer: Trainer | None = None

    @property
    def epochs(self) -> int:
        """Of a training."""
        return self._settings.recipe.epochs

    def identity(self) -> dict[str, Any]:
        """The recipe, and that networks train for equal time where they do."""
        equal = {"equal": self._settings.equal} if self._settings.equal != EPOCHS else {}
        return {"recipe": self._settings.recipe.identity(), **equal}

    def prepare(self, data: Dataset, *, on_progress: OnProgress | None = None) -> None:
        """Takes the images; nothing is computed."""
        settings = self._settings
        self._trainer = replace(
            Trainer.on(data, recipe=settings.recipe, seed=settings.seed),
            device=settings.device,
            clock=settings.clock,
            look_images=LOOK_IMAGES,
            last_images=LAST_IMAGES,
        )

    def score(
        self,
        spec: NetworkSpec,
        *,
        seconds: float | None = None,
        on_epoch: OnEpoch | None = None,
        on_progress: OnProgress | None = None,
    ) -> Estimate:
        """See AccuracyEstimator. Partial results are of the averaged weights, after each epoch."""
        if self._trainer is None:
            raise ValueError("prepare(data) must come before score(spec)")
        clock, began = self._settings.clock, self._settings.clock()
        recipe = replace(self._settings.recipe, epoch_images=self._epoch_images(spec))
        network = build(spec, generator=torch.Generator().manual_seed(self._settings.seed))
        outcome = replace(self._trainer, recipe=recipe).fit(
            network,
            on_epoch=on_epoch,
            on_step=(lambda step, steps: on_progress(step / steps)) if on_progress else None,
            pixels=self._settings.pixels_for(spec, self._trainer.train.pixels.shape[1]),
            deadline=(lambda: clock() - began >= seconds) if seconds is not None else None,
        )
        if self._settings.keep is not None:
            self._settings.keep(network)
        deviation = binomial_deviation(outcome.accuracy, min(LAST_IMAGES, len(self._trainer.validation)))
        return Estimate(outcome.accuracy, deviation, outcome.seconds, outcome.history)

    def _epoch_images(self, spec: NetworkSpec) -> int:
        """Images of an epoch, in whole batches."""
        recipe = self._settings.recipe
        if self._effort is None:
            return recipe.epoch_images
        times = min(MOST_IMAGES, max(1 / MOST_IMAGES, 1 / self._effort.relative(spec)))
        return recipe.batch_size * max(1, round(MIDDLING * times * recipe.epoch_images / recipe.batch_size))

    @cached_property
    def _effort(self) -> Effort | None:
        """None where networks train for equal epochs."""
        return self._settings.effort()
