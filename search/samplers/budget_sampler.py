"""An Optuna sampler whose every trial is within the budget and new.

Candidates are priced inside the sampler, so what is over the budget or known never becomes a trial. Three kinds:

- "gp" (the default): a Gaussian process on the choices and on summaries of the network (MACs, layers, mean kernel ...)
  learns from the trials; of some hundred candidates that use the budget, the one with the highest mean + standard
  deviation is next. `python -m tests.benchmarks.sampler_comparison` measures what that is worth.
- "tpe": Optuna's multivariate TPE, its proposals rejected until one fits.
- "random": honest random search, uniform over the choices of the space given that the network fits.

A proposal depends on the seed, the budget (which a search corrects by what it measures) and the trials before it that
did not fail, not on the process: an interrupted study, whose cut-off trial failed and was queued again, goes on as an
undisturbed one would.
"""

import math
import random
import statistics
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from search.candidates import Candidate, PricedSpace
from search.samplers import KINDS
from search.samplers.gaussian_process import Features, GaussianProcess
from search.samplers.moves import Moves
from searchspace.errors import InvalidArgument, InvalidChoice, PhinasError
from searchspace.spaces.space import Choices, SearchSpace

USED_BUDGET = 0.85  # "gp" proposes networks that use at least this share of the budget, where random ones do too
FIRST_TRIALS = 6  # before the Gaussian process has its say


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Every choice that has more than one value."""
    return {name: CategoricalDistribution(values) for name, values in space.parameters().items() if len(values) > 1}


def early_stopping() -> optuna.pruners.BasePruner:
    """Successive halving (arXiv:1810.05934): after 1, 3, 9 ... epochs the best third of the trainings goes on.

    In the default job 27 candidates were judged by thirds, by quarters 19: those that stay are trained to their end.
    """
    return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3, min_early_stopping_rate=0)


class BudgetSampler(optuna.samplers.BaseSampler):
    """Proposes networks that are predicted within `limit_ms`, which may change, and are not in `known`.

    known: fingerprints tried already, read at every proposal (the caller adds to it); finished and running trials of
    the study count too. starting_points: proposed first, brought within `starts_ms` (default: the limit as it is at
    first, so that they stay the same when it changes) where they are above it.
    starts: the starting points as they were proposed, or found to be tried already.
    rejected: how many priced candidates were "over_budget" or a "duplicate" since this sampler was made.
    Raises InvalidArgument for an unknown kind. A proposal raises InfeasibleBudget if nothing fits and SpaceExhausted
    if nothing is left; the trial it was for is then closed as failed.
    """

    def __init__(
        self,
        priced: PricedSpace,
        *,
        limit_ms: float,
        seed: int,
        kind: str = KINDS[0],
        known: set[str],
        starting_points: Sequence[Choices] = (),
        starts_ms: float | None = None,
    ) -> None:
        if kind not in KINDS:
            raise InvalidArgument(f"the sampler must be one of {', '.join(KINDS)}; got {kind!r}")
        self.priced, self.limit_ms, self.seed, self.kind, self.known = priced, limit_ms, seed, kind, known
        self.starting_points = tuple(starting_points)
        self._starts_ms = limit_ms if starts_ms is None else starts_ms
        self.rejected = {"over_budget": 0, "duplicate": 0}
        self._distributions = distributions(priced.space)
        self._features = Features(priced.space)
        self.starts: list[Candidate] = []
        self._fastest: Candidate | None = None
        self._random_ms: list[float] = []  # what random networks take, the quickest first

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All choices are proposed together."""
        return self._distributions

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Optuna asks nobody where there is nothing to choose: a space of one network ends here."""
        if not self._distributions:
            self.sample_relative(study, trial, {})

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Every choice of the next network, those of absent stages at their first value."""
        try:
            candidate = self._propose(study, trial)
        except PhinasError:
            study.tell(trial.number, state=TrialState.FAIL)
            raise
        parameters = self.priced.space.parameters()
        return {name: candidate.choices.get(name, parameters[name][0]) for name in search_space}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Raises InvalidArgument: the space has no such choice."""
        raise InvalidArgument(f"{param_name!r} is no choice of the space; ask with distributions(space)")

    def posterior(self, study: optuna.Study) -> dict[int, tuple[float, float]]:
        """What the Gaussian process believes of finished trials: mean and standard deviation of their values by number.

        Empty where there are fewer than FIRST_TRIALS values to learn from.
        """
        states = (TrialState.COMPLETE, TrialState.PRUNED)
        trials = study.get_trials(deepcopy=False, states=states)
        tried = self._priced(trials)
        values = _values(study, [t for t in trials if t.number in tried])
        if len(values) < FIRST_TRIALS:
            return {}
        rows = self._features.of([tried[number] for number in values])
        process = GaussianProcess(rows, len(self._features.codes))
        process.fit(rows, np.array(list(values.values())))
        found = zip(*process.predict(rows), strict=True)
        return {
            number: (float(mean), float(deviation)) for number, (mean, deviation) in zip(values, found, strict=True)
        }

    def _propose(self, study: optuna.Study, trial: FrozenTrial) -> Candidate:
        states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING, TrialState.WAITING)
        others = [t for t in study.get_trials(deepcopy=False, states=states) if t.number != trial.number]
        turn = sum(t.number < trial.number for t in others)
        tried = self._priced(others)
        whole = [t for t in others if t.number in tried]
        taken = self.known | {candidate.fingerprint for candidate in tried.values()}
        self._fastest = self._fastest or self.priced.fastest_within(self.limit_ms)
        moves = Moves(
            priced=self.priced,
            limit_ms=self.limit_ms,
            fastest=self._fastest,
            rng=random.Random(f"{self.seed}/{turn}"),
            taken=taken,
            rejected=self.rejected,
        )
        for index, choices in enumerate(self.starting_points):
            if index == len(self.starts):
                self.starts.append(moves.shrink(choices, self._starts_ms))
            start = self.starts[index]
            if start.fingerprint not in taken and moves.share(start) <= 1:
                return start
        history = [(tried[number], value) for number, value in _values(study, whole).items()]
        if self.kind == "gp":
            found = self._by_gaussian_process(moves, history)
        elif self.kind == "tpe" and len(history) >= FIRST_TRIALS:
            found = self._by_tpe(study, trial, moves)
        else:
            found = moves.uniform()
        return found or moves.anything_left(tried.values())

    def _priced(self, trials: Sequence[FrozenTrial]) -> dict[int, Candidate]:
        """The networks of trials by number: of those whose parameters are a point of the space.

        In a space of one network no trial has parameters: a published one is told by its name.
        """
        found = {}
        for trial in trials:
            if self._distributions.keys() <= trial.params.keys() and "network" not in trial.user_attrs:
                with suppress(InvalidChoice):
                    found[trial.number] = self.priced.price({n: trial.params[n] for n in self._distributions})
        return found

    def _by_tpe(self, study: optuna.Study, trial: FrozenTrial, moves: Moves) -> Candidate | None:
        tpe = optuna.samplers.TPESampler(
            seed=moves.rng.getrandbits(31), n_startup_trials=0, multivariate=True, constant_liar=False
        )
        for _ in range(16):
            choices = tpe.sample_relative(study, trial, self._distributions)
            if moves.fits(candidate := self.priced.price(choices)):
                return candidate
        return moves.walk(moves.within_budget(moves.draw(choices)), steps=0) or moves.uniform()

    def _by_gaussian_process(self, moves: Moves, history: list[tuple[Candidate, float]]) -> Candidate | None:
        floor_ms = self._floor_ms()
        if len(history) < FIRST_TRIALS:
            return moves.walk(moves.within_budget(moves.draw(), floor_ms=floor_ms), steps=40, floor_ms=floor_ms)
        pool = {c.fingerprint: c for c in moves.pool(floor_ms=floor_ms)}
        seen = self._features.of([candidate for candidate, _ in history])
        process = GaussianProcess(self._features.of([*pool.values()]), len(self._features.codes))
        process.fit(seen, np.array([value for _, value in history]))
        mean, _ = process.predict(seen)
        best = [history[i][0] for i in np.argsort(-mean, kind="stable")[:3]]
        pool |= {c.fingerprint: c for c in moves.around(best, floor_ms=floor_ms)}
        new = [candidate for candidate in pool.values() if candidate.fingerprint not in moves.taken]
        if not new:
            return None
        mean, deviation = process.predict(self._features.of(new))
        return new[int(np.argmax(mean + deviation))]

    def _floor_ms(self) -> float:
        """USED_BUDGET of the limit, or the median of random networks where the limit is more than generous.

        Where even the slowest of them keeps it, it says nothing, and only the quickest quarter is left out.
        """
        if not self._random_ms:
            rng, price, space = random.Random(self.seed), self.priced.price, self.priced.space
            self._random_ms = sorted(price(space.sample(rng)).latency_upper_ms for _ in range(31))
        if self.limit_ms >= self._random_ms[-1]:
            return self._random_ms[len(self._random_ms) // 4]
        return min(USED_BUDGET * self.limit_ms, statistics.median(self._random_ms))


def _values(study: optuna.Study, trials: list[FrozenTrial]) -> dict[int, float]:
    """What each trial gave, by trial number, the higher the better.

    A trial that was stopped early counts as its last report plus what completed trials gained, in the mean, from that
    step to their end. One that cannot be compared so is left out.
    """
    sign = -1.0 if study.direction == optuna.study.StudyDirection.MINIMIZE else 1.0
    complete = [t for t in trials if t.state == TrialState.COMPLETE and math.isfinite(t.value or 0.0)]
    values = {t.number: t.value or 0.0 for t in complete}
    for trial in trials:
        step = trial.last_step
        if trial.state != TrialState.PRUNED or step is None or not math.isfinite(trial.intermediate_values[step]):
            continue
        gains = [values[t.number] - t.intermediate_values.get(step, math.nan) for t in complete]
        if gains := [gain for gain in gains if math.isfinite(gain)]:
            values[trial.number] = trial.intermediate_values[step] + sum(gains) / len(gains)
    return {number: sign * values[number] for number in sorted(values)}
