"""Short trainings of proposals, one after the other or by several workers, and what they come to."""

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import torch

from search.data import Dataset, Split, load
from search.train import Recipe, train
from searchspace.nn import Network, load_weights
from searchspace.spec import NetworkSpec

RATE_SHARE = 0.2  # of the peak rate of a training from scratch
WARMUP = 0.1


class Tuned(NamedTuple):
    """A network after its short training, in eval mode on the CPU; accuracy on the validation images given."""

    place: int
    network: Network
    accuracy: float
    seconds: float


class Tuner(Protocol):
    """Trains several networks alike."""

    def __call__(self, networks: Sequence[Network], *, seed: int) -> Iterator[Tuned]:
        """Each as soon as it is done."""


def short_recipe(recipe: Recipe, steps: int) -> Recipe:
    """`steps` steps from trained weights on."""
    return replace(
        recipe, epochs=1, epoch_images=steps * recipe.batch_size, calm_residuals=False, warmup_fraction=WARMUP,
        learning_rate=recipe.learning_rate * RATE_SHARE,
    )  # fmt: skip


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
            outcome = train(network, train=self._train, validation=self._validation, recipe=self._recipe, seed=seed)
            yield Tuned(place, network, outcome.accuracy, outcome.seconds)


class Workers(AbstractContextManager["Workers"]):
    """Several at a time, each in a process of its own with its share of this process's threads.

    Which worker trains a network changes nothing; how many there are does, as the number of threads changes rounding.
    """

    def __init__(
        self, count: int, *, source: str | None, resolution: int, seed: int, recipe: Recipe, validation_images: int
    ) -> None:  # fmt: skip
        threads = max(1, torch.get_num_threads() // count)
        self._pool = ProcessPoolExecutor(
            count, mp_context=multiprocessing.get_context("spawn"), initializer=_begin,
            initargs=(threads, source, resolution, seed, recipe, validation_images),
        )  # fmt: skip

    def __call__(self, networks: Sequence[Network], *, seed: int) -> Iterator[Tuned]:
        """See Tuner."""
        jobs = {
            self._pool.submit(_tune, network.spec.to_json(), network.state_dict(), seed): index
            for index, network in enumerate(networks)
        }
        for job in as_completed(jobs):
            place = jobs[job]
            state, accuracy, seconds = job.result()
            yield Tuned(place, load_weights(networks[place].spec, state).eval(), accuracy, seconds)

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)


_HERE: dict[str, Serial] = {}


def _begin(
    threads: int, source: str | None, resolution: int, seed: int, recipe: Recipe, validation_images: int
) -> None:
    torch.set_num_threads(threads)
    _HERE["tuner"] = Serial(load(source, resolution=resolution, seed=seed), recipe, validation_images)


def _tune(spec: str, state: dict[str, Any], seed: int) -> tuple[dict[str, Any], float, float]:
    network = load_weights(NetworkSpec.from_json(spec), state)
    tuned = next(iter(_HERE["tuner"]([network], seed=seed)))
    return network.state_dict(), tuned.accuracy, tuned.seconds
