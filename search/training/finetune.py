"""Fine-tunes a network that has weights already, for so many seconds, on images of another task.

The clock is the schedule: the learning rate and the size of the images follow the share of the time that is over, so a
machine that becomes slower sees fewer images and keeps the limit. Given a number of images instead of seconds, the same
seed, threads and machine give the same result, also across a cut; by the clock no two runs see the same images.
"""

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from torch import nn

from search.cores import fitted_threads
from search.data import Dataset, Split
from search.training.augmentation import augmented, preprocessing_of
from search.training.balance import class_weights
from search.training.early import CLOSING, chance_of, gain_left, has_learnt
from search.training.errors import TrainingDiverged, translated_out_of_memory
from search.training.evaluate import binomial_deviation, device_for, evaluate
from search.training.finetune_state import FineTuningState, fit_head
from search.training.limit import BATCH, EVALUATION, LEAST_LOOK, TimeLimit
from search.training.order import batch_of, resident, seed_of
from search.training.recipe import FineTuning
from search.training.state import STATISTICS_IMAGES
from searchspace.errors import InvalidArgument

OnProgress = Callable[[float, str], None]
OnLine = Callable[[str], None]
OnLook = Callable[[int, float], None]

LOOKS_SHARE = 0.02  # of the time, for the looks at validation images on the way
HEAD_SHARE = 0.1  # for the new classifier, at most
LAST_LOOK_SHARE = 0.05  # for the last one, which is at the whole split where that is enough


class Tuned(NamedTuple):
    """What a fine-tuning came to.

    Attributes:
        history: Validation accuracy at each look, a fraction; the last is of the weights that the module ends with.
        seconds: Of all runs.
        images: Training images seen, with repetition.
        stopped_early: Whether what could still be gained was less than the validation images could show.
        spent: Seconds by what they were spent on: "head", "training at 64 px", "validation".
    """

    history: tuple[float, ...]
    seconds: float
    images: int
    stopped_early: bool
    spent: dict[str, float]

    @property
    def accuracy(self) -> float:
        """At the end."""
        return self.history[-1]

    @property
    def epochs(self) -> int:
        """Looks at validation images."""
        return len(self.history)


@dataclass(frozen=True, kw_only=True)
class FineTuner:
    """Fine-tunes modules alike: on the same images, by one recipe, from one seed."""

    train: Split
    validation: Split
    seed: int  # of the images' order and their augmentation
    recipe: FineTuning = field(default_factory=FineTuning)
    device: str | None = None  # None: CUDA if there is one
    clock: Callable[[], float] = time.perf_counter

    @classmethod
    def on(cls, images: Dataset, *, recipe: FineTuning | None = None, seed: int = 0) -> Self:
        """The fine-tuner with the images of a data set."""
        return cls(train=images.train, validation=images.validation, recipe=recipe or FineTuning(), seed=seed)

    @translated_out_of_memory()
    def fit(
        self,
        module: nn.Module,
        *,
        pixels: int,
        seconds: float | None = None,
        images: int | None = None,
        most_s: float | None = None,
        then_s: float = 0.0,
        state_file: Path | None = None,
        on_progress: OnProgress | None = None,
        on_line: OnLine | None = None,
        on_look: OnLook | None = None,
        new_head: bool = True,
        until: float | None = None,
    ) -> Tuned:
        """Fine-tune `module` in place, to be used at `pixels`; it ends with averaged weights, in eval mode, on the CPU.

        For `seconds` (its validations included), or until `images` training images were seen. By the clock it ends at
        most `most_s` from now, and earlier where the machine became slower and other work follows (`then_s`: see
        TimeLimit). The classifier must have the classes of the images; with `new_head` it is fitted anew in closed form
        first. Batches are prepared as the module's spec says. Each look at validation images, some ten of them, is on
        disk in `state_file` before the training goes on, and the same call goes on there; on_look(number from 1,
        accuracy) hears it, and what it raises stops the training. Where what could still be gained becomes less than
        the validation images could show, the rate falls to 0 at once and the rest of the time is handed back. With
        `until`, a share of the training, it pauses there after a look: the module is not finished, and the same
        call without `until` goes on (so that there must be a state_file).

        Raises InvalidArgument, TrainingDiverged, OutOfMemory, StorageError.
        """
        if (seconds is None) == (images is None) or (seconds or images or 0) <= 0:
            raise InvalidArgument(f"a fine-tuning takes seconds or images, above 0, got {seconds} and {images}")
        run = _Run(
            self,
            module,
            pixels,
            seconds,
            images,
            most_s,
            then_s,
            state_file,
            on_progress or _nothing,
            on_line or _nothing,
            on_look or _nothing,
            until,
        )
        with fitted_threads() as fit_threads:
            return run.all(new_head=new_head, fit_threads=fit_threads)

    def key(self, module: nn.Module, *limits: object) -> str:
        """What tells a training from every other."""
        digest = hashlib.blake2b(repr(module).encode(), digest_size=16)
        digest.update(self.train.labels.tobytes())
        digest.update(self.train.pixels[:: max(1, len(self.train) // 16)].tobytes())
        return f"{digest.hexdigest()} {self.seed} {self.recipe.identity()} {preprocessing_of(module)} {limits}"


def _nothing(*_: object) -> None:
    pass


class _Run:
    """One call of `fit`."""

    def __init__(
        self,
        tuner: FineTuner,
        module: nn.Module,
        pixels: int,
        seconds: float | None,
        images: int | None,
        most_s: float | None,
        then_s: float,
        state_file: Path | None,
        on_progress: OnProgress,
        on_line: OnLine,
        on_look: OnLook,
        until: float | None,
    ) -> None:
        self.until = math.inf if until is None else until
        self.tuner, self.recipe, self.module, self.pixels = tuner, tuner.recipe, module, pixels
        self.seconds, self.images, self.state_file = seconds, images, state_file
        self.on_progress, self.on_line, self.on_look = on_progress, on_line, on_look
        self.began, self.device = tuner.clock(), device_for(tuner.device)
        self.key = tuner.key(module, pixels, seconds, images)
        self.train, self.labels = resident(tuner.train, self.device)
        self.size = min(self.recipe.batch_size, len(self.labels))
        self.weights = class_weights(self.recipe.class_weights, tuner.train.labels)
        on_device = None if self.weights is None else self.weights.to(self.device)
        self.state = FineTuningState(module.to(self.device), self.recipe, on_device)
        self.classes = int(self.labels.max()) + 1
        self.before_s = 0.0
        self.paused = False
        self.limit = TimeLimit(seconds, tuner.clock, then_s)
        self.most_s = math.inf if most_s is None else most_s

    def all(self, *, new_head: bool, fit_threads: Callable[[], int]) -> Tuned:
        """The whole training; `fit_threads` looks how many threads are fastest now, before each stage of it."""
        if self.state_file is not None:
            self.state = self.state.resumed(self.state_file, self.key)
            self.before_s = self.state.seconds
        if self.seconds is not None:
            self.limit.seconds = min(self.seconds - self.before_s, self.most_s)
        self.paused = bool(self.state.history) and self._share() >= self.until  # a run that was cut off came so far
        if not self.state.images and new_head:
            self._head()
        self._train(fit_threads)
        state, began = self.state, self.tuner.clock()
        if not state.finished and not self.paused:
            state.use_average(self.train, pixels=self.pixels)
            state.history.append(self._evaluate(self._last_look(), self.pixels))
            state.finished = True
            self._spend("validation", began)
            self._save()
            self.on_look(len(state.history), state.history[-1])
        self.module.to("cpu").eval()
        return Tuned(tuple(state.history), state.seconds, state.images, state.closing is not None, dict(state.spent))

    def _elapsed(self) -> float:
        return self.before_s + self.tuner.clock() - self.began

    def _spend(self, what: str, began: float) -> None:
        self.state.spent[what] = self.state.spent.get(what, 0.0) + self.tuner.clock() - began

    def _head(self) -> None:
        began, pixels = self.tuner.clock(), self.recipe.pixels_at(0.0, self.pixels)
        self.on_progress(0.0, "fitting a new classifier")
        limit = None if self.seconds is None else HEAD_SHARE * self.seconds
        fitted = fit_head(
            self.module,
            self.tuner.train,
            pixels=pixels,
            images=self.recipe.head_images,
            seconds=limit,
            clock=self.tuner.clock,
            device=self.tuner.device,
            class_weights=self.weights,
        )
        self.state.restart_average()
        self._spend("the new classifier", began)
        if fitted is not None:
            self.on_line(f"a new classifier in closed form: {fitted:.1%} of images left out of it, at {pixels} px")

    def _train(self, fit_threads: Callable[[], int]) -> None:
        state = self.state
        while not self.paused and (share := self._share()) < self._end() and not state.finished:
            pixels, began = self.recipe.pixels_at(share, self.pixels), self.tuner.clock()
            next_look = max(self.recipe.looks_by(share), len(state.history)) + 1  # a share may fall back a little
            until = min(self._end(), self.recipe.look_at(next_look), self.until)
            images = state.images
            fit_threads()
            state.prepare()
            self.limit.begin()
            while share < until or state.images == images:  # a new classifier may take as long as until the pause
                self._step(share, pixels)
                share = self._share()
                self.on_progress(min(1.0, share / self._end()), f"fine-tuning at {pixels} px")
            self._spend(f"training at {pixels} px", began)
            state.image_s = (self.tuner.clock() - began) / (state.images - images) / pixels**2
            if share < self._end():
                self._look(share, pixels)
                self.paused = share >= self.until
        if not state.images:  # the limit left no time for a step
            state.prepare()
            self._step(self.recipe.warmup_fraction, self.pixels)

    def _share(self) -> float:
        """Of the training that is over; 1 is its planned end."""
        if self.images is not None:
            return self.state.images / self.images
        whole_s = self.before_s + self.limit.whole_s() - self._validation_s(self._last_look())
        return self._elapsed() / max(1e-9, whole_s)

    def _end(self) -> float:
        closing = self.state.closing
        return 1.0 if closing is None else min(1.0, closing * (1 + CLOSING))

    def _rate(self, share: float) -> float:
        closing = self.state.closing
        if closing is None:
            return self.recipe.rate_at(share)
        return self.recipe.rate_at(closing) * max(0.0, 1 - (share - closing) / (self._end() - closing))

    def _step(self, share: float, pixels: int) -> None:
        state, tuner = self.state, self.tuner
        number = state.images // self.size
        generator = torch.Generator().manual_seed(seed_of(tuner.seed, "fine-tuning", number))
        chosen = batch_of(len(self.labels), self.size, number, tuner.seed).to(self.device, non_blocking=True)
        batch = augmented(
            self.train,
            chosen,
            self.recipe,
            generator=generator,
            preprocessing=preprocessing_of(self.module),
            pixels=pixels,
        )
        rate = self._rate(share) * min(1.0, (number + 1) / self.recipe.warmup_steps)
        state.set_rate(rate)
        loss = state.step(*state.mixed(batch, self.labels[chosen], self.classes, generator))
        if not math.isfinite(loss):
            raise TrainingDiverged(
                f"the loss must stay finite, got {loss:g} after {state.images} images at learning rate {rate:.2g}: "
                f"lower the recipe's learning_rate ({self.recipe.learning_rate:g}), or look at the images and weights"
            )
        state.images += self.size
        if self.limit.then_s:
            self.limit.step(self.size * pixels**2)
        state.update_average((1 + number) / (1 / self.recipe.ema_fraction + number))

    def _look(self, share: float, pixels: int) -> None:
        """Validate the averaged weights at the present size, and decide whether to go on."""
        state, began, recipe = self.state, self.tuner.clock(), self.recipe
        with state.with_average(self.train, pixels=pixels):
            accuracy = self._evaluate(self._images_for(LOOKS_SHARE / recipe.epochs, recipe.epoch_validation), pixels)
        state.history.append(accuracy)
        self._spend("validation", began)
        self.on_line(f"{accuracy:.1%} validation accuracy at {pixels} px after {state.images} images")
        if recipe.stops_early and state.closing is None and share >= 0.5 and pixels == self.pixels:
            before = state.history[max(0, len(state.history) // 2 - 1)]  # at about half of the images
            gain, noise = gain_left(accuracy, before, share), binomial_deviation(accuracy, len(self.tuner.validation))
            if gain < noise and has_learnt(accuracy, noise, chance_of(self.tuner.validation.labels)):
                state.closing = share
                self.on_line(
                    f"the rest of the time could gain about {100 * gain:.1f} points, less than "
                    f"{len(self.tuner.validation)} validation images can show: the training comes to its end"
                )
        self._save()
        self.on_look(len(state.history), accuracy)

    def _evaluate(self, images: int, pixels: int) -> float:
        timed: dict[str, Any] = {} if self.seconds is None else {"batch_size": BATCH, "enough": self.limit.enough}
        return evaluate(
            self.module, self.tuner.validation, images=images, device=self.tuner.device, pixels=pixels, **timed
        )

    def _validation_s(self, images: int) -> float:
        """How long validation takes, with new batch-norm statistics before it."""
        return (images + STATISTICS_IMAGES) * EVALUATION * self.state.image_s * self.pixels**2

    def _images_for(self, share: float, most: int) -> int:
        """How many validation images to look at, at most, within that share of the time."""
        most = min(most, len(self.tuner.validation))
        image_s = EVALUATION * self.state.image_s * self.pixels**2
        if self.seconds is None or not image_s:
            return most
        return max(min(most, LEAST_LOOK), min(most, int(share * self.seconds / image_s)))

    def _last_look(self) -> int:
        return self._images_for(LAST_LOOK_SHARE, len(self.tuner.validation))

    def _save(self) -> None:
        self.state.seconds = self._elapsed()
        if self.state_file is not None:
            self.state.save(self.state_file, self.key)
