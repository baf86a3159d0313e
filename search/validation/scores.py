"""What estimators and proxies say of the networks of a reference set: worked out once, kept."""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from search.accuracy import AccuracyEstimator, EstimatorSettings, estimator
from search.latency.cache import default_dir
from search.training.errors import TrainingFailed
from search.training.recipe import Recipe
from search.validation.files import ReferenceFiles, Score, Trained
from search.validation.inputs import Inputs
from search.validation.proxies import BATCH, PROXIES, proxy
from search.validation.settings import PREPARE_MINUTES
from searchspace.errors import InvalidArgument, PhinasError, StorageError
from searchspace.spaces.space import SearchSpace
from searchspace.spec import NetworkSpec

SIZES = ("macs", "params", "depth")  # what must be beaten


class Judged(NamedTuple):
    """All that one estimator says: a score for each fingerprint that it can judge, seconds a network and once."""

    scores: dict[str, float]
    seconds: float
    prepare_s: float


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """Has networks judged as a search does: by images of `pixels`, without the held-out half.

    What an estimator trains once for all networks is kept in the cache, where a run that was cut off finds it.

    Attributes:
        prepare_minutes: That an estimator which trains something once may take for it.
        epochs: Of short trainings; None for the recipe's own.
    """

    inputs: Inputs
    files: ReferenceFiles
    pixels: int
    prepare_minutes: float = PREPARE_MINUTES
    epochs: int | None = None
    clock: Callable[[], float] = time.perf_counter

    def run(self, trained: Sequence[Trained], names: Iterable[str]) -> dict[str, Judged]:
        """What `names`, of estimators and proxies, say of the trained networks; one that cannot work is left out."""
        specs = {row.fingerprint: spec_of(row, self.inputs.space) for row in trained}
        found = {}
        for name in names:
            judged = self._proxy(name, specs) if name in PROXIES else self._estimator(name, specs)
            if judged is not None:
                found[name] = judged
        for name in SIZES:
            found[name] = Judged({row.fingerprint: float(getattr(row, name)) for row in trained}, 0.0, 0.0)
        return found

    def _estimator(self, name: str, specs: dict[str, NetworkSpec]) -> Judged | None:
        inputs = self.inputs
        own = [] if self.prepare_minutes == PREPARE_MINUTES else [self.prepare_minutes]
        whole = digest(inputs.identity(), self.pixels, self.epochs, self.prepare_minutes)
        settings = EstimatorSettings(
            recipe=self._recipe(),
            seed=inputs.settings.seed,
            parents=inputs.parents,
            clock=self.clock,
            space=inputs.space,
            within=inputs.within,
            seconds=60 * self.prepare_minutes,
            folder=default_dir() / "validation" / f"{name}-{whole}",
        )
        try:
            judge = estimator(name, settings)
        except InvalidArgument as error:
            inputs.progress.line(f"{name} is left out: {error}")
            return None
        identity = digest(judge.identity(), self.pixels, inputs.settings.seed, *own)
        missing = self._missing(name, identity, specs)
        if missing:
            images = self.inputs.images_at(self.pixels).shown
            began = self.clock()
            judge.prepare(images, on_progress=lambda share: inputs.progress.update(share, f"preparing {name}"))
            prepare_s = self.clock() - began
            self._keep(name, identity, missing, lambda spec: _judged(judge, spec), prepare_s)
        return self._kept(name, identity, specs)

    def _recipe(self) -> Recipe:
        inputs = self.inputs
        recipe = Recipe(class_weights=inputs.settings.class_weights).varied(inputs.augmentation.augment)
        return recipe if self.epochs is None else replace(recipe, epochs=self.epochs)

    def _proxy(self, name: str, specs: dict[str, NetworkSpec]) -> Judged:
        identity = digest(BATCH, self.inputs.settings.seed)
        missing = self._missing(name, identity, specs)

        def judged(spec: NetworkSpec) -> tuple[float, float | None]:
            return proxy(name, spec, self.inputs.images.shown.train, seed=self.inputs.settings.seed), None

        self._keep(name, identity, missing, judged, 0.0)
        return self._kept(name, identity, specs)

    def _missing(self, name: str, identity: str, specs: dict[str, NetworkSpec]) -> dict[str, NetworkSpec]:
        known = {row.fingerprint for row in self._rows(name, identity)}
        return {fingerprint: spec for fingerprint, spec in specs.items() if fingerprint not in known}

    def _rows(self, name: str, identity: str) -> list[Score]:
        return [row for row in self.files.scores() if (row.estimator, row.identity) == (name, identity)]

    def _keep(
        self,
        name: str,
        identity: str,
        missing: dict[str, NetworkSpec],
        judged: Callable[[NetworkSpec], tuple[float, float | None]],
        prepare_s: float,
    ) -> None:
        rows = self.files.scores()
        for number, (fingerprint, spec) in enumerate(missing.items(), 1):
            began, failed = self.clock(), ""
            score: float | None = None
            deviation: float | None = None
            try:
                score, deviation = judged(spec)
            except TrainingFailed as error:
                failed = str(error)
            rows.add(
                Score(
                    estimator=name,
                    identity=identity,
                    fingerprint=fingerprint,
                    score=score,
                    deviation=deviation,
                    seconds=self.clock() - began,
                    prepare_s=prepare_s,
                    failed=failed,
                )
            )
            self.inputs.progress.update(number / len(missing), f"{name}: network {number} of {len(missing)}")

    def _kept(self, name: str, identity: str, specs: dict[str, NetworkSpec]) -> Judged:
        rows = [row for row in self._rows(name, identity) if row.fingerprint in specs]
        scores = {row.fingerprint: row.score for row in rows if row.score is not None}
        seconds = sum(row.seconds for row in rows) / max(1, len(rows))
        return Judged(scores, seconds, max((row.prepare_s for row in rows), default=0.0))


def _judged(judge: AccuracyEstimator, spec: NetworkSpec) -> tuple[float, float | None]:
    estimate = judge.score(spec)
    return estimate.mean, estimate.deviation


def digest(*content: Any) -> str:
    """Eight hex digits of JSON values."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def spec_of(row: Trained, space: SearchSpace) -> NetworkSpec:
    """The network of a row. Raises StorageError where it is another one than was trained."""
    try:
        spec = space.spec(json.loads(row.choices)) if row.choices else NetworkSpec.from_json(row.spec)
    except (ValueError, TypeError, AttributeError, PhinasError) as error:
        raise StorageError(
            f"the row of {row.network} must hold a network, and does not ({error}): bring the file back from a copy, "
            "or give the --space that it was made with"
        ) from None
    if spec.fingerprint() != row.fingerprint:
        raise StorageError(
            f"the row of {row.network} must be of the network {row.fingerprint}, and its choices mean "
            f"{spec.fingerprint()}: the search space is another one, or the file was changed"
        )
    return spec
