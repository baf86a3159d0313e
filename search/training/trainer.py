"""Trains a network from scratch, or on from its weights, for a short schedule.

One recipe for all networks: warm-up and cosine decay, label smoothing, an exponential moving average of the weights
(EMA), batched augmentation. float32 and channels-last on a CPU; CUDA if there is one, with bfloat16 where it has it,
the steps of longer trainings as one CUDA graph. On a CPU the same seed, threads and machine give the same result, bit
for bit, also across a cut.
"""

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from search.cores import fitted_threads
from search.data import Dataset, Split
from search.training.augmentation import augmented, preprocessing_of
from search.training.balance import class_weights
from search.training.cuda_graph import GraphedStep, Step
from search.training.early import CLOSING, chance_of, is_over
from search.training.errors import TrainingDiverged, translated_out_of_memory
from search.training.evaluate import device_for, evaluate
from search.training.limit import BATCH, TimeLimit
from search.training.order import batch_of, global_randomness, resident, seed_of
from search.training.recipe import Recipe, learning_rate
from search.training.state import STATISTICS_IMAGES, TrainingState
from searchspace.preprocessing import OWN

OnEpoch = Callable[[int, float], None]
OnStep = Callable[[int, int], None]
Batches = Callable[..., Tensor]  # (chosen, generator=...) -> their augmented images

LOSS_CHECK_STEPS = 16  # from one look at the loss to the next on a GPU, which has to be waited for each time


class Outcome(NamedTuple):
    """Validation accuracy after each epoch, a fraction, the last on the whole split in time; seconds of all runs.

    `stopped_early`: whether it ended as what was left could have gained less than validation images can show.
    """

    history: tuple[float, ...]
    seconds: float
    stopped_early: bool = False

    @property
    def accuracy(self) -> float:
        """At the end."""
        return self.history[-1]

    @property
    def epochs(self) -> int:
        """Done."""
        return len(self.history)


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """Trains modules alike: on the same images, by one recipe, from one seed."""

    train: Split
    validation: Split
    recipe: Recipe
    seed: int  # of the images' order, their augmentation and dropout
    device: str | None = None  # None: CUDA if there is one
    look_images: int | None = None  # validation images after each epoch; None: the recipe's
    stops_early: bool = False  # where what is left to gain is less than the validation images can show; see `early`
    last_images: int | None = None  # the same where the training ends; None: all there are
    graph_steps: int = 100  # trainings on a GPU of at least these are one CUDA graph; capturing it costs some steps
    clock: Callable[[], float] = time.perf_counter

    @classmethod
    def on(cls, images: Dataset, *, recipe: Recipe, seed: int) -> Self:
        """The trainer with the images of a data set."""
        return cls(train=images.train, validation=images.validation, recipe=recipe, seed=seed)

    def for_epochs(self, epochs: int) -> Self:
        """The same for another number of epochs."""
        return replace(self, recipe=replace(self.recipe, epochs=epochs))

    @translated_out_of_memory()
    def fit(
        self,
        module: nn.Module,
        *,
        state_file: Path | None = None,
        on_epoch: OnEpoch | None = None,
        on_step: OnStep | None = None,
        deadline: Callable[[], bool] | None = None,
        pixels: int | None = None,
        seconds: float | None = None,
        then_s: float = 0.0,
    ) -> Outcome:
        """Train `module` in place; it ends with the averaged weights, in eval mode, on the CPU.

        The module takes float32 (batch, 3, height, width) as `augmentation.normalise` gives it for the preprocessing of
        the module's spec (OWN where it has none), resized to `pixels` (None: as images are stored), and returns logits
        (batch, classes). on_epoch(epoch from 1, accuracy) may raise to stop, on_step(step from 1, all steps) is for
        progress; deadline() is asked after each epoch and ends the training there if true. It takes at most `seconds`
        from now: on a machine too slow for all steps the rate follows the clock to 0, and the last epoch is a part of
        one (`then_s`: see TimeLimit). With a `state_file` each epoch is on disk before the next, and the same call goes
        on after its last epoch, to the same result; a file that is damaged or of another training is left out with a
        warning. Raises TrainingDiverged, OutOfMemory, StorageError.
        """
        recipe, device = self.recipe, device_for(self.device)
        began = self.clock()
        images, labels = resident(self.train, device)
        batches = partial(augmented, images, recipe=recipe, preprocessing=preprocessing_of(module), pixels=pixels)
        key = self._key(module, pixels)
        weights = class_weights(recipe.class_weights, self.train.labels)
        state = TrainingState(module.to(device), recipe, None if weights is None else weights.to(device))
        if state_file is not None:
            state = state.resumed(state_file, key)
        seconds_before = state.seconds
        if state.history and on_step is not None:
            per_epoch = recipe.steps_per_epoch(len(labels))
            on_step(len(state.history) * per_epoch, recipe.epochs * per_epoch)
        with fitted_threads() as fit_threads:
            step = self._step_of(state, device)
            limit = TimeLimit(seconds, self.clock, then_s, done=len(state.history) / recipe.epochs)
            for epoch in range(len(state.history), 0 if state.finished else recipe.epochs):
                fit_threads()
                with global_randomness(seed_of(self.seed, "dropout", epoch), device):
                    self._epoch(state, step, batches, labels, epoch, on_step, limit)
                share = max((epoch + 1) / recipe.epochs, self._share(limit, looks=2))
                state.finished = share >= self._end(state)
                is_last = state.finished or (deadline is not None and deadline())
                with state.with_average(images, pixels=pixels):
                    told = self.last_images if is_last else self._looked_at
                    state.history.append(self._validated(module, told, pixels, limit))
                if self.stops_early and state.closing is None and self._is_over(state.history, share):
                    state.closing = share
                state.seconds = seconds_before + self.clock() - began
                if state_file is not None:
                    state.save(state_file, key)
                if on_epoch is not None:
                    on_epoch(epoch + 1, state.history[-1])
                if is_last:
                    break
            state.use_average(images, pixels=pixels)
        module.to("cpu").eval()
        return Outcome(tuple(state.history), state.seconds, state.closing is not None)

    def _share(self, limit: TimeLimit, *, looks: int = 1) -> float:
        """Of the training that is over by the clock; from 1 on there is only time left for so many validations."""
        statistics, all_of_them = min(STATISTICS_IMAGES, len(self.train)), len(self.validation)
        last = min(self.last_images or all_of_them, all_of_them)
        return limit.share(last + (looks - 1) * self._looked_at + 2 * looks * statistics)

    def _end(self, state: TrainingState) -> float:
        """The share of the training at which it ends."""
        return 1.0 if state.closing is None else min(1.0, state.closing * (1 + CLOSING))

    def _rate(self, state: TrainingState, share: float, steps: int) -> float:
        """The learning rate there: the recipe's, and once the training closes a fall from that to 0."""
        if state.closing is None:
            return learning_rate(share * steps, steps, self.recipe)
        left = (self._end(state) - share) / (self._end(state) - state.closing)
        return learning_rate(state.closing * steps, steps, self.recipe) * max(0.0, min(1.0, left))

    def _is_over(self, history: Sequence[float], share: float) -> bool:
        """Whether the training closes; the rate must have been at its peak."""
        labels, recipe = self.validation.labels, self.recipe
        seen = len(history) * recipe.steps_per_epoch(len(self.train)) * recipe.batch_size
        return share >= recipe.warmup_fraction and is_over(
            history,
            share,
            passes=seen / len(self.train),
            images=len(labels),
            chance=chance_of(labels),
        )

    @property
    def _looked_at(self) -> int:
        """Validation images after an epoch."""
        return self.look_images or self.recipe.epoch_validation

    def _validated(self, module: nn.Module, images: int | None, pixels: int | None, limit: TimeLimit) -> float:
        """The accuracy on so many validation images (None: all), or those that the limit leaves time for."""
        timed: dict[str, Any] = {} if limit.seconds is None else {"batch_size": BATCH, "enough": limit.enough}
        return evaluate(module, self.validation, images=images, device=self.device, pixels=pixels, **timed)

    def _key(self, module: nn.Module, pixels: int | None) -> str:
        """What tells this training from every other; as ever where images are as they are stored, on OWN's scale."""
        digest = hashlib.blake2b(repr(module).encode(), digest_size=16)
        digest.update(self.train.labels.tobytes())
        digest.update(self.train.pixels[:: max(1, len(self.train) // 16)].tobytes())
        how = preprocessing_of(module)
        other = f" {pixels} {how}" if pixels is not None or how != OWN else ""
        return f"{digest.hexdigest()} {self.seed} {self.recipe.identity()}{other}"

    def _step_of(self, state: TrainingState, device: torch.device) -> Step:
        """One step of this training: on a GPU, where there are many to come, as a graph."""
        steps = self.recipe.steps_per_epoch(len(self.train)) * (self.recipe.epochs - len(state.history))
        if device.type != "cuda" or steps < self.graph_steps:
            return state.step
        state.set_rate(torch.zeros((), device=device))
        return GraphedStep(state.step)

    def _epoch(
        self,
        state: TrainingState,
        step: Step,
        batches: Batches,
        labels: Tensor,
        epoch: int,
        on_step: OnStep | None,
        limit: TimeLimit,
    ) -> None:
        recipe, images = self.recipe, len(labels)
        per_epoch = recipe.steps_per_epoch(images)
        steps = per_epoch * recipe.epochs
        generator = torch.Generator().manual_seed(seed_of(self.seed, "augmentation", epoch))
        state.module.train()
        size = min(recipe.batch_size, images)
        limit.begin()
        for number in range(epoch * per_epoch, (epoch + 1) * per_epoch):
            share = max(number / steps, self._share(limit))
            if share >= self._end(state):
                return
            rate = self._rate(state, share, steps)
            state.set_rate(rate)
            chosen = batch_of(images, size, number, self.seed)
            chosen = chosen.to(labels.device, non_blocking=True)
            loss = step(batches(chosen, generator=generator), labels[chosen])
            is_checked = number % LOSS_CHECK_STEPS == 0 or (number + 1) % per_epoch == 0 or loss.device.type == "cpu"
            if is_checked and not math.isfinite(loss):
                raise TrainingDiverged(
                    f"the loss must stay finite, got {loss:g} in epoch {epoch + 1} of {recipe.epochs} at learning rate "
                    f"{rate:.2g}: lower the recipe's learning_rate ({recipe.learning_rate:g}), or look at the images"
                )
            looks_back = recipe.ema_fraction * steps * self._end(state)
            state.update_average(min(1 - 1 / max(1.0, looks_back), (1 + number) / (10 + number)))
            limit.step(size)
            if on_step is not None:
                on_step(number + 1, steps)
            if self._share(limit) >= 1:
                return
