"""What every accuracy estimator answers, and how one is found by its name.

Every other module of this package is an estimator: it registers its class under the module's name. No list of them
stands anywhere else. Nothing here imports torch.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from search.training.effort import WHOLE, Effort
from search.training.recipe import Recipe
from searchspace.errors import InvalidArgument
from searchspace.rounding import scaled_pixels
from searchspace.spec import NetworkSpec

if TYPE_CHECKING:
    from pathlib import Path

    from search.data import Dataset
    from searchspace.nn import Network
    from searchspace.nn.weights.sources import Parents
    from searchspace.spaces.space import SearchSpace

OnEpoch = Callable[[int, float], None]
OnProgress = Callable[[float], None]

EPOCHS, TIME = "epochs", "time"  # what networks are compared at: equal images, or equal time for a training


class Estimate(NamedTuple):
    """How good a network is: the top-1 accuracy to expect on the validation images, a fraction.

    `deviation` is its standard deviation, above 0: at least what the number of images leaves open. `history` holds the
    partial results, the last of them `mean`.
    """

    mean: float
    deviation: float
    seconds: float
    history: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class EstimatorSettings:
    """What estimators are made from; each takes what it needs."""

    recipe: Recipe = field(default_factory=Recipe)
    seed: int = 0  # of all randomness, a fresh network's weights included
    device: str | None = None  # None: CUDA if there is one
    parents: Parents | None = None  # published weights to start from; None: there are none
    equal: str = TIME  # what networks are compared at; EPOCHS in studies of before
    whole: float = WHOLE  # times the errors of a network that has all of its parent's weights; 1 in studies of before
    pixels: int | None = None  # that images are judged at; None: by `pixels_for`
    largest: int | None = None  # of the input sizes that are compared; None: all networks are judged at the same pixels
    clock: Callable[[], float] = time.perf_counter
    space: SearchSpace | None = None  # that candidates come from
    within: Callable[[NetworkSpec], bool] | None = None  # whether a network is within the budget; None: all are
    seconds: float | None = None  # that `prepare` may take to train something; None: as long as the recipe says
    folder: Path | None = None  # where `prepare` keeps what it trained
    keep: Callable[[Network], None] | None = None  # takes each network that a score trained from scratch

    def effort(self) -> Effort | None:
        """What training steps cost, to compare networks at equal time; None where they are compared at equal images."""
        return None if self.space is None or self.equal == EPOCHS else Effort(self.space)

    def pixels_for(self, spec: NetworkSpec, best: int) -> int:
        """The pixels that a network is judged at: `pixels`, or what the estimator holds best, by the network's size."""
        if self.pixels is not None:
            return self.pixels
        return best if self.largest is None else scaled_pixels(best, spec.resolution, self.largest)


class AccuracyEstimator(Protocol):
    """Scores networks on the validation images of the data that it was prepared with."""

    trains: bool
    """Whether partial results come after epochs of the recipe: then a score's seconds say how long training takes."""

    only_space: bool
    """Whether only networks of the search space can be scored: published ones are no candidates then."""

    @property
    def epochs(self) -> int:
        """How many partial results a score reports, at least 1; the last one is the estimate itself."""

    def identity(self) -> dict[str, Any]:
        """All that scores depend on beside the data and the seed, as JSON values; stored with a study."""

    def prepare(self, data: Dataset, *, on_progress: OnProgress | None = None) -> None:
        """Do once what all scores need."""

    def score(
        self,
        spec: NetworkSpec,
        *,
        seconds: float | None = None,
        on_epoch: OnEpoch | None = None,
        on_progress: OnProgress | None = None,
    ) -> Estimate:
        """Estimate the accuracy of one network; its input size need not be that of the images.

        on_epoch(number from 1, accuracy) hears each partial result, and what it raises (`optuna.TrialPruned`, say)
        stops the score and passes through. After `seconds` the next partial result is the estimate. on_progress hears
        the share that is done, from 0 to 1. Raises TrainingFailed where this network cannot be scored and others may.
        """


Factory = Callable[[EstimatorSettings], AccuracyEstimator]
_FACTORIES: dict[str, Factory] = {}


def register(name: str) -> Callable[[Factory], Factory]:
    """Registers a class (or a function) that makes an estimator from its settings under a name."""

    def keep(factory: Factory) -> Factory:
        _FACTORIES[name] = factory
        return factory

    return keep


def names() -> tuple[str, ...]:
    """The names of all estimators, without importing any."""
    package = import_module("search.accuracy")
    modules = {module.name for module in iter_modules(package.__path__)} - {"protocol"}
    return tuple(sorted(modules | _FACTORIES.keys()))


def estimator(name: str, settings: EstimatorSettings) -> AccuracyEstimator:
    """The estimator of that name. Raises InvalidArgument, with the names there are, for another."""
    if name not in names():
        raise InvalidArgument(
            f"an accuracy estimator is one of {', '.join(names())}, got {name!r:.80}: choose one of them"
        )
    if name not in _FACTORIES:
        import_module(f"search.accuracy.{name}")
    return _FACTORIES[name](settings)
