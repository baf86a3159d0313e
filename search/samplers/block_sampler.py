"""An Optuna sampler for categorical and small-integer choices, with costs that are known before a trial.

    optuna.create_study(sampler=BlockSampler(seed=0)).optimize(objective, n_trials=100)

A Gaussian process of the choices (`surrogate.py`) learns from every trial; the next one has the highest expected
improvement among candidates changed from the best and drawn fresh (`pool.py`). README.md has the rest.
"""

import copy
import itertools
import math
import random
import threading
import warnings
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from search.samplers.acquisition import expected_improvement, front_of, hypervolume_improvement, steady
from search.samplers.history import PROPOSED, History, Reader
from search.samplers.limits import Cost, Limits, every_row, upper_end
from search.samplers.parameters import ABSENT, Parameters, Present, Rows, Summaries, is_choice
from search.samplers.pool import Pool, Score
from search.samplers.surrogate import Surrogate
from searchspace.errors import InfeasibleBudget, InvalidArgument

FIRST_TRIALS = 6  # drawn at random before the surrogate has its say
PARENTS = 5  # rows of the highest mean, which candidates are changed from
_LOCK = threading.RLock()  # study.optimize(n_jobs=2) has threads
Space = Mapping[str, BaseDistribution | Sequence[Any]]


class BlockSampler(optuna.samplers.BaseSampler):
    """Proposes choices that are new, keep all limits, and are expected to improve on the best.

    seed: the same trials for the same seed, in another process and after a restart too; None draws one.
    space: name -> values, or Optuna's distribution, of every choice; without it, what trials were asked for.
    cost: the choices as a dict -> name -> number, or interval (low, high) of which the upper end counts. limits: name
    -> the highest cost; what is over one is never evaluated. The attribute `limits` may be changed between trials.
    minimize: names of costs that are objectives as well.
    identity: the choices -> what tells a network from others (default: the choices themselves); none is tried twice.
    known: identities that count as tried beside the study's trials; it may grow.
    starts: choices that are proposed first, as far as they keep the limits.
    present: all choices -> the names of those that mean something (default: told by the trials). Where it is given,
        `space` is all there is.
    prior: an earlier study of one objective and the same choices, of another budget, device or data set. Its values
        count as far as this study's are likelier with them, see `fit_slope`. Raises StudyMismatch for other choices.
    features: the choices -> numbers, always as many, that a value may depend on smoothly: sizes of the whole network.

    gain: what the trial that was proposed last is expected to improve the best by, in the objective's unit; infinite
    before anything is known, and with several objectives.
    rejected: how many candidates were "over_limit", a "duplicate" or "without_cost" since this sampler was made.
    A proposal raises InfeasibleBudget where nothing keeps the limits, and InvalidArgument where nothing has a cost or
    cost lacks a limit's name. Floats, logarithmic integers and those of many values are drawn by Optuna's default
    sampler, which is said once. Where every point was tried, they are tried again, which is said once.
    """

    def __init__(
        self,
        *,
        seed: int | None = None,
        space: Space | None = None,
        cost: Cost | None = None,
        limits: Mapping[str, float] | None = None,
        minimize: Sequence[str] = (),
        identity: Callable[[dict[str, Any]], Hashable] | None = None,
        known: Collection[Hashable] = (),
        starts: Sequence[Mapping[str, Any]] = (),
        present: Present | None = None,
        features: Summaries | None = None,
        prior: optuna.Study | None = None,
    ) -> None:
        if cost is None and (limits or minimize):
            raise InvalidArgument("limits and minimize name costs, so they need cost=, a function of the choices")
        for name, limit in (limits or {}).items():
            if not float(limit) == float(limit):
                raise InvalidArgument(f"limits must be numbers; got {limit!r} for {name!r}")
        self.seed = random.SystemRandom().getrandbits(31) if seed is None else seed
        self.cost, self.limits, self.minimize, self.identity = cost, dict(limits or {}), tuple(minimize), identity
        self.rejected = {"over_limit": 0, "duplicate": 0, "without_cost": 0}
        self.known, self.starts, self.gain = known, starts, math.inf
        distributions = {name: _distribution(name, values) for name, values in (space or {}).items()}
        self.reader = Reader(distributions, present, features, prior)
        self._limits: Limits | None = None
        self._said: set[str] = set()
        self._identities: dict[Hashable, Hashable] = {}

    # Optuna's side

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All choices that are known of, proposed together."""
        with _LOCK:
            return dict(self._history(study, trial).parameters.distributions)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Raises InfeasibleBudget for choices that were enqueued and are over a limit."""
        given = trial.system_attrs.get("fixed_params", {})
        if not given or not self.limits:
            return
        with _LOCK:
            parameters = self._history(study, trial).parameters
            row = parameters.row(given)
            if row is None or not parameters.is_whole(row):
                return  # some are left to propose, or not known of
            limits = self.limits_of(parameters)
            if not limits.fits(row):
                study.tell(trial.number, state=TrialState.FAIL)
                raise InfeasibleBudget(
                    f"trial {trial.number} was enqueued with {given}, which costs {limits.costs(row)}, over the limits "
                    f"{self.limits}: enqueue what is within them"
                )

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The next trial's choices, those that are absent left out."""
        with _LOCK:
            history = self._history(study, trial)
            known = history.parameters.distributions
            others = [name for name in search_space if name not in known]
            found = {n: self.sample_independent(study, trial, n, search_space[n]) for n in others}
            if len(others) < len(search_space):
                chosen = history.parameters.choices(self._propose(study, trial, history))
                found |= {name: value for name, value in chosen.items() if name in search_space}
            return found

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A parameter that is not known of yet, at random, or that is no choice.

        Raises TrialPruned, which Optuna takes for the trial's end, where no value of it keeps the limits.
        """
        rng = random.Random(f"{self.seed}/{trial.number}/{param_name}")
        if not is_choice(param_distribution):
            self._say(f"parameters that are no choices, such as {param_name!r}, are drawn by Optuna's TPESampler")
            tpe = optuna.samplers.TPESampler(seed=rng.getrandbits(31))
            return tpe.sample_independent(study, trial, param_name, param_distribution)
        one = Parameters({param_name: param_distribution})
        values = [one.choices(row)[param_name] for row in every_row(one)]
        rng.shuffle(values)
        given = {n: v for n, v in trial.params.items() if is_choice(trial.distributions[n])}
        for value in values:
            if not self.limits or self._may_fit({**given, param_name: value}):
                return value
        with _LOCK:
            self.reader.add({**trial.distributions, param_name: param_distribution})
        raise optuna.TrialPruned(f"no {param_name!r} keeps the limits {self.limits} with {given}; give space=")

    def posterior(self, study: optuna.Study) -> dict[int, tuple[float, float]]:
        """What is believed of trials' noiseless values: mean and standard deviation, by number, of one objective.

        Of those of choices that completed or were stopped early; none with fewer than FIRST_TRIALS of them. Raises
        InvalidArgument for several objectives.
        """
        with _LOCK:
            history = self.reader.read(study, study.get_trials(deepcopy=False))
            if len(history.numbers) < FIRST_TRIALS:
                return {}
            surrogate, *others = self.reader.surrogates(history)
            if others:
                raise InvalidArgument(f"a posterior is of one objective; the study {study.study_name!r} has several")
            sign = -1.0 if study.direction == optuna.study.StudyDirection.MINIMIZE else 1.0
            mean, deviation = surrogate.predict(history.parameters.features(history.rows))
            return dict(zip(history.numbers, zip((sign * mean).tolist(), deviation.tolist(), strict=True), strict=True))

    # The proposal

    def _history(self, study: optuna.Study, trial: FrozenTrial) -> History:
        others = [other for other in study.get_trials(deepcopy=False) if other.number != trial.number]
        return self.reader.read(study, others)

    def _propose(self, study: optuna.Study, trial: FrozenTrial, history: History) -> Rows:
        parameters = history.parameters
        given = parameters.row(trial.system_attrs.get("fixed_params", {}))
        pool = self.pool(history, turn=sum(number < trial.number for number in history.counted))
        if given is not None:
            pool.fixed = {int(place): int(given[place]) for place in np.flatnonzero(given >= 0)}
        try:
            for row in self._ranked(history, pool):
                if self._claimed(study, trial, history, row):
                    return row
            self._exhausted()
            pool.taken = set()
            row = next(itertools.chain(self._ranked(history, pool), self._last(pool)))
            self._tell_others(study, trial, parameters, row)
            return row
        finally:
            self.rejected["without_cost"] = pool.limits.without_cost
            if pool.limits.error is not None:
                self._say(f"choices that cost has no number for are left out; the first time: {pool.limits.error!r}")

    def _exhausted(self) -> None:
        self._say("every point of the space that keeps the limits was tried: they are tried again")

    def _last(self, pool: Pool) -> Iterator[Rows]:
        """What is left where the pool is empty, or the error that says why nothing is."""
        yield pool.limits.within(pool.rng, pool.fixed)

    def pool(self, history: History, *, turn: int) -> Pool:
        """Where the candidates of a turn come from."""
        return Pool(
            parameters=history.parameters,
            limits=self.limits_of(history.parameters),
            rng=np.random.default_rng([self.seed, turn]),
            taken=set() if self.reader.has_others else {row.tobytes() for row in history.tried.values()},
            rejected=self.rejected,
        )

    def _ranked(self, history: History, pool: Pool) -> Iterator[Rows]:
        """New rows within the limits, the best first; all there are."""
        self.gain = math.inf
        yield from self._first(pool)
        if len(history.numbers) < FIRST_TRIALS:
            if self.reader.earlier is not None and len(history.counted) % 2 == 0:
                yield from self._by_prior(self.reader.earlier, history, pool)
            yield from pool.fresh(8)
        else:
            parents, score = self.belief(history, pool)
            yield from pool.climbed(pool.candidates(parents), self._noted(score, history))
        yield from pool.anything_new([*history.tried.values()])

    def _by_prior(self, earlier: Surrogate, history: History, pool: Pool) -> Iterator[Rows]:
        """What an earlier study believes to be best: every second one of the first trials."""

        def best_first(rows: Rows) -> Rows:
            means = earlier.mean(history.parameters.features(rows)) / earlier.noise
            return np.asarray(rows[np.argsort(-np.round(means, 6), kind="stable")])

        if len(drawn := pool.fresh(40)):
            best = best_first(drawn)[:PARENTS]
            yield from best_first(np.concatenate([best, pool.candidates(best)]))

    def _noted(self, score: Score, history: History) -> Score:
        """The same, and `gain` becomes the highest that there was."""
        if history.values.shape[1] > 1 or self.minimize:
            return score
        found = [0.0]

        def noting(rows: Rows) -> npt.NDArray[np.float64]:
            scores = score(rows)
            found.append(math.exp(scores.max(initial=-math.inf)))
            self.gain = max(found)
            return scores

        return noting

    def _first(self, pool: Pool) -> Iterator[Rows]:
        """The starting points that are new and keep the limits."""
        for choices in () if pool.fixed else self.starts:
            row = pool.parameters.row(choices)
            if row is not None:
                row = pool.parameters.canonical(row[None])[0]
                if row.tobytes() not in pool.taken and pool.limits.fits(row):
                    yield row

    def belief(self, history: History, pool: Pool) -> tuple[Rows, Score]:
        """The rows that candidates are changed from, and the acquisition function."""
        parameters, limits = history.parameters, pool.limits
        places = history.telling()
        surrogates, rows = self.reader.surrogates(history, places), history.rows[places]
        allowed = np.array([limits.fits(row) for row in rows])
        allowed = allowed if allowed.any() else ~allowed
        rows = rows[allowed]
        believed = np.stack([surrogate.fitted[allowed] for surrogate in surrogates], axis=1)
        if len(surrogates) == 1 and not self.minimize:
            (surrogate,), best = surrogates, float(believed.max())
            parents = rows[np.argsort(-np.round(believed[:, 0] / surrogate.noise, 6), kind="stable")[:PARENTS]]
            return parents, lambda new: steady(expected_improvement(*surrogate.predict(parameters.features(new)), best))
        believed = np.hstack([believed, self.free_costs(limits, rows)])
        directions = pool.rng.spawn(1)[0]

        def gain(new: Rows) -> npt.NDArray[np.float64]:
            features = parameters.features(new)
            means, deviations = (
                np.stack(part, axis=1) for part in zip(*(s.predict(features) for s in surrogates), strict=True)
            )
            free = self.free_costs(limits, new)
            means, deviations = np.hstack([means, free]), np.hstack([deviations, np.zeros_like(free)])
            return steady(hypervolume_improvement(means, deviations, believed, copy.deepcopy(directions)))

        return rows[front_of(believed)], gain

    def free_costs(self, limits: Limits, rows: Rows) -> npt.NDArray[np.float64]:
        """The costs that are objectives, the higher the better: float64 (n, minimize)."""
        found = [[-(limits.costs(row) or {}).get(name, math.inf) for name in self.minimize] for row in rows]
        return np.array(found, dtype=np.float64).reshape(len(rows), len(self.minimize))

    def _claimed(self, study: optuna.Study, trial: FrozenTrial, history: History, row: Rows) -> bool:
        """Whether the row is new and no other trial, of any worker, has it: each tells first, and looks then.

        Of two that find the same at the same time the later one to tell sees the other, if not both, and takes another.
        """
        if self.reader.has_others:
            self._tell_others(study, trial, history.parameters, row)
            return True
        own = self._identity(history.parameters, row)
        tried_before = (self._identity_of_trial(history.parameters, tried) for tried in history.tried.values())
        if own in self.known or history.has(row) or (self.identity and own in tried_before):
            self.rejected["duplicate"] += 1
            return False
        self._tell_others(study, trial, history.parameters, row)
        for other in study.get_trials(deepcopy=False):
            theirs = self.reader.row(other)
            if theirs is None or theirs is history.tried.get(other.number) or other.number == trial.number:
                continue
            if self._identity_of_trial(history.parameters, theirs) == own:
                self.rejected["duplicate"] += 1
                return False
        return True

    def _tell_others(self, study: optuna.Study, trial: FrozenTrial, parameters: Parameters, row: Rows) -> None:
        codes = {name: int(code) for name, code in zip(parameters.names, row, strict=True) if code != ABSENT}
        study._storage.set_trial_system_attr(trial._trial_id, PROPOSED, codes)

    def _identity(self, parameters: Parameters, row: Rows) -> Hashable:
        if self.identity is None:
            return row.tobytes()
        key = (tuple(parameters.names), row.tobytes())
        if key not in self._identities:
            found = self.identity(parameters.choices(row))
            try:
                hash(found)
            except TypeError:
                raise InvalidArgument(
                    f"identity must give what can be hashed, as a string or a tuple, got {found!r:.80}: convert it"
                ) from None
            self._identities[key] = found
        return self._identities[key]

    def _identity_of_trial(self, parameters: Parameters, row: Rows) -> Hashable:
        """The same; of a trial that ended before it had asked for all that identity needs, its row."""
        try:
            return self._identity(parameters, row)
        except InvalidArgument:
            raise
        except Exception:  # whatever a user's function raises
            return row.tobytes()

    def limits_of(self, parameters: Parameters) -> Limits:
        """The limits on rows of these parameters."""
        if self._limits is None or self._limits.parameters is not parameters:
            self._limits = Limits(self.cost, self.limits, parameters, self.minimize)
        self._limits.limits = self.limits
        return self._limits

    def _may_fit(self, choices: dict[str, Any]) -> bool:
        """Whether choices keep the limits as far as cost can say of what may be a part of them."""
        try:
            costs = {name: upper_end(value) for name, value in self.cost(choices).items()} if self.cost else {}
        except Exception:  # it may miss what is drawn later
            return True
        return all(costs[name] <= limit for name, limit in self.limits.items() if name in costs)

    def _say(self, text: str) -> None:
        """A warning, once."""
        key = text[:30]
        if key not in self._said:
            self._said.add(key)
            warnings.warn(f"BlockSampler: {text}", stacklevel=2)


def _distribution(name: str, values: BaseDistribution | Sequence[Any]) -> BaseDistribution:
    if not isinstance(values, BaseDistribution):
        if not isinstance(values, Sequence) or isinstance(values, str) or not values:
            raise InvalidArgument(f"space gives {name!r} {values!r}: give a list of values or Optuna's distribution")
        return CategoricalDistribution(tuple(values))
    if not is_choice(values):
        raise InvalidArgument(f"space gives {name!r} {values}: choices are categorical or integers without log")
    return values
