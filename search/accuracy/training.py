"""Accuracy by a short training from scratch: the reference estimator."""

from dataclasses import asdict, replace
from typing import Any

import torch

from search.accuracy.protocol import Estimate, EstimatorSettings, OnEpoch, OnProgress, register
from search.data import Dataset
from search.training.evaluate import binomial_deviation
from search.training.trainer import Trainer
from searchspace.nn import build
from searchspace.spec import NetworkSpec

# Validation images after an epoch, and after the last one. All 6,000 of the digits after the last and 1,000 after the
# others took as long as 0.8 of the training itself.
LOOK_IMAGES, LAST_IMAGES = 500, 2000


@register("training")
class ShortTraining:
    """Trains each network from the same seed by the recipe; the deviation is that of the validation images alone.

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
        """The recipe."""
        return {"recipe": asdict(self._settings.recipe)}

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
        outcome = self._trainer.fit(
            build(spec, generator=torch.Generator().manual_seed(self._settings.seed)),
            on_epoch=on_epoch,
            on_step=(lambda step, steps: on_progress(step / steps)) if on_progress else None,
            pixels=self._settings.pixels_for(spec, self._trainer.train.pixels.shape[1]),
            deadline=(lambda: clock() - began >= seconds) if seconds is not None else None,
        )
        deviation = binomial_deviation(outcome.accuracy, min(LAST_IMAGES, len(self._trainer.validation)))
        return Estimate(outcome.accuracy, deviation, outcome.seconds, outcome.history)
