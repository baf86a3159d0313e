"""Accuracy by a short fine-tuning: from the weights of a published network, the same steps for every candidate.

A score has as many partial results as the recipe has epochs. The first costs no step of training: the accuracy of the
classifier in closed form, by leaving one out of HEAD_IMAGES images. The others are of validation images, each after
GROWTH times the images of the one before, the last after `epochs * epoch_images` of them. By default: 0, 576, 1,728 and
5,120 images, in whole batches. A pruner that stops most of them early spends the time on those that stay.
With one epoch the last result is the only one.

No candidate inherits from a relative in the study: later ones would have seen more images than earlier ones, and a
score would depend on what was scored before it.
"""

from contextlib import suppress
from dataclasses import replace
from typing import Any

from search.accuracy.protocol import Estimate, EstimatorSettings, OnEpoch, OnProgress, register
from search.data import Dataset
from search.training.evaluate import binomial_deviation
from search.training.finetune import FineTuner
from search.training.finetune_state import fit_head
from search.training.recipe import FineTuning
from search.training.start import Calibration, start
from searchspace.errors import InvalidArgument
from searchspace.spec import NetworkSpec

HEAD_IMAGES = 1024  # that the first classifier is fitted to
MOST_PIXELS = 96  # larger images take a short training too long
WARMUP_STEPS = 30
GROWTH = 3.0  # of the images, from one partial result to the next


class _EnoughError(Exception):
    """The time of a score is over."""


@register("finetune")
class ShortFineTuning:
    """Fine-tunes each network from the weights of the nearest parent, on as many images as a short training sees.

    Its classifier comes first, in closed form, from the features of some training images: a random one would spoil the
    weights before it while it learns. Batch norms keep the statistics that came with the weights. The deviation is that
    of the validation images alone.
    """

    trains = True
    only_space = False

    def __init__(self, settings: EstimatorSettings) -> None:
        if settings.parents is None:
            raise InvalidArgument(
                "--accuracy finetune needs published weights to start from, got none: give --weights, or --accuracy "
                "training for trainings from scratch"
            )
        self._settings = settings
        self._tuner: FineTuner | None = None
        self._calibration: Calibration | None = None

    @property
    def epochs(self) -> int:
        """The classifier alone, and looks at validation images."""
        return self._settings.recipe.epochs

    @property
    def _recipe(self) -> FineTuning:
        short = self._settings.recipe
        own = FineTuning(head_images=HEAD_IMAGES, warmup_steps=WARMUP_STEPS, stops_early=False, small_share=0.0)
        return replace(
            own.varied_as(short),
            epochs=max(1, short.epochs - 1),
            look_growth=GROWTH,
            epoch_images=short.epoch_images,
            epoch_validation=short.epoch_validation,
        )

    def _epoch_images(self, images: int) -> int:
        """Images from one look to the next: whole batches."""
        batch = min(self._recipe.batch_size, images)
        return batch * self._recipe.steps_per_epoch(images)

    def identity(self) -> dict[str, Any]:
        """The recipe."""
        return {"recipe": self._settings.recipe.identity(), "finetune": self._recipe.identity()}

    def prepare(self, data: Dataset, *, on_progress: OnProgress | None = None) -> None:
        """Takes the images; nothing is computed."""
        settings = self._settings
        tuner = FineTuner.on(data, recipe=self._recipe, seed=settings.seed)
        self._tuner = replace(tuner, device=settings.device, clock=settings.clock)
        self._calibration = Calibration(tuner.train)

    def score(
        self,
        spec: NetworkSpec,
        *,
        seconds: float | None = None,
        on_epoch: OnEpoch | None = None,
        on_progress: OnProgress | None = None,
    ) -> Estimate:
        """See AccuracyEstimator. Partial results are of the averaged weights."""
        if self._tuner is None:
            raise ValueError("prepare(data) must come before score(spec)")
        settings, tuner = self._settings, self._tuner
        began, history = settings.clock(), list[float]()
        pixels = settings.pixels_for(spec, min(MOST_PIXELS, tuner.train.pixels.shape[1]))

        def on_result(accuracy: float) -> None:
            history.append(accuracy)
            if on_epoch is not None:
                on_epoch(len(history), accuracy)
            if seconds is not None and settings.clock() - began >= seconds:
                raise _EnoughError

        network, _ = start(
            spec,
            settings.parents,
            images=tuner.train,
            seed=settings.seed,
            pixels=pixels,
            calibration=self._calibration,
        )
        head = min(HEAD_IMAGES, len(tuner.train))
        fitted = fit_head(
            network, tuner.train, pixels=pixels, images=head, seconds=None, clock=settings.clock, device=settings.device
        )
        with suppress(_EnoughError):
            if fitted is not None and self.epochs > 1:
                on_result(fitted)
            tuner.fit(
                network,
                pixels=pixels,
                images=self.epochs * self._epoch_images(len(tuner.train)),
                on_look=lambda _, accuracy: on_result(accuracy),
                on_progress=(lambda share, _: on_progress(share)) if on_progress else None,
                new_head=False,
            )
        judged_by = head if len(history) == 1 < self.epochs else len(tuner.validation)
        deviation = binomial_deviation(history[-1], judged_by)
        return Estimate(history[-1], deviation, settings.clock() - began, tuple(history))
