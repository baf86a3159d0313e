"""Trains a shared network by the sandwich rule with in-place distillation (BigNAS, arXiv:2003.11142).

Each step takes the largest network, the smallest and some random ones within the budget through the same images. The
largest learns from the labels, all others from what the largest says.
"""

import math
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from search.data import Dataset, Split
from search.training.augmentation import augmented, preprocessing_of
from search.training.balance import class_weights, cross_entropy
from search.training.errors import TrainingDiverged, translated_out_of_memory
from search.training.evaluate import autocast, device_for
from search.training.finetune_state import fit_head
from search.training.order import batch_of, resident, seed_of
from search.training.recipe import FineTuning, Recipe
from search.training.variation import FIELDS
from search.weight_sharing.draws import BudgetedDraws, Within
from search.weight_sharing.state import SharedState
from search.weight_sharing.statistics import with_statistics
from search.weight_sharing.together import from_first, joined, mean_over_processes, processes, same_start
from searchspace.errors import InvalidArgument
from searchspace.nn.build import Network
from searchspace.nn.shared.network import SharedNetwork
from searchspace.nn.shared.start import shared_network
from searchspace.nn.weights.sources import Parents
from searchspace.rounding import scaled_pixels
from searchspace.spaces.space import SearchSpace
from searchspace.spec import NetworkSpec

OnProgress = Callable[[float], None]
SAVES = 10  # checkpoints, at equal shares of the training
HEAD_SHARE = 0.1  # of the time, for the first classifier


@dataclass(frozen=True, kw_only=True)
class SharedRecipe(FineTuning):
    """The schedule of a shared network, `randoms` random networks a step. The defaults go on from published weights.

    Every batch norm takes the statistics of its batch, and nothing ends early.
    """

    randoms: int = 2
    learning_rate: float = 3e-3  # six times that of a fine-tuning: all but the parent's own part must change a lot
    warmup_steps: int = 10
    keeps_statistics: bool = False
    stops_early: bool = False
    small_share: float = 0.0

    @classmethod
    def following(cls, recipe: Recipe, *, from_weights: bool) -> Self:
        """As large batches, images varied and classes weighed as in the recipe of short trainings.

        From random weights by its SGD.
        """
        kept = (*FIELDS, "class_weights", "batch_size", "label_smoothing")
        given: dict[str, Any] = {name: getattr(recipe, name) for name in kept}
        if not from_weights:
            like = ("learning_rate", "momentum", "weight_decay", "warmup_fraction", "ema_fraction")
            given |= {name: getattr(recipe, name) for name in like}
            given |= {"adam": False, "zero_init_residual": True, "input_rate": 1.0, "warmup_steps": 1, "head_images": 0}
        return cls(**given)


@dataclass(frozen=True, kw_only=True)
class SharedTrainer:
    """Trains the shared network of a space on some images.

    Under torchrun all processes call `fit` alike; each takes its share of every batch, and the result is that of one
    process (nearly, with class weights, which are normalised in each share). A candidate with fewer pixels than the
    space's resolution sees images smaller by as much.
    """

    space: SearchSpace
    train: Split
    recipe: SharedRecipe
    seed: int
    pixels: int  # of the images that the largest network sees
    parents: Parents | None = None
    within: Within | None = None
    fingerprint: str = ""  # of the data
    device: str | None = None  # None: CUDA if there is one
    clock: Callable[[], float] = time.perf_counter

    @classmethod
    def on(cls, data: Dataset, space: SearchSpace, **more: Any) -> Self:
        """The trainer with the images and classes of a data set, at their own size unless `pixels` is given."""
        own: dict[str, Any] = {"pixels": data.resolution, "fingerprint": data.fingerprint} | more
        return cls(space=replace(space, classes=len(data.classes)), train=data.train, **own)

    def about(self) -> dict[str, Any]:
        """What a checkpoint is held to."""
        parents = [] if self.parents is None else [parent.sha256 for parent in self.parents]
        return {
            "search space": self.space.to_dict(),
            "data set": self.fingerprint,
            "recipe": self.recipe.identity(),
            "seed": self.seed,
            "size of images": self.pixels,
            "set of published weights": parents,
        }

    def start(self) -> SharedNetwork:
        """The shared network before its training."""
        generator = torch.Generator().manual_seed(seed_of(self.seed, "shared"))
        parent = None
        if self.parents is not None:
            parent = self.parents.nearest(self.space.spec(self.space.corner("largest"))).network
        return shared_network(self.space, parent, generator=generator)

    def pixels_of(self, spec: NetworkSpec) -> int:
        """Pixels that a network of the space is trained and judged at."""
        return scaled_pixels(self.pixels, spec.resolution, self.space.resolution)

    @translated_out_of_memory()
    def fit(
        self,
        *,
        seconds: float | None = None,
        images: int | None = None,
        state_file: Path | None = None,
        on_progress: OnProgress | None = None,
    ) -> SharedNetwork:
        """The shared network, trained for `seconds` or until it saw `images` training images; on its device.

        With a `state_file` a training that was cut off goes on from its last checkpoint, one that was finished is
        taken as it is. By images the same seed gives the same weights, also across a cut. It ends with averaged
        weights. Raises InvalidArgument, InfeasibleBudget, StudyMismatch, StorageError, TrainingDiverged, OutOfMemory.
        """
        if (seconds is None) == (images is None) or (seconds or images or 0) <= 0:
            raise InvalidArgument(f"a shared network takes seconds or images, above 0, got {seconds} and {images}")
        run = _Run(self, seconds, images, state_file, on_progress or (lambda share: None))
        run.all()
        return run.shared


class _Run:
    """One call of `fit`."""

    def __init__(
        self,
        trainer: SharedTrainer,
        seconds: float | None,
        images: int | None,
        state_file: Path | None,
        on_progress: OnProgress,
    ) -> None:
        self.trainer, self.recipe = trainer, trainer.recipe
        self.seconds, self.images, self.state_file, self.on_progress = seconds, images, state_file, on_progress
        self.began, self.before_s = trainer.clock(), 0.0
        self.device = device_for(trainer.device)
        self.draws = BudgetedDraws(trainer.space, trainer.within)
        self.shared = trainer.start()
        self.largest = self.shared.network
        self.train, self.labels = resident(trainer.train, self.device)
        self.class_weights = class_weights(self.recipe.class_weights, trainer.train.labels)
        self.rank, count = processes()
        self.size = min(self.recipe.batch_size, len(self.labels)) // count * count
        if not self.size:
            raise InvalidArgument(f"a batch needs an image for each process, got {count} processes: start fewer")
        self.state = SharedState(self.largest.to(self.device), self.recipe)
        self.smallest: Network | None = None

    def all(self) -> None:
        """The whole training."""
        state = self.state
        if self.state_file is not None:
            state.go_on(self.state_file, self.trainer.about())
            self.before_s = state.seconds
        if not state.images:
            self._first_classifier()
            same_start(self.largest)
            state.restart_average()
        joined(self.largest)
        saves = math.floor(self._share() * SAVES)
        while not state.finished:
            self._step(min(self._share(), 1.0))
            share = self._share()
            self.on_progress(min(1.0, share))
            if share >= 1:
                self._finish()
            if share >= 1 or math.floor(share * SAVES) > saves:
                self._save()
                saves = math.floor(share * SAVES)
        self.largest.eval()

    def _share(self) -> float:
        """Of the training that is over."""
        if self.images is not None:
            return self.state.images / self.images
        assert self.seconds is not None
        return from_first((self.before_s + self.trainer.clock() - self.began) / self.seconds)

    def _first_classifier(self) -> None:
        """From published weights: a new classifier in closed form, so that the largest network can teach at once."""
        trainer = self.trainer
        if trainer.parents is not None:
            with_statistics(self.largest, trainer.train, pixels=trainer.pixels, device=self.device)
            fit_head(
                self.largest,
                trainer.train,
                pixels=trainer.pixels,
                images=self.recipe.head_images,
                seconds=None if self.seconds is None else HEAD_SHARE * self.seconds,
                clock=trainer.clock,
                device=trainer.device,
                class_weights=self.class_weights,
            )

    def _networks(self, number: int, chosen: Tensor, mine: slice) -> Iterator[tuple[Network, Tensor]]:
        """The networks of a step, the largest first, each with this process's images at its pixels."""
        trainer, seen = self.trainer, dict[int, Tensor]()

        def images(pixels: int) -> Tensor:
            if pixels not in seen:
                seen[pixels] = self._batch(chosen, number, pixels)[mine]
            return seen[pixels]

        yield training_mode(self.largest), images(trainer.pixels)
        if self.smallest is None:  # its parameters are views, so it is always up to date
            self.smallest = self._view(self.draws.smallest)
        yield self.smallest, images(trainer.pixels_of(self.draws.smallest))
        rng = random.Random(seed_of(trainer.seed, "networks", number))
        for spec in (self.draws.draw(rng) for _ in range(self.recipe.randoms)):
            yield self._view(spec), images(trainer.pixels_of(spec))

    def _view(self, spec: NetworkSpec) -> Network:
        return training_mode(joined(self.shared.view(spec).to(self.device)))

    def _step(self, share: float) -> None:
        trainer, state, recipe = self.trainer, self.state, self.recipe
        number = state.images // self.size
        chosen = batch_of(len(self.labels), self.size, number, trainer.seed)
        mine = slice(self.rank * self.size // processes()[1], (self.rank + 1) * self.size // processes()[1])
        labels = self.labels[chosen.to(self.device)][mine]
        state.set_rate(recipe.rate_at(share) * min(1.0, (number + 1) / recipe.warmup_steps))
        state.optimizer.zero_grad(set_to_none=True)
        loss = sandwich(
            self.shared,
            self._networks(number, chosen, mine),
            labels,
            label_smoothing=recipe.label_smoothing,
            class_weights=self.class_weights,
        )
        gradients = [weights.grad for weights in self.largest.parameters() if weights.grad is not None]
        mean_over_processes([loss, *gradients])
        if not bool(loss.isfinite()):
            raise TrainingDiverged(
                f"the loss of a shared network must stay finite, got {float(loss):g} after {state.images} images: "
                "look at the images and weights, or judge by another --accuracy"
            )
        state.optimizer.step()
        state.images += self.size
        state.update_average((1 + number) / (1 / recipe.ema_fraction + number))

    def _batch(self, chosen: Tensor, number: int, pixels: int) -> Tensor:
        """The images of a step at some size: at every size the same moves and flips."""
        generator = torch.Generator().manual_seed(seed_of(self.trainer.seed, "augmentation", number))
        how = preprocessing_of(self.largest)
        return augmented(self.train, chosen, self.recipe, generator=generator, preprocessing=how, pixels=pixels)

    def _finish(self) -> None:
        with torch.no_grad():
            for weights, average in zip(self.largest.parameters(), self.state.average, strict=True):
                weights.copy_(average)
        self.state.finished = True

    def _save(self) -> None:
        self.state.seconds = self.before_s + self.trainer.clock() - self.began
        if self.state_file is not None and self.rank == 0:
            self.state.keep(self.state_file, self.trainer.about())


def sandwich(
    shared: SharedNetwork,
    networks: Iterable[tuple[Network, Tensor]],
    labels: Tensor,
    *,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
) -> Tensor:
    """The gradients of one step in the shared parameters; returns the sum of all losses.

    `networks`: the largest, then views, each with the same images (batch, 3, height, width) at its own size. The
    largest learns from `labels` (batch,), where `class_weights` (classes,) weigh, the others from its softmax.
    """
    total, soft = torch.zeros((), device=labels.device), None
    weights = None if class_weights is None else class_weights.to(labels.device)
    for network, images in networks:
        with autocast(labels.device):
            logits = network(images).float()
        if soft is None:
            loss = cross_entropy(logits, labels, weights=weights, smoothing=label_smoothing)
        else:
            loss = cross_entropy(logits, soft, weights=None, smoothing=0.0)
        torch.autograd.backward(loss)
        total += loss.detach()
        if soft is None:
            soft = logits.detach().softmax(1)
        else:
            shared.add_gradients(network)
    return total


def training_mode(network: Network) -> Network:
    """The network in training mode; its dropout is off."""
    network.train()
    for part in network.modules():
        if isinstance(part, nn.Dropout):
            part.eval()
    return network
