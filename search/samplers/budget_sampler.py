"""Who proposes the next network: an Optuna sampler whose every trial is within the budget and new.

Candidates are priced inside the sampler, so what is over the budget or known never becomes a trial. Three kinds:

- "gp" (the default): a Gaussian process on the choices and on summaries of the network (MACs, layers, mean kernel ...)
  learns from the trials; of some hundred candidates that use the budget, the one with the highest mean + standard
  deviation is next. `python -m tests.benchmarks.sampler_bakeoff` measures what that is worth.
- "tpe": Optuna's multivariate TPE, its proposals rejected until one fits.
- "random": honest random search, uniform over the choices of the space given that the network fits.

A proposal depends on the seed, the budget (which a search corrects by what it measures) and the trials before it that
did not fail, not on the process: an interrupted study, whose cut-off trial failed and was queued again, goes on as an
undisturbed one would.
"""

import itertools
import math
import random
import statistics
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from search.candidates import Candidate, PricedSpace
from searchspace.errors import InvalidArgument, PhinasError
from searchspace.spaces.space import Choices, SearchSpace, Value

KINDS = ("gp", "tpe", "random")
DEFAULT_KIND = "gp"
START_SHARE = 0.97  # of what starting points are brought within: a budget that is corrected a little leaves them
USED_BUDGET = 0.85  # "gp" proposes networks that use at least this share of the budget, where random ones do too
FIRST_TRIALS = 6  # before the Gaussian process has its say
DRAWS = 200  # tries of rejection sampling
WALK_STEPS = 150  # of the random walk that takes over where rejection finds nothing
Array = npt.NDArray[np.float64]


class SpaceExhausted(PhinasError):
    """Every network within the budget has been tried."""


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Every choice that has more than one value."""
    return {name: CategoricalDistribution(values) for name, values in space.parameters().items() if len(values) > 1}


def trial_choices(space: SearchSpace, trial: optuna.Trial | FrozenTrial) -> Choices:
    """The canonical choices of a trial that was asked with `distributions(space)`."""
    return space.canonical(trial.params)


class BudgetSampler(optuna.samplers.BaseSampler):
    """Proposes networks of predicted latency <= budget_ms, which may change, whose fingerprint is not in `known`.

    known: fingerprints tried already, read at every proposal (the caller adds to it); finished and running trials of
    the study count too. starting_points: proposed first, brought within `starts_ms` (default: the budget as it is at
    first, so that they stay the same when it changes) where they are above it.
    rejected: how many priced candidates were "over_budget" or a "duplicate" since this sampler was made.
    Raises InvalidArgument for an unknown kind. A proposal raises InfeasibleBudget if nothing fits and SpaceExhausted
    if nothing is left; the trial it was for is then closed as failed.
    """

    def __init__(
        self,
        priced: PricedSpace,
        *,
        budget_ms: float,
        seed: int,
        kind: str = DEFAULT_KIND,
        known: set[str],
        starting_points: Sequence[Choices] = (),
        starts_ms: float | None = None,
    ) -> None:
        if kind not in KINDS:
            raise InvalidArgument(f"the sampler must be one of {', '.join(KINDS)}; got {kind!r}")
        self.priced, self.budget_ms, self.seed, self.kind, self.known = priced, budget_ms, seed, kind, known
        self.starting_points = tuple(starting_points)
        self._starts_ms = budget_ms if starts_ms is None else starts_ms
        self.rejected = {"over_budget": 0, "duplicate": 0}
        self._distributions = distributions(priced.space)
        self._features = _Features(priced.space)
        self._starts: list[Candidate] = []
        self._fastest: Candidate | None = None
        self._middle_ms: float | None = None

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
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

    def _propose(self, study: optuna.Study, trial: FrozenTrial) -> Candidate:
        states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING, TrialState.WAITING)
        others = [t for t in study.get_trials(deepcopy=False, states=states) if t.number != trial.number]
        turn = sum(t.number < trial.number for t in others)
        rng = random.Random(f"{self.seed}/{turn}")
        whole = [t for t in others if self._distributions.keys() <= t.params.keys()]
        tried = {t.number: self.priced.price(trial_choices(self.priced.space, t)) for t in whole}
        taken = self.known | {candidate.fingerprint for candidate in tried.values()}
        self._fastest = self._fastest or self.priced.fastest_within(self.budget_ms)
        moves = _Moves(self, self._fastest, rng, taken)
        for index, choices in enumerate(self.starting_points):
            if index == len(self._starts):
                self._starts.append(moves.shrink(choices, self._starts_ms))
            start = self._starts[index]
            if start.fingerprint not in taken and start.latency_upper_ms <= self.budget_ms:
                return start
        values = _values(study, whole)
        history = [(tried[number], value) for number, value in values.items()]
        if self.kind == "gp":
            found = self._by_gaussian_process(moves, history)
        elif self.kind == "tpe" and len(history) >= FIRST_TRIALS:
            found = self._by_tpe(study, trial, moves)
        else:
            found = moves.uniform()
        return found or moves.anything_left(tried.values())

    def _by_tpe(self, study: optuna.Study, trial: FrozenTrial, moves: "_Moves") -> Candidate | None:
        tpe = optuna.samplers.TPESampler(
            seed=moves.rng.getrandbits(31), n_startup_trials=0, multivariate=True, constant_liar=False
        )
        for _ in range(16):
            choices = tpe.sample_relative(study, trial, self._distributions)
            if moves.fits(candidate := self.priced.price(choices)):
                return candidate
        return moves.walk(moves.within_budget(moves.draw(choices)), steps=0) or moves.uniform()

    def _by_gaussian_process(self, moves: "_Moves", history: list[tuple[Candidate, float]]) -> Candidate | None:
        floor_ms = self._used_budget_ms()
        if len(history) < FIRST_TRIALS:
            return moves.walk(moves.within_budget(moves.draw(), floor_ms=floor_ms), steps=40, floor_ms=floor_ms)
        pool = {c.fingerprint: c for c in moves.pool(floor_ms=floor_ms)}
        seen = self._features.of([candidate for candidate, _ in history])
        process = _GaussianProcess(self._features.of([*pool.values()]), len(self._features.codes))
        process.fit(seen, np.array([value for _, value in history]))
        mean, _ = process.predict(seen)
        best = [history[i][0] for i in np.argsort(-mean, kind="stable")[:3]]
        pool |= {c.fingerprint: c for c in moves.around(best, floor_ms=floor_ms)}
        new = [candidate for candidate in pool.values() if candidate.fingerprint not in moves.taken]
        if not new:
            return None
        mean, deviation = process.predict(self._features.of(new))
        return new[int(np.argmax(mean + deviation))]

    def _used_budget_ms(self) -> float:
        """USED_BUDGET of the budget, or the median of random networks where the budget is more than generous."""
        if self._middle_ms is None:
            rng, price, space = random.Random(self.seed), self.priced.price, self.priced.space
            self._middle_ms = statistics.median(price(space.sample(rng)).latency_upper_ms for _ in range(31))
        return min(USED_BUDGET * self.budget_ms, self._middle_ms)


def _values(study: optuna.Study, trials: list[FrozenTrial]) -> dict[int, float]:
    """What each trial gave, by trial number, the higher the better.

    A trial that was stopped early counts as its last report plus what completed trials gained, in the mean, from that
    step to their end. One that cannot be compared so is left out.
    """
    sign = -1.0 if study.direction == optuna.study.StudyDirection.MINIMIZE else 1.0
    complete = [t for t in trials if t.state == TrialState.COMPLETE and t.value is not None]
    values = {t.number: t.value or 0.0 for t in complete}
    for trial in trials:
        step = trial.last_step
        if trial.state != TrialState.PRUNED or step is None or not math.isfinite(trial.intermediate_values[step]):
            continue
        gains = [values[t.number] - t.intermediate_values.get(step, math.nan) for t in complete]
        if gains := [gain for gain in gains if math.isfinite(gain)]:
            values[trial.number] = trial.intermediate_values[step] + sum(gains) / len(gains)
    return {number: sign * values[number] for number in sorted(values)}


class _Moves:
    """Ways to reach networks within the budget. Every loop is bounded."""

    def __init__(self, sampler: "BudgetSampler", fastest: Candidate, rng: random.Random, taken: set[str]) -> None:
        self.price, self.space, self.budget_ms = sampler.priced.price, sampler.priced.space, sampler.budget_ms
        self.fastest, self.rng, self.taken, self.rejected = fastest, rng, taken, sampler.rejected
        self.parameters = self.space.parameters()
        self.open = list(distributions(self.space))
        self.fast = {name: values[0] for name, values in self.parameters.items()} | fastest.choices

    def fits(self, candidate: Candidate) -> bool:
        """Within the budget and new; counts what is not."""
        over = candidate.latency_upper_ms > self.budget_ms
        if over or candidate.fingerprint in self.taken:
            self.rejected["over_budget" if over else "duplicate"] += 1
            return False
        return True

    def draw(self, given: Choices | None = None) -> Choices:
        """Every choice drawn evenly and independently, those of absent stages included; `given` ones are kept."""
        return {name: self.rng.choice(values) for name, values in self.parameters.items()} | (given or {})

    def step(self, choices: Choices) -> Choices:
        """One choice changed."""
        if not self.open:
            return choices
        name = self.rng.choice(self.open)
        others = [value for value in self.parameters[name] if value != choices[name]]
        return {**choices, name: self.rng.choice(others)}

    def uniform(self) -> Candidate | None:
        """A new network within the budget, uniform over the choices of the space given that it fits.

        By rejection; where fewer than about one in DRAWS fits, by a random walk inside the budget from a random
        network brought within it. Its proposals are even and taken if they fit, so it tends to that same uniform law.
        """
        for _ in range(DRAWS):
            if self.fits(candidate := self.price(self.draw())):
                return candidate
        return self.walk(self.within_budget(self.draw()), steps=WALK_STEPS)

    def within_budget(self, choices: Choices, *, floor_ms: float = 0.0) -> Choices:
        """Full choices with as few of the fastest network's as fit, in random order; then upwards to floor_ms."""
        order = self.rng.sample(self.open, len(self.open))
        fewest, most = 0, len(order)
        while fewest < most:  # bisection; all of them give the fastest network, which fits
            half = (fewest + most) // 2
            mixed = choices | {name: self.fast[name] for name in order[:half]}
            fewest, most = (fewest, half) if self.price(mixed).latency_upper_ms <= self.budget_ms else (half + 1, most)
        choices = choices | {name: self.fast[name] for name in order[:most]}
        for _ in range(30):
            now = self.price(choices).latency_upper_ms
            if now >= floor_ms:
                break
            changed = self.step(choices)
            if now <= self.price(changed).latency_upper_ms <= self.budget_ms:
                choices = changed
        return choices

    def _path(self, choices: Choices, *, steps: int, floor_ms: float) -> Iterator[Candidate]:
        """A random walk inside [floor_ms, budget] (upwards, while below floor_ms)."""
        yield (here := self.price(choices))
        for _ in range(steps):
            changed = self.step(choices)
            there = self.price(changed)
            self.rejected["over_budget"] += there.latency_upper_ms > self.budget_ms
            if min(floor_ms, here.latency_upper_ms) <= there.latency_upper_ms <= self.budget_ms:
                choices, here = changed, there
            yield here

    def walk(self, choices: Choices, *, steps: int, floor_ms: float = 0.0) -> Candidate | None:
        """Where a random walk ends, or the first new network in as many steps again."""
        for index, candidate in enumerate(self._path(choices, steps=2 * steps, floor_ms=floor_ms)):
            if index >= steps and self.fits(candidate):
                return candidate
        return None

    def pool(self, *, floor_ms: float) -> Iterator[Candidate]:
        """Networks from all over the space that use the budget."""
        for _ in range(3):
            start = self.within_budget(self.draw(), floor_ms=floor_ms)
            yield from itertools.islice(self._path(start, steps=60, floor_ms=floor_ms), 10, None, 2)

    def around(self, best: list[Candidate], *, floor_ms: float) -> Iterator[Candidate]:
        """New networks that differ from one of `best` in one to three choices and use the budget."""
        for index in range(60):
            choices = self.draw(best[index % len(best)].choices)
            for _ in range(1 + index // len(best) % 3):
                choices = self.step(choices)
            candidate = self.price(choices)
            if self.fits(candidate) and candidate.latency_upper_ms >= floor_ms:
                yield candidate

    def shrink(self, choices: Choices, limit_ms: float) -> Candidate:
        """The network, brought within the budget by the changes that cut about a tenth of its latency each.

        The last change is the one that leaves the most of the budget used.
        """
        here = self.price(choices)
        if here.latency_upper_ms <= limit_ms:
            return here
        limit_ms = max(START_SHARE * limit_ms, self.fastest.latency_upper_ms)
        while (here_ms := here.latency_upper_ms) > limit_ms:
            around = [self.price(choices) for choices in self.space.neighbours(here.choices)]
            if fitting := [c for c in around if c.latency_upper_ms <= limit_ms]:
                return max(fitting, key=lambda c: c.latency_upper_ms)
            faster = [c for c in around if c.latency_upper_ms < here_ms] or [self.fastest]
            here = faster[int(np.argmin([abs(c.latency_upper_ms - 0.9 * here_ms) for c in faster]))]
        return here

    def anything_left(self, tried: Iterable[Candidate]) -> Candidate:
        """Some new network within the budget, found from the known ones by single changes; else SpaceExhausted."""
        front = [self.fastest, *tried]
        visited = {candidate.fingerprint for candidate in front}
        while front:
            here = front.pop()
            if here.latency_upper_ms <= self.budget_ms and here.fingerprint not in self.taken:
                return here
            for there in map(self.price, self.space.neighbours(here.choices)):
                if there.latency_upper_ms <= self.budget_ms and there.fingerprint not in visited:
                    visited.add(there.fingerprint)
                    front.append(there)
        raise SpaceExhausted(
            f"every network of the space {self.space.name!r} that is predicted within {self.budget_ms:g} ms has "
            f"been tried ({len(self.taken)}); raise --budget-ms or widen the space (--space) to search on"
        )


class _Features:
    """Candidates as rows of numbers: every choice in [-1, 1] (0 where its stage is absent), then summaries."""

    def __init__(self, space: SearchSpace) -> None:
        self.codes: list[tuple[str, dict[Value, float]]] = []
        groups: dict[str, list[int]] = {}
        for name, values in space.parameters().items():
            kind = name.partition(".")[2]
            for part, code in _codes(values).items():
                groups.setdefault(f"{kind}{part}", []).append(len(self.codes))
                self.codes.append((name, code))
        self._groups = list(groups.values())

    def of(self, candidates: list[Candidate]) -> Array:
        """float64 (candidates, choices + summaries)."""
        return np.array([self._row(candidate) for candidate in candidates])

    def _row(self, candidate: Candidate) -> list[float]:
        choices = candidate.choices
        row = [code[choices[name]] if name in choices else 0.0 for name, code in self.codes]
        present = [name in choices for name, _ in self.codes]
        means = [sum(row[i] for i in group) / max(1, sum(present[i] for i in group)) for group in self._groups]
        layers = sum(int(value) for name, value in choices.items() if name.endswith(".layers"))
        sizes = (candidate.params, candidate.macs, layers, candidate.latency_ms)
        return row + means + [math.log(size) for size in sizes]


def _codes(values: tuple[Value, ...]) -> dict[str, dict[Value, float]]:
    """Columns for one choice: names get one each, numbers their even place between -1 and 1."""
    if len(values) == 1:
        return {}
    if isinstance(values[0], str):
        return {f"={option}": {v: 1.8 * ((v == option) - 1 / len(values)) for v in values} for option in values}
    ordered = sorted(values, key=float)
    return {"": {value: 2 * index / (len(values) - 1) - 1 for index, value in enumerate(ordered)}}


class _GaussianProcess:
    """Values as a mean plus linear effects of summaries and choices plus a smooth function of all choices plus noise.

    The weights of the parts are fixed; of a few signal and noise levels (of values scaled to unit variance) the
    likelihood picks one: a dozen noisy values cannot settle more.
    """

    WEIGHTS = (0.5, 0.3, 0.2)  # of summaries, choices, smooth part
    OFFSET = 0.3  # prior variance of the mean
    LEVELS = tuple((signal, noise) for noise in (0.15, 0.4, 1.0) for signal in (0.5, 1.0, 2.0))

    def __init__(self, reference: Array, choices: int) -> None:
        """`reference`: rows of networks like those to predict, which set the scale of the summaries."""
        self._choices = choices
        self._centre = reference.mean(axis=0)
        self._scale = reference.std(axis=0) + 1e-6
        self._scale[:choices] = 1.0

    def _scaled(self, rows: Array) -> tuple[Array, Array]:
        choices, summaries = np.hsplit((rows - self._centre) / self._scale, [self._choices])
        return choices, np.clip(summaries, -3, 3)

    def _kernel(self, a: tuple[Array, Array], b: tuple[Array, Array]) -> Array:
        (choices_a, sums_a), (choices_b, sums_b) = a, b
        size = choices_a.shape[1]
        inner = choices_a @ choices_b.T / size
        apart = (choices_a**2).sum(1)[:, None] / size + (choices_b**2).sum(1)[None] / size - 2 * inner
        smooth = np.exp(-np.maximum(apart, 0.0) / 1.32)
        parts = (sums_a @ sums_b.T / sums_a.shape[1], inner, smooth)
        return np.asarray(self.OFFSET + sum(w * part for w, part in zip(self.WEIGHTS, parts, strict=True)))

    def fit(self, rows: Array, values: Array) -> None:
        """Learn from rows (n, features) and their values (n,), float64."""
        self._rows = self._scaled(rows)
        kernel, best = self._kernel(self._rows, self._rows), -math.inf
        self._middle, self._unit = float(values.mean()), max(float(values.std()), 1e-9)
        targets = (values - self._middle) / self._unit
        for signal, noise in self.LEVELS:
            root = np.linalg.cholesky(signal * kernel + noise * np.eye(len(values)))
            white = np.linalg.solve(root, targets)
            likelihood = float(-0.5 * white @ white - np.log(np.diag(root)).sum())
            if likelihood > best:
                best, self._signal, self._root, self._white = likelihood, signal, root, white

    def predict(self, rows: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the noiseless value: float64 (n,) each."""
        scaled = self._scaled(rows)
        cross = np.linalg.solve(self._root, self._signal * self._kernel(self._rows, scaled))
        mean = cross.T @ self._white
        prior = self._signal * np.diag(self._kernel(scaled, scaled))
        deviation = np.sqrt(np.maximum(prior - (cross**2).sum(axis=0), 0.0))
        return self._middle + self._unit * mean, self._unit * deviation
