"""The paper's step 1, for any baseline, data and device: which (alpha, beta, gamma) is best for one step of phi?

EfficientNet (arXiv:1905.11946, section 3.3): fix phi = 1, assume twice the resources, and search alpha, beta and gamma
with alpha x beta^2 x gamma^2 close to 2. Where the paper leaves costs to that product, every candidate here is grown to
twice the baseline's cost, at most 2 % less where its layers allow and no dimension shrinks: MACs, or the predicted
latency of a device (as EfficientNet-X argues, arXiv:2102.05610), so that candidates differ in accuracy alone.
"""

import itertools
import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import optuna

from scaling.coefficients import RULES, Coefficients, exponents
from scaling.growth import Cost, Grown, grow_to
from search.accuracy import EstimatorSettings, estimator
from search.console import Progress, TimeLeft
from search.data import Dataset
from search.training.recipe import Recipe
from searchspace.cost import costs
from searchspace.errors import InvalidArgument
from searchspace.graph import lower
from searchspace.latency.table import LatencyTable
from searchspace.template import Template
from studies.schema import Status

MORE = 2.0  # times the baseline's cost, at phi = 1
CONFIDENCE = 0.95
MOST_DIVISIONS = 12  # 91 splits


class Candidate(NamedTuple):
    """A way to grow by one step: a rule's name or the shares of the cost, the bases, and the network of twice the cost.

    With the cost in MACs the bases are nominal (their product is about 2); in latency they are those at which phi = 1
    is the network. `cost_share`: its cost as a share of twice the baseline's; below 0.98 only where the layers come in
    coarser steps.
    """

    name: str
    coefficients: Coefficients
    grown: Grown
    cost_share: float = 1.0


class Standing(NamedTuple):
    """A candidate's validation accuracies by seed, their mean, and its standard error by the scatter of all."""

    candidate: Candidate
    accuracies: tuple[float, ...]
    mean: float
    standard_error: float
    tied: bool


def candidates(template: Template, cost: Cost, *, divisions: int, rebase: bool) -> list[Candidate]:
    """The named rules and all splits of the cost among the dimensions in `divisions` parts, without equal networks.

    Raises InvalidArgument for divisions out of bounds.
    """
    if not 1 <= divisions <= MOST_DIVISIONS:
        raise InvalidArgument(
            f"--divisions must be from 1 to {MOST_DIVISIONS}, got {divisions}: 3 gives thirds of the cost"
        )
    named = [(name, rule.coefficients) for name, rule in RULES.items()]
    splits = [
        (f"{d}:{w}:{divisions - d - w}", exponents(d / divisions, w / divisions, (divisions - d - w) / divisions))
        for d, w in itertools.product(range(divisions + 1), repeat=2)
        if d + w <= divisions
    ]
    target = MORE * cost(template.expand())
    found: dict[str, Candidate] = {}
    for name, bases in named + splits:
        grown = grow_to(template, cost=cost, target=target, coefficients=bases, one_way=True)
        phi = grown.phi if rebase else 1.0
        own = Coefficients(*(round(max(1.0, base**phi), 6) for base in (bases.alpha, bases.beta, bases.gamma)))
        found.setdefault(grown.spec.fingerprint(), Candidate(name, own, grown, cost(grown.spec) / target))
    return list(found.values())


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What a fit needs.

    `images` gives the data at a resolution, `accuracy` names the estimator (`search.accuracy`), `latencies` prices the
    networks in the study.
    """

    study: optuna.Study
    candidates: list[Candidate]
    seeds: int
    recipe: Recipe
    images: Callable[[int], Dataset]
    pixels: Callable[[Grown], int]
    latencies: LatencyTable | None
    progress: Progress
    clock: TimeLeft
    accuracy: str = "training"

    def run(self) -> None:
        """Train what has no trial yet, all candidates by one seed before the next, until the clock's limit."""
        missing = list(self.missing())
        for number, (seed, candidate) in enumerate(missing):
            if self.clock.over():
                return
            self._train(candidate, seed, number, len(missing))

    def missing(self) -> Iterator[tuple[int, Candidate]]:
        """(seed, candidate) without a finished trial."""
        done = {(row["fingerprint"], row["seed"]) for row in self._finished()}
        for seed, candidate in itertools.product(range(self.seeds), self.candidates):
            if (candidate.grown.spec.fingerprint(), seed) not in done:
                yield seed, candidate

    def _finished(self) -> list[dict[str, Any]]:
        complete = self.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        return [trial.user_attrs for trial in complete]

    def _train(self, candidate: Candidate, seed: int, number: int, count: int) -> None:
        """The training `number` (from 0) of the `count` of this run, kept in the study."""
        spec, pixels = candidate.grown.spec, self.pixels(candidate.grown)
        graph = lower(spec)
        own = costs(graph)
        what = f"{candidate.name}, seed {seed}: {own.macs / 1e6:.0f} M MACs, {pixels} px"
        judge = estimator(self.accuracy, EstimatorSettings(recipe=self.recipe, seed=seed))
        judge.prepare(self.images(pixels))
        found = judge.score(
            spec, on_progress=lambda share: self.progress.update(self.clock.at((number + share) / count), what)
        )
        attrs = {
            "status": Status.TRAINED,
            "choices": {"rule": candidate.name, **asdict(candidate.coefficients)},
            "spec": spec.to_json(),
            "fingerprint": spec.fingerprint(),
            "params": own.params,
            "macs": own.macs,
            "accuracy": found.mean,
            "history": list(found.history),
            "train_s": found.seconds,
            "epochs": len(found.history),
            "seed": seed,
            "reward": found.mean,
        }
        if self.latencies:
            attrs["predicted_latency_ms"] = self.latencies.predict(graph).latency_ms
        self.study.add_trial(optuna.trial.create_trial(value=found.mean, user_attrs=attrs))
        self.progress.line(f"{what}: {found.mean:.1%} validation accuracy in {found.seconds:.0f} s")

    def standings(self) -> list[Standing]:
        """The candidates that were trained, best mean first."""
        scores: dict[str, list[float]] = {}
        for row in self._finished():
            if row["seed"] < self.seeds:
                scores.setdefault(row["fingerprint"], []).append(row["accuracy"])
        known = {candidate.grown.spec.fingerprint(): candidate for candidate in self.candidates}
        return stand([(known[mark], tuple(values)) for mark, values in scores.items() if mark in known])


def stand(scores: list[tuple[Candidate, tuple[float, ...]]]) -> list[Standing]:
    """Means with the standard error that the scatter of seeds, taken as one for all candidates, gives them; tied are
    those that a two-sided t test (95 %) does not tell from the best: which of two equals is ahead is chance too. With
    one seed each nothing is known: all are tied.
    """
    freedom = sum(len(values) - 1 for _, values in scores)
    squares = sum(statistics.variance(values) * (len(values) - 1) for _, values in scores if len(values) > 1)
    deviation = (squares / freedom) ** 0.5 if freedom else float("inf")
    ranked = sorted(scores, key=lambda score: -statistics.fmean(score[1]))
    if not ranked:
        return []
    best, reach = ranked[0][1], _t(freedom) if freedom else float("inf")
    rows = []
    for candidate, values in ranked:
        behind = statistics.fmean(best) - statistics.fmean(values)
        doubt = reach * deviation * (1 / len(best) + 1 / len(values)) ** 0.5
        error = deviation / len(values) ** 0.5
        rows.append(Standing(candidate, values, statistics.fmean(values), error, values is best or behind <= doubt))
    return rows


def _t(freedom: int) -> float:
    """The quantile of Student's t that a difference must pass."""
    from scipy.stats import t  # scikit-learn brings it

    return float(t.ppf((1 + CONFIDENCE) / 2, freedom))
