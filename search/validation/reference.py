"""Trains the networks of a reference set fully, one after the other; a run that was cut off goes on."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch

from search.console import Progress
from search.data import Dataset, Split
from search.training.errors import TrainingFailed
from search.training.evaluate import evaluate
from search.training.finetune import FineTuner
from search.training.recipe import FineTuning, Recipe
from search.training.start import start
from search.training.trainer import Trainer
from search.validation.files import ReferenceFiles, Trained
from search.validation.networks import Member, sizes
from search.validation.settings import Settings
from searchspace.nn import Network, build
from searchspace.nn.weights.sources import Parents
from searchspace.report import count_text, percent_text

LOOKED_AT = 250  # validation images that a training is followed by; it costs time, and nothing is decided by it
EPOCH_SHARE = 0.95  # of the minutes of a training from scratch: what epochs of the speed seen may take


class Halves(NamedTuple):
    """The images of a set. Each beginning of a split has the classes in their proportions, and so has what follows it.

    Attributes:
        shown: Training images, and the half of the validation images that estimators may judge on.
        held: The other half: it tells how good a trained network is, and nothing else has seen it.
    """

    shown: Dataset
    held: Split


def halves(images: Dataset, *, judged: int) -> Halves:
    """The images with their validation split in two; of the second part at most `judged`. The test split is closed."""
    validation, half = images.validation, len(images.validation) // 2
    held = first(Split(validation.pixels[half:], validation.labels[half:]), judged)
    return Halves(replace(images, validation=first(validation, half)), held)


def long_recipe(settings: Settings, augment: str, *, tunes: bool) -> Recipe:
    """Of the trainings of a set: the project's own, save that no fine-tuning ends early, so that all see as much."""
    if tunes:
        return long_tuning(settings, augment)
    return Recipe(class_weights=settings.class_weights).varied(augment)


def long_tuning(settings: Settings, augment: str) -> FineTuning:
    """The same where networks have weights."""
    return FineTuning(stops_early=False, class_weights=settings.class_weights).varied(augment)


def first(split: Split, count: int) -> Split:
    """The first images of a split, in which the classes have their proportions."""
    return Split(split.pixels[:count], split.labels[:count])


class Job(NamedTuple):
    """One training that is to be done."""

    member: Member
    seed: int


def jobs(members: Iterable[Member], *, seed: int, twice: float) -> Iterator[Job]:
    """Every training of a set, a network's second one behind its first.

    The share that is trained `twice` is spread evenly over the order of the networks.
    """
    for number, member in enumerate(members):
        yield Job(member, seed)
        if int((number + 1) * twice + 1e-9) > int(number * twice + 1e-9):
            yield Job(member, seed + 1)


@dataclass(frozen=True, kw_only=True)
class ReferenceTraining:
    """Trains networks alike: by `settings`, from `parents` (None: from random weights), images varied by `augment`."""

    settings: Settings
    images: Halves
    parents: Parents | None
    files: ReferenceFiles
    progress: Progress
    augment: str
    clock: Callable[[], float] = time.perf_counter

    def run(self, members: list[Member]) -> None:
        """Train what is not in the file yet. Raises StorageError."""
        settings, rows = self.settings, self.files.trained()
        every = list(jobs(members, seed=settings.seed, twice=settings.twice))
        done = {(row.fingerprint, row.seed) for row in rows}
        for number, job in enumerate(every, 1):
            if (job.member.fingerprint, job.seed) in done:
                continue
            what = f"{number} of {len(every)}: {job.member.name}, seed {job.seed}"
            row = self._row(job, what)
            rows.add(row)
            self.files.state_path.unlink(missing_ok=True)
            self.progress.line(f"{what}: {_told(row)}")

    def _row(self, job: Job, what: str) -> Trained:
        member, judged = job.member, self.images.held
        about: dict[str, Any] = {
            "network": member.name,
            "kind": member.kind,
            "fingerprint": member.fingerprint,
            "seed": job.seed,
            "price": member.price,
            "choices": "" if member.choices is None else json.dumps(member.choices, separators=(",", ":")),
            "spec": json.dumps(member.spec.to_dict(), separators=(",", ":")) if member.choices is None else "",
            **sizes(member.spec),
        }
        try:
            network, done = self._trained(job, what)
        except TrainingFailed as error:
            return Trained(**about, accuracy=None, judged=0, seconds=0.0, images=0, parent="", failed=str(error))
        accuracy = evaluate(network, judged, pixels=self.settings.resolution)
        return Trained(**about, accuracy=accuracy, judged=len(judged), **done)

    def _trained(self, job: Job, what: str) -> tuple[Network, dict[str, Any]]:
        """The network, and what its row says of the training."""
        settings, train = self.settings, self.images.shown.train
        looked_at = first(self.images.shown.validation, LOOKED_AT)
        begun = start(job.member.spec, self.parents, images=train, seed=job.seed, pixels=settings.resolution)
        by_clock = settings.images_each is None
        if self.parents is not None:
            recipe = long_tuning(settings, self.augment)
            tuner = FineTuner(train=train, validation=looked_at, recipe=recipe, seed=job.seed, clock=self.clock)
            tuned = tuner.fit(
                begun.network,
                pixels=settings.resolution,
                seconds=60 * settings.minutes_each if by_clock else None,
                images=settings.images_each,
                state_file=self.files.state_path,
                on_progress=lambda share, doing: self.progress.update(share, f"{what}: {doing}"),
            )
            return begun.network, {"seconds": tuned.seconds, "images": tuned.images, "parent": begun.parent or ""}
        short = long_recipe(settings, self.augment, tunes=False)
        trainer = Trainer(train=train, validation=looked_at, recipe=short, seed=job.seed, clock=self.clock)
        per_epoch = min(short.batch_size, len(train)) * short.steps_per_epoch(len(train))
        outcome = trainer.for_epochs(self._epochs(trainer, job, per_epoch)).fit(
            begun.network,
            state_file=None if by_clock else self.files.state_path,  # by the clock another run has other epochs
            on_step=lambda step, steps: self.progress.update(step / steps, f"{what}: training"),
            pixels=settings.resolution,
        )
        return begun.network, {"seconds": outcome.seconds, "images": outcome.epochs * per_epoch, "parent": ""}

    def _epochs(self, trainer: Trainer, job: Job, per_epoch: int) -> int:
        """Of a training from scratch, whose schedule must be known before it begins: by the speed of one epoch."""
        settings = self.settings
        if settings.images_each is not None:
            return max(1, round(settings.images_each / per_epoch))
        module = build(job.member.spec, generator=torch.Generator().manual_seed(job.seed))
        epoch_s = trainer.for_epochs(1).fit(module, pixels=settings.resolution).seconds
        return max(1, int(EPOCH_SHARE * (60 * settings.minutes_each - epoch_s) / epoch_s))


def _told(row: Trained) -> str:
    if row.failed:
        return f"failed: {row.failed}"
    return (
        f"{percent_text(row.accuracy)} of {row.judged} held-out images, {count_text(row.macs)} MACs, "
        f"{row.images} images in {row.seconds:.0f} s" + (f", from {row.parent}" if row.parent else "")
    )
