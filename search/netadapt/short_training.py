"""Short trainings of proposals, one after the other or by several workers, and what they come to."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import torch

from search.data import Dataset, Split, load
from search.training.trainer import Recipe, TrainingDiverged, train
from searchspace.errors import PhinasError
from searchspace.nn import Network, load_weights
from searchspace.spec import NetworkSpec

RATE_SHARE = 0.2  # of the peak rate of a training from scratch
WARMUP = 0.1


class Tuned(NamedTuple):
    """A network after its short training, in eval mode on the CPU; accuracy on the validation images given. One whose
    training diverged is worth nothing: its accuracy is 0."""

    place: int
    network: Network
    accuracy: float
    seconds: float
    diverged: bool = False


class Tuner(Protocol):
    """Trains several networks alike."""

    def __call__(self, networks: Sequence[Network], *, seed: int) -> Iterator[Tuned]:
        """Each as soon as it is done."""


def short_recipe(recipe: Recipe, steps: int, images: int) -> Recipe:
    """`steps` steps from trained weights on, with so many training images; where these are fewer than the steps take,
    in several epochs alike, which may be up to one step each more."""
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


def first(split: Split, images: int) -> Split:
    """The first images of a split."""
    return Split(split.pixels[:images], split.labels[:images])


class Serial:
    """One after the other in this process, with all its threads."""

    def __init__(self, images: Dataset, recipe: Recipe, validation_images: int) -> None:
        self._train, self._validation = images.train, first(images.validation, validation_images)
        self._recipe = recipe

    def __call__(self, networks: Sequence[Network], *, seed: int) -> Iterator[Tuned]:
        """See Tuner; in the order given."""
        for place, network in enumerate(networks):
            try:
                outcome = train(network, train=self._train, validation=self._validation, recipe=self._recipe, seed=seed)
            except TrainingDiverged:
                yield Tuned(place, network.cpu().eval(), 0.0, 0.0, diverged=True)
                continue
            yield Tuned(place, network, outcome.accuracy, outcome.seconds)


class Workers(AbstractContextManager["Workers"]):
    """Several at a time, each in a process of its own with its share of this process's threads.

    Which worker trains a network changes nothing; how many there are does, as the number of threads changes rounding.
    """

    def __init__(
        self, count: int, *, source: str | None, resolution: int, seed: int, recipe: Recipe, validation_images: int
    ) -> None:
        threads = max(1, torch.get_num_threads() // count)
        self._pool = ProcessPoolExecutor(
            count,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(os.getpid(), threads, source, resolution, seed, recipe, validation_images),
        )

    def __call__(self, networks: Sequence[Network], *, seed: int) -> Iterator[Tuned]:
        """See Tuner. Raises PhinasError where a worker was killed."""
        try:
            yield from self._tuned(networks, seed)
        except BrokenProcessPool:
            raise PhinasError(
                "a worker process ended unexpectedly, most likely for lack of memory: run the same command again "
                "with fewer --workers; every iteration is kept"
            ) from None

    def _tuned(self, networks: Sequence[Network], seed: int) -> Iterator[Tuned]:
        jobs = {
            self._pool.submit(_tune, network.spec.to_json(), network.state_dict(), seed): index
            for index, network in enumerate(networks)
        }
        for job in as_completed(jobs):
            place = jobs[job]
            state, accuracy, seconds, diverged = job.result()
            yield Tuned(place, load_weights(networks[place].spec, state).eval(), accuracy, seconds, diverged)

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)


_HERE: dict[str, Serial] = {}


def _begin(
    parent: int, threads: int, source: str | None, resolution: int, seed: int, recipe: Recipe, validation_images: int
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    end_with(parent)
    torch.set_num_threads(threads)
    _HERE["tuner"] = Serial(load(source, resolution=resolution, seed=seed), recipe, validation_images)


def end_with(parent: int) -> None:
    """End this process when its parent, `parent`, was killed."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _tune(spec: str, state: dict[str, Any], seed: int) -> tuple[dict[str, Any], float, float, bool]:
    network = load_weights(NetworkSpec.from_json(spec), state)
    tuned = next(iter(_HERE["tuner"]([network], seed=seed)))
    return network.state_dict(), tuned.accuracy, tuned.seconds, tuned.diverged
