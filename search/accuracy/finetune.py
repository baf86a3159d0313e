"""Accuracy by a short fine-tuning: from the weights of a published network, the same steps for every candidate."""

from dataclasses import replace
from typing import Any

import torch

from search.accuracy.protocol import EstimatorSettings, register
from search.accuracy.training import ShortTraining
from search.data import Split
from search.training.recipe import Recipe
from search.training.ridge import pooled_features, ridge, set_classifier
from search.training.start import start
from searchspace.errors import InvalidArgument
from searchspace.nn import Network
from searchspace.spec import NetworkSpec

RATE_SHARE = 0.4  # of the peak rate of a training from scratch
WARMUP = 0.1
HEAD_IMAGES = 1024  # that the first classifier is fitted to


@register("finetune")
class ShortFineTuning(ShortTraining):
    """Fine-tunes each network from the weights of the nearest parent, by the recipe at a lower rate.

    Its classifier comes first, in closed form, from the features of some training images: a random one would spoil the
    weights before it while it learns.
    """

    def __init__(self, settings: EstimatorSettings) -> None:
        if settings.parents is None:
            raise InvalidArgument(
                "--accuracy finetune needs published weights to start from, got none: give --weights, or --accuracy "
                "training for trainings from scratch"
            )
        super().__init__(settings)

    @property
    def _recipe(self) -> Recipe:
        recipe = self._settings.recipe
        return replace(
            recipe, zero_init_residual=False, learning_rate=RATE_SHARE * recipe.learning_rate, warmup_fraction=WARMUP
        )

    def identity(self) -> dict[str, Any]:
        """The recipe and how it is changed."""
        how = {"rate_share": RATE_SHARE, "warmup": WARMUP, "head_images": HEAD_IMAGES}
        return {**super().identity(), "finetune": how}

    def _start(self, spec: NetworkSpec, images: Split) -> Network:
        settings = self._settings
        network = start(spec, settings.parents, images=images, seed=settings.seed, pixels=settings.pixels).network
        features = pooled_features(network, images, images=HEAD_IMAGES, pixels=settings.pixels, device=settings.device)
        labels = torch.tensor(images.labels[:HEAD_IMAGES])
        set_classifier(network, ridge(features, labels, classes=spec.classes))
        return network
