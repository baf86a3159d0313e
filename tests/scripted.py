"""Stand-ins for what takes time: an estimator and a trainer that answer at once, for tests of what asks them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from search.accuracy import Estimate
from search.data import Dataset, Split
from search.training.evaluate import binomial_deviation
from search.training.trainer import Outcome, Trainer
from searchspace.cost import params
from searchspace.nn import Network
from searchspace.spec import NetworkSpec


def two_halves(count: int, *, pixels: int = 16, seed: int = 0) -> Split:
    """Images of two classes in turn: the left or the right half is bright."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % 2
    images = rng.integers(0, 120, (count, 16, 16, 3))
    for image, label in zip(images, labels, strict=True):
        image[:, 8 * label : 8 * label + 8] += 100
    times = pixels // 16
    return Split(np.repeat(np.repeat(images.astype(np.uint8), times, 1), times, 2), labels)


def dataset_of(train: Split, validation: Split, *, classes: int = 2, test: Split | None = None) -> Dataset:
    """A data set of these splits; `test` is `validation` where none is given."""
    return Dataset(
        name="scripted",
        classes=tuple("abcdefghij"[:classes]),
        resolution=train.pixels.shape[1],
        train=train,
        validation=validation,
        fingerprint="scripted",
        skipped=(),
        notes=(),
        _test=validation if test is None else test,
    )


Accuracy = Callable[[NetworkSpec], float]


def by_params(spec: NetworkSpec) -> float:
    """More parameters, more accuracy."""
    return min(0.99, 0.5 + params(spec) / 40e6)


class Ticks:
    """A clock that goes on by `each` seconds whenever it is read, and by `pass_s`."""

    def __init__(self, each: float = 0.0) -> None:
        self.now, self.each = 0.0, each

    def __call__(self) -> float:
        self.now += self.each
        return self.now

    def pass_s(self, seconds: float) -> None:
        self.now += seconds


class SlowingMachine(Ticks):
    """A clock on which what should take some seconds takes `slower` times as long from `from_s` on."""

    def __init__(self, slower: float = 1.0, *, from_s: float = 0.0) -> None:
        super().__init__()
        self.slower, self.from_s = slower, from_s

    def pass_s(self, seconds: float) -> None:
        fast = min(seconds, max(0.0, self.from_s - self.now))
        self.now += fast + self.slower * (seconds - fast)


@contextmanager
def networks_take(image_s: float, machine: Ticks) -> Iterator[None]:
    """Networks take `image_s` of the machine's clock to learn from an image of 32 px, and 0.35 of it to tell one."""

    def passed(module: nn.Module, images: tuple[Any, ...], _: Any) -> None:
        if isinstance(module, Network):
            count, _, height, width = images[0].shape
            learns = module.training and torch.is_grad_enabled()
            machine.pass_s(count * image_s * height * width / 32**2 * (1.0 if learns else 0.35))

    hook = register_module_forward_hook(passed)
    try:
        yield
    finally:
        hook.remove()


class ScriptedEstimator:
    """An AccuracyEstimator by a function of the spec, with partial results that rise to it in equal steps.

    fail: what the n-th score (from 1) raises. scored: the fingerprints, in order. A score takes `seconds_each`, of
    `clock` where one is given. Register it with `register(name)(lambda settings: ScriptedEstimator(...))`.
    """

    only_space = False

    def __init__(
        self,
        accuracy: Accuracy | Mapping[str, float] = by_params,
        *,
        epochs: int = 4,
        images: int = 1000,
        seconds_each: float = 1.0,
        fail: Mapping[int, BaseException] | None = None,
        clock: Ticks | None = None,
        trains: bool = True,
    ) -> None:
        self._accuracy, self._fail = accuracy, dict(fail or {})
        self._seconds_each, self._images, self._clock = seconds_each, images, clock or Ticks()
        self.epochs, self.trains = epochs, trains
        self.prepared_with: Any = None
        self.scored: list[str] = []

    @property
    def calls(self) -> int:
        return len(self.scored)

    def identity(self) -> dict[str, Any]:
        return {"epochs": self.epochs}

    def prepare(self, data: Any, *, on_progress: Any = None) -> None:
        self.prepared_with = data

    def accuracy(self, spec: NetworkSpec) -> float:
        """By the mapping of fingerprints to accuracies, or the function."""
        return self._accuracy[spec.fingerprint()] if isinstance(self._accuracy, Mapping) else self._accuracy(spec)

    def score(
        self,
        spec: NetworkSpec,
        *,
        seconds: float | None = None,
        on_epoch: Callable[[int, float], None] | None = None,
        on_progress: Callable[[float], None] | None = None,
    ) -> Estimate:
        self.scored.append(spec.fingerprint())
        if self.calls in self._fail:
            raise self._fail[self.calls]
        accuracy, began = self.accuracy(spec), self._clock.now
        history: list[float] = []
        for epoch in range(1, self.epochs + 1):
            self._clock.pass_s(self._seconds_each / self.epochs)
            history.append(accuracy * epoch / self.epochs)
            if on_progress is not None:
                on_progress(epoch / self.epochs)
            if on_epoch is not None:
                on_epoch(epoch, history[-1])
            if seconds is not None and self._clock.now - began >= seconds:
                break
        deviation = binomial_deviation(history[-1], self._images)
        return Estimate(history[-1], deviation, self._clock.now - began, tuple(history))


@dataclass(frozen=True, kw_only=True)
class ScriptedTrainer(Trainer):
    """A Trainer that leaves modules as they are and says what `accuracy` of their spec is (a number: of all).

    fail: what the n-th fit (from 1) raises, those of `for_epochs` counted. fits: (module, recipe, state file) of each.
    """

    accuracy: Callable[[Any], float] | float = 0.9
    seconds_each: float = 1.0
    fail: Mapping[int, BaseException] = field(default_factory=dict)
    fits: list[tuple[nn.Module, Any, Path | None]] = field(default_factory=list)

    def fit(
        self,
        module: nn.Module,
        *,
        state_file: Path | None = None,
        on_epoch: Callable[[int, float], None] | None = None,
        on_step: Callable[[int, int], None] | None = None,
        deadline: Callable[[], bool] | None = None,
        pixels: int | None = None,
        seconds: float | None = None,
        then_s: float = 0.0,
    ) -> Outcome:
        self.fits.append((module, self.recipe, state_file))
        if len(self.fits) in self.fail:
            raise self.fail[len(self.fits)]
        whole = self.accuracy(module.spec) if callable(self.accuracy) else self.accuracy
        history: list[float] = []
        for epoch in range(1, self.recipe.epochs + 1):
            history.append(whole * epoch / self.recipe.epochs)
            if on_step is not None:
                on_step(epoch, self.recipe.epochs)
            if on_epoch is not None:
                on_epoch(epoch, history[-1])
            if deadline is not None and deadline():
                break
        module.eval()
        return Outcome(tuple(history), self.seconds_each)


def unbalanced_photos(folder: Path, counts: Mapping[str, int] | None = None) -> Path:
    """A folder with a folder of noise images, 32 px, for each class: many, and few, as its name says."""
    for label, count in (counts or {"many": 24, "few": 4}).items():
        (folder / label).mkdir(parents=True)
        for number in range(count):
            noise = np.random.default_rng([count, number]).integers(0, 256, (32, 32, 3), np.uint8)
            Image.fromarray(noise).save(folder / label / f"{number}.png")
    return folder
