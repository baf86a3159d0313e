"""The training of a network that is kept: long, ready for the deployed size at its end, then tested once.

A search's winner and the published networks beside it go the same way: from transferred weights, fine-tuned by seconds,
or from scratch, trained by the recipe; then batch norm, classifier and last blocks are made good at the deployed size.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import torch

from search.console import Progress, clock_text
from search.data import Dataset, Split
from search.training.deploy import adapt_to_deployed
from search.training.evaluate import Accuracy, evaluate, told_right
from search.training.finetune import FineTuner
from search.training.limit import BATCH, EVALUATION
from search.training.start import Start, start
from search.training.state import STATISTICS_IMAGES
from search.training.trainer import Trainer
from searchspace.nn import Network, build
from searchspace.nn.weights.sources import Parents
from searchspace.rounding import scaled_pixels
from searchspace.spec import NetworkSpec

DEPLOY_SHARE = 0.35  # of the time from a training from scratch on, for making it good at the deployed size
TUNED_SHARE = 0.01  # the same of a fine-tuning, which ends at that size
TEST_SHARE = 0.1  # of the time limit, where there is one
LEAST_TESTED = 1000  # images, however little time there is
LOOK_IMAGES = 200  # validation images after an epoch of a training from scratch, for people
PAUSE_IMAGES = 2000  # where it pauses: networks are compared by them
TIMED_IMAGES = 50
LINES = 100  # about accuracies of one training, at most
TIMED_STEPS = 3  # of a training, the first to warm up


class _TimedError(Exception):
    """Ends a training whose first steps are timed."""


class Trained(NamedTuple):
    """How a training ended: validation accuracy and at which pixels, epochs, seconds, whose weights it started from."""

    accuracy: float
    pixels: int
    epochs: int
    seconds: float
    parent: str | None = None
    stopped_early: bool = False  # from scratch, as what was left could have gained less than validation images can show


class Final(NamedTuple):
    """A network at its deployed size: those pixels, validation accuracy there, and the one test, image by image."""

    pixels: int
    validation_accuracy: float
    test: Accuracy
    right: tuple[bool, ...]


@dataclass(frozen=True, kw_only=True)
class LongTraining:
    """Trains networks alike.

    Attributes:
        trainer: From scratch, and on from what it trained, on images as they are stored for it; see `pixels_for`.
        tuner: Fine-tunes networks that start from `parents`; None where they start from random weights.
        parents: Published networks.
        images: For the deployed size, which is the network's own, as large as they are or as `largest` is.
        largest: Of the deployed sizes that are compared; the images of the trainer are as large as suits it.
        limit_s: Of everything; None for none.
    """

    trainer: Trainer
    tuner: FineTuner | None
    parents: Parents | None
    images: Dataset
    largest: int
    limit_s: float | None
    progress: Progress
    clock: Callable[[], float] = time.perf_counter
    _known_s: dict[str, float] = field(default_factory=dict)

    @property
    def tunes(self) -> bool:
        """Whether networks are fine-tuned; else they are trained from scratch."""
        return self.tuner is not None

    @property
    def by_seconds(self) -> bool:
        """Whether the length of a training is given in seconds, not in epochs: where a time limit is to be kept."""
        return self.tuner is not None and self.limit_s is not None

    def pixels_for(self, spec: NetworkSpec) -> int:
        """Those of a training that does not end at the deployed size: as the trainer's images are stored, or fewer."""
        return scaled_pixels(self.trainer.train.pixels.shape[1], spec.resolution, self.largest)

    def start(self, spec: NetworkSpec, parents: Parents | None = None) -> Start:
        """The network before training; `parents` in place of the usual ones."""
        return start(spec, parents or self.parents, images=self.trainer.train, seed=self.trainer.seed)

    def train(
        self,
        module: Network,
        length: int,
        *,
        onward: bool = False,
        for_deployed: bool = True,
        state_file: Path | None,
        what: str,
        kept: Callable[[], None] = lambda: None,
        until: float | None = None,
        left_s: float | None = None,
    ) -> Trained:
        """Train `module` in place for so many epochs of the recipe's images, or seconds (see `by_seconds`).

        A run that was cut off goes on by the `state_file`. onward: it was trained before. for_deployed: it is to end
        good at the deployed size; else at `pixels_for` it. kept() is called whenever something was kept. until:
        pause at this share of the training; the same call without it goes on there. left_s: seconds until all is over
        (None: no limit), of which time for `deploy_and_test` is kept free: a training that has become too slow for
        `length` ends earlier.
        """
        pixels = self.pixels_for(module.spec)
        most_s, then_s = (None, 0.0) if left_s is None else self._limits(module.spec, left_s)
        if self.tuner is not None:
            pixels = module.spec.resolution if for_deployed else pixels
            images = length * min(self.trainer.recipe.epoch_images, len(self.trainer.train))
            tuned = self.tuner.fit(
                module,
                pixels=pixels,
                seconds=length if self.by_seconds else None,
                images=None if self.by_seconds else images,
                most_s=most_s,
                then_s=then_s,
                state_file=state_file,
                on_progress=lambda share, doing: self.progress.update(share, f"{what}: {doing}"),
                on_line=lambda line: self.progress.line(f"{what}: {line}"),
                on_look=lambda *_: kept(),
                new_head=not onward,
                until=until,
            )
            return Trained(tuned.accuracy, pixels, tuned.epochs, tuned.seconds)

        last = length if until is None else max(1, round(until * length))
        over = 0.0  # share of the training

        def on_step(step: int, steps: int) -> None:
            nonlocal over
            over = step / steps
            self.progress.update(over, what)

        def on_epoch(epoch: int, accuracy: float) -> None:
            kept()
            if epoch % max(1, length // LINES) == 0:
                whole = f" of {length}" if left_s is None else ""  # else the clock or what is left to gain ends it
                self.progress.line(f"{what}: {accuracy:.1%} validation accuracy after epoch {epoch}{whole}")

        trainer = replace(self.trainer.for_epochs(length), look_images=LOOK_IMAGES, stops_early=left_s is not None)
        if until is not None:
            trainer = replace(trainer, last_images=PAUSE_IMAGES)
        if onward:
            trainer = replace(trainer, recipe=trainer.recipe.onward(epochs=length))
        outcome = trainer.fit(
            module,
            state_file=state_file,
            on_epoch=on_epoch,
            on_step=on_step,
            deadline=lambda: over >= last / length,
            seconds=most_s,
            then_s=then_s,
            pixels=self._resized_to(pixels),
        )
        if outcome.stopped_early:
            self.progress.line(
                f"{what}: it ended early, after {outcome.epochs} epochs, as what was left could have gained "
                f"less than {len(trainer.validation)} validation images can show"
            )
        return Trained(outcome.accuracy, pixels, outcome.epochs, outcome.seconds, stopped_early=outcome.stopped_early)

    def _limits(self, spec: NetworkSpec, left_s: float) -> tuple[float, float]:
        """Seconds that a training may take, and what of those after it the machine's speed decides: the least test."""
        began, image_s = self.clock(), self._image_s(spec)
        left_s -= self.clock() - began
        least = min(LEAST_TESTED, len(self.images.open_test()))
        return max(0.0, left_s - self.closing_s(spec, left_s)), least * image_s

    def length(self, spec: NetworkSpec, seconds: float) -> int:
        """Of a training that ends, with what follows it, after so many seconds: in epochs or seconds."""
        left_s = max(1.0, seconds - self.closing_s(spec, seconds))
        return max(1, int(left_s if self.by_seconds else 0.95 * left_s / self.epoch_s(spec)))

    def how_long(self, length: int, left_s: float | None) -> str:
        """The `length` of a training in words; epochs that are planned for `left_s` seconds are no promise."""
        if self.by_seconds:
            return clock_text(length)
        return f"{length} epochs" if left_s is None else f"at most {clock_text(left_s)}"

    def epoch_s(self, spec: NetworkSpec) -> float:
        """Seconds of one epoch of the recipe, by its first steps: a whole one of large images takes minutes."""
        module = build(spec, generator=torch.Generator().manual_seed(self.trainer.seed))
        trainer, times = self.trainer.for_epochs(1), list[float]()

        def on_step(*_: int) -> None:
            times.append(self.clock())
            if len(times) == TIMED_STEPS:
                raise _TimedError

        try:
            return trainer.fit(module, pixels=self._resized_to(self.pixels_for(spec)), on_step=on_step).seconds
        except _TimedError:
            recipe, images = trainer.recipe, len(trainer.train)
            told = min(LOOK_IMAGES, len(trainer.validation)) + min(STATISTICS_IMAGES, images)
            steps = recipe.steps_per_epoch(images) + EVALUATION * told / min(recipe.batch_size, images)
            return steps * (times[-1] - times[0]) / (TIMED_STEPS - 1)

    def _resized_to(self, pixels: int) -> int | None:
        """None for the images as they are stored."""
        return None if pixels == self.trainer.train.pixels.shape[1] else pixels

    def closing_s(self, spec: NetworkSpec, left_s: float) -> float:
        """Of `left_s` seconds, those after the training: making it good at the deployed size, and the test."""
        image_s = self._image_s(spec)
        return self._deploy_s(spec, left_s) + image_s * (TIMED_IMAGES + self._tested(image_s))

    def _deploy_s(self, spec: NetworkSpec, left_s: float) -> float:
        if self.tuner is not None:
            return TUNED_SHARE * left_s
        return DEPLOY_SHARE * left_s if spec.resolution != self.pixels_for(spec) else 0.0

    def deploy_and_test(
        self, module: Network, trained: Trained, what: str, *, left_s: float | None, images: int | None = None
    ) -> Final:
        """Make the network good at the deployed size, in place, then test it once there; in `left_s` (None: no limit).

        images: to test; None for all that the time limit allows, at least 1,000.
        """
        began, pixels = self.clock(), module.spec.resolution
        self._known_s.pop(module.spec.fingerprint(), None)  # the machine's speed may be another by now
        image_s = self._image_s(module.spec)
        count = images or self._tested(image_s, left_s)
        accuracy = trained.accuracy
        if trained.pixels != pixels:
            seconds = None if left_s is None else max(1.0, left_s - count * image_s - (self.clock() - began))
            accuracy = self._adapted(module, trained, what, seconds)
        split = self.images.open_test()
        self.progress.update(1.0, f"{what}: testing it at {pixels} px")

        def enough(told: int) -> bool:
            return told >= LEAST_TESTED and left_s is not None and self.clock() - began >= left_s

        right = told_right(
            module, split, images=count, batch_size=BATCH, pixels=pixels, enough=None if images else enough
        )
        module.cpu()
        test = Accuracy.counted(right)
        return Final(pixels, accuracy, test, tuple(map(bool, right)))

    def _adapted(self, module: Network, trained: Trained, what: str, seconds: float | None) -> float:
        """Make the network good at the deployed size; its validation accuracy there."""
        pixels = module.spec.resolution
        self.progress.update(0.0, f"{what}: adapting it to {pixels} px")
        return adapt_to_deployed(
            module,
            self.images,
            pixels=pixels,
            trained_at=trained.pixels,
            seconds=seconds,
            shown=min(self.trainer.recipe.epoch_images, len(self.images.train)),
            recipe=self.trainer.recipe,
            seed=self.trainer.seed,
            clock=self.clock,
            on_line=lambda line: self.progress.line(f"{what}: {line}"),
        ).accuracy

    def _tested(self, image_s: float, left_s: float | None = None) -> int:
        """Test images that the time limit allows: any beginning of them has the classes in their proportions.

        left_s: for making the network good at the deployed size, too; half of it is the test's at most.
        """
        all_of_them = len(self.images.open_test())
        if self.limit_s is None:
            return all_of_them
        seconds = min(TEST_SHARE * self.limit_s, 0.5 * (self.limit_s if left_s is None else left_s))
        return min(all_of_them, max(LEAST_TESTED, int(seconds / max(image_s, 1e-9))))

    def _image_s(self, spec: NetworkSpec) -> float:
        """Seconds that one image takes at the deployed size, in a batch."""
        key = spec.fingerprint()
        if key not in self._known_s:
            split, module = self.images.validation, build(spec, generator=torch.Generator().manual_seed(0))
            few = Split(split.pixels[:TIMED_IMAGES], split.labels[:TIMED_IMAGES])
            evaluate(module, few, images=5, pixels=spec.resolution)  # warms up
            began = self.clock()
            evaluate(module, few, pixels=spec.resolution)
            self._known_s[key] = (self.clock() - began) / len(few)
        return self._known_s[key]
