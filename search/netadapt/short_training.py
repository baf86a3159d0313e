"""Short trainings of proposals, one after the other or by several workers, and what they come to."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import nn

from search.cores import default_threads
from search.data import Dataset, Split, load
from search.training.errors import TrainingDiverged
from search.training.finetune import FineTuner, Tuned
from search.training.recipe import ONWARD_RATE, FineTuning, Recipe
from search.training.trainer import Outcome, Trainer
from searchspace.errors import InvalidArgument, PhinasError
from searchspace.nn import Network, load_weights
from searchspace.spec import NetworkSpec

RATE_SHARE = 0.2  # of the peak rate of a training from scratch
WARMUP = 0.1


class Trained(NamedTuple):
    """The outcome of the short training of module number `place`; where it diverged, the accuracy is 0."""

    place: int
    accuracy: float
    seconds: float
    diverged: bool = False


ShortTraining = Callable[..., Iterator[Trained]]
"""`train(modules, seed=...)` trains them alike, in place: each as soon as it is done, in eval mode on the CPU."""


def short_recipe(recipe: Recipe, steps: int, images: int) -> Recipe:
    """The recipe of `steps` steps from trained weights on, with so many training images.

    Where these are fewer than the steps take, it has several epochs alike, which may be up to one step each more.
    """
    size = min(recipe.batch_size, images)
    epochs = -(-steps // (images // size))
    return replace(
        recipe,
        epochs=epochs,
        epoch_images=-(-steps // epochs) * size,
        zero_init_residual=False,
        warmup_fraction=WARMUP,
        learning_rate=recipe.learning_rate * RATE_SHARE,
    )


def tuning_recipe(recipe: Recipe) -> FineTuning:
    """How a network that was fine-tuned goes on for a few steps, on images varied as by `recipe`."""
    usual = FineTuning().varied_as(recipe)
    return replace(
        usual,
        epochs=1,
        learning_rate=ONWARD_RATE * usual.learning_rate,
        warmup_fraction=WARMUP,
        warmup_steps=1,
        stops_early=False,
        small_share=0.0,
        batch_size=recipe.batch_size,
    )


def first(split: Split, images: int) -> Split:
    """The first images of a split."""
    return Split(split.pixels[:images], split.labels[:images])


class Serial:
    """One after the other in this process, with all its threads, by a trainer whose seed is replaced.

    A network that was fine-tuned from published weights is fine-tuned here too: its batch norms keep the statistics
    that it was tuned with. With new ones EfficientNet-Lite0 fell from 81 to 32 % at its first cut.
    """

    def __init__(self, trainer: Trainer | FineTuner, *, images: int = 0, pixels: int | None = None) -> None:
        """images: of each fine-tuning; a Trainer's recipe says its own."""
        self._trainer, self._images, self._pixels = trainer, images, pixels

    @classmethod
    def on(
        cls,
        images: Dataset,
        *,
        recipe: Recipe,
        validation_images: int,
        pixels: int | None = None,
        tuned: bool = False,
    ) -> "Serial":
        """With the training images of a data set and its first `validation_images` validation images, at `pixels`."""
        validation = first(images.validation, validation_images)
        if tuned:
            count = recipe.batch_size * recipe.epochs * recipe.steps_per_epoch(len(images.train))
            tuner = FineTuner(train=images.train, validation=validation, recipe=tuning_recipe(recipe), seed=0)
            return cls(tuner, images=count, pixels=pixels)
        return cls(Trainer(train=images.train, validation=validation, recipe=recipe, seed=0), pixels=pixels)

    @classmethod
    def load(cls, source: str | None, resolution: int, seed: int, **how: Any) -> "Serial":
        """`on` the images of a source."""
        return cls.on(load(source, resolution=resolution, seed=seed), **how)

    def __call__(self, modules: Sequence[nn.Module], *, seed: int) -> Iterator[Trained]:
        """See ShortTraining; in the order given."""
        trainer = replace(self._trainer, seed=seed)
        for place, module in enumerate(modules):
            try:
                outcome = self._fitted(trainer, module)
            except TrainingDiverged:
                module.cpu().eval()
                yield Trained(place, 0.0, 0.0, diverged=True)
            else:
                yield Trained(place, outcome.accuracy, outcome.seconds)

    def _fitted(self, trainer: Trainer | FineTuner, module: nn.Module) -> Outcome | Tuned:
        if isinstance(trainer, Trainer):
            return trainer.fit(module, pixels=self._pixels)
        pixels = self._pixels or trainer.train.pixels.shape[1]
        return trainer.fit(module, pixels=pixels, images=self._images, new_head=False)


class Workers(AbstractContextManager["Workers"]):
    """Several specs' networks at a time, each in a process of its own with its share of this process's threads.

    Which worker trains a network changes nothing; how many there are does, as the number of threads changes rounding.
    `pool` replaces the processes in tests.
    """

    def __init__(self, count: int, make: Callable[[], Serial], *, pool: Executor | None = None) -> None:
        """`make` gives what a worker trains with, in that worker."""
        self._pool = pool or ProcessPoolExecutor(
            count,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(os.getpid(), max(1, default_threads() // count), make),
        )

    def __call__(self, modules: Sequence[nn.Module], *, seed: int) -> Iterator[Trained]:
        """See ShortTraining. Raises PhinasError where a worker was killed."""
        jobs = {}
        try:
            for place, module in enumerate(modules):
                if not isinstance(module, Network):
                    raise InvalidArgument("--workers train networks of a spec; a module of your own is trained by one")
                jobs[self._pool.submit(_train, module.spec.to_json(), module.state_dict(), seed)] = place
            for job in as_completed(jobs):
                state, trained = job.result()
                modules[jobs[job]].load_state_dict(state)
                modules[jobs[job]].eval()
                yield trained._replace(place=jobs[job])
        except BrokenProcessPool:
            raise PhinasError(
                "a worker process ended unexpectedly, most likely for lack of memory: run the same command again "
                "with fewer --workers; every iteration is kept"
            ) from None

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)


_TRAINING: dict[str, Serial] = {}  # of this worker


def _begin(parent: int, threads: int, make: Callable[[], Serial]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    end_with(parent)
    torch.set_num_threads(threads)
    _TRAINING["serial"] = make()


def end_with(parent: int) -> None:
    """End this process when its parent, `parent`, was killed."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _train(spec: str, state: dict[str, Any], seed: int) -> tuple[dict[str, Any], Trained]:
    network = load_weights(NetworkSpec.from_json(spec), state)
    trained = next(iter(_TRAINING["serial"]([network], seed=seed)))
    return network.state_dict(), trained
