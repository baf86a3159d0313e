"""Accuracy in one weight-sharing network over the search space: trained once, then seconds a candidate."""

from typing import Any

from search.accuracy.protocol import Estimate, EstimatorSettings, OnEpoch, OnProgress, register
from search.data import Dataset
from search.training.errors import TrainingFailed, translated_out_of_memory
from search.training.evaluate import binomial_deviation, device_for, evaluate
from search.weight_sharing.state import CHECKPOINT
from search.weight_sharing.statistics import IMAGES, with_statistics
from search.weight_sharing.training import SharedRecipe, SharedTrainer
from searchspace.errors import InvalidArgument, InvalidChoice
from searchspace.nn.build import Network
from searchspace.nn.shared.network import SharedNetwork
from searchspace.nn.shared.start import check_space
from searchspace.spec import NetworkSpec

TRAININGS = 4  # short trainings' images that the shared network sees where no time limit says how long


@register("shared")
class SharedWeights:
    """A candidate has the shared network's weights and batch norms of its own, from some training images.

    `prepare` trains the shared network, or takes the checkpoint in the folder: so a study that goes on judges by the
    same weights. The deviation is that of the validation images alone; how far shared weights mislead is not in it.
    """

    trains = False
    only_space = True
    epochs = 1

    def __init__(self, settings: EstimatorSettings) -> None:
        if settings.space is None:
            raise InvalidArgument(
                "accuracy by shared weights (--accuracy shared) needs the search space that they are of, got none: "
                "give EstimatorSettings(space=...)"
            )
        check_space(settings.space)
        self._settings, self._space = settings, settings.space
        self._recipe = SharedRecipe.following(settings.recipe, from_weights=settings.parents is not None)
        self._trainer: SharedTrainer | None = None
        self._shared: SharedNetwork | None = None
        self._data: Dataset | None = None

    def identity(self) -> dict[str, Any]:
        """The recipe, what the weights start from, and the images that a score looks at.

        How long the training was is not told: the study's checkpoint holds the weights.
        """
        settings = self._settings
        parents = [f"{parent.name} {parent.sha256}" for parent in settings.parents or ()]
        own = {"pixels": settings.pixels, "parents": parents, "statistics_images": IMAGES}
        return {"shared": {**own, "images": settings.recipe.epoch_validation, "recipe": self._recipe.identity()}}

    def prepare(self, data: Dataset, *, on_progress: OnProgress | None = None) -> None:
        """Train the shared network for `EstimatorSettings.seconds`. See SharedTrainer.fit for what it raises."""
        settings, recipe = self._settings, self._settings.recipe
        self._trainer = SharedTrainer.on(
            data,
            self._space,
            recipe=self._recipe,
            seed=settings.seed,
            pixels=settings.pixels or data.resolution,
            parents=settings.parents,
            within=settings.within,
            device=settings.device,
            clock=settings.clock,
        )
        images = None
        if settings.seconds is None:
            images = TRAININGS * recipe.epochs * min(recipe.epoch_images, len(data.train))
        state_file = None if settings.folder is None else settings.folder / CHECKPOINT
        self._shared = self._trainer.fit(
            seconds=settings.seconds, images=images, state_file=state_file, on_progress=on_progress
        )
        self._data = data

    @translated_out_of_memory()
    def extract(self, spec: NetworkSpec) -> Network:
        """A candidate's module with its weights and batch norms, in eval mode on the CPU: a start for its training."""
        shared, _, _ = self._prepared()
        return self._with_statistics(shared.extract(spec), spec).to("cpu")

    @translated_out_of_memory()
    def score(
        self,
        spec: NetworkSpec,
        *,
        seconds: float | None = None,
        on_epoch: OnEpoch | None = None,
        on_progress: OnProgress | None = None,
    ) -> Estimate:
        """See AccuracyEstimator. There is one result; a network outside the shared network cannot be scored."""
        shared, trainer, data = self._prepared()
        settings, began = self._settings, self._settings.clock()
        try:
            network = self._with_statistics(shared.view(spec), spec)
        except InvalidChoice as error:
            raise TrainingFailed(str(error)) from None
        if on_progress is not None:
            on_progress(0.5)
        images = min(settings.recipe.epoch_validation, len(data.validation))
        pixels = trainer.pixels_of(spec)
        mean = evaluate(network, data.validation, images=images, device=settings.device, pixels=pixels)
        if on_progress is not None:
            on_progress(1.0)
        if on_epoch is not None:
            on_epoch(1, mean)
        return Estimate(mean, binomial_deviation(mean, images), settings.clock() - began, (mean,))

    def _prepared(self) -> tuple[SharedNetwork, SharedTrainer, Dataset]:
        if self._shared is None or self._trainer is None or self._data is None:
            raise ValueError("prepare(data) must come before score(spec)")
        return self._shared, self._trainer, self._data

    def _with_statistics(self, network: Network, spec: NetworkSpec) -> Network:
        """The network with batch norms of the first training images, on the estimator's device."""
        _, trainer, data = self._prepared()
        device = device_for(self._settings.device)
        return with_statistics(network, data.train, pixels=trainer.pixels_of(spec), device=device)
