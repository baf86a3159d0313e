"""Who proposes the networks of a search: each is predicted within the budget, keeps the limits on sizes, and is new.

- "block" (the default): BlockSampler, which learns from the trials (see README.md). Its candidates use the budget.
- "tpe": Optuna's multivariate TPE, its proposals rejected until one fits.
- "random": honest random search, uniform over the choices of the space given that the network fits.

A proposal depends on the seed, the budget (which a search corrects by what it measures) and the trials before it that
did not fail, not on the process: an interrupted study, whose cut-off trial failed and was queued again, goes on as an
undisturbed one would.
"""

import math
import random
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from search.candidates import Candidate, PricedSpace
from search.samplers import KINDS
from search.samplers.block_sampler import FIRST_TRIALS, BlockSampler
from search.samplers.history import History
from search.samplers.moves import Moves, SpaceExhausted
from search.samplers.parameters import Rows
from search.samplers.pool import Pool
from searchspace.errors import InfeasibleBudget, InvalidArgument, PhinasError
from searchspace.spaces.space import Choices, SearchSpace

USED_BUDGET = 0.85  # networks are proposed that use at least this share of the budget, where random ones do too
BEST = 3  # networks that candidates are changed from


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Every choice that has more than one value."""
    return {name: CategoricalDistribution(values) for name, values in space.parameters().items() if len(values) > 1}


def early_stopping() -> optuna.pruners.BasePruner:
    """Successive halving (arXiv:1810.05934): after 1, 3, 9 ... epochs the best third of the trainings goes on.

    In the default job 27 candidates were judged by thirds, by quarters 19: those that stay are trained to their end.
    """
    return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3, min_early_stopping_rate=0)


@dataclass(kw_only=True)
class NetworkPool(Pool):
    """Candidates that use the budget: from walks all over the space, and changed from the best."""

    moves: Moves
    floor_ms: float
    climbs: int = 0  # each would price a hundred networks

    def rows(self, candidates: Iterable[Candidate | None]) -> Rows:
        """Those of them that are new and keep the limits."""
        rows = [self.parameters.row(one.choices) for one in candidates if one is not None]
        table = np.array([row for row in rows if row is not None], dtype=np.int64)
        return self._usable(table.reshape(len(table), len(self.parameters.names)))

    def networks(self, rows: Iterable[Rows]) -> list[Candidate]:
        """What rows mean."""
        return [self.moves.price(self.moves.full(self.parameters.choices(row))) for row in rows]

    def fresh(self, count: int) -> Rows:
        """Where a walk from a random network ends."""
        if self.fixed:
            return super().fresh(count)
        start = self.moves.within_budget(self.moves.draw(), floor_ms=self.floor_ms)
        return self.rows([self.moves.walk(start, steps=40, floor_ms=self.floor_ms)])

    def candidates(self, best: Rows) -> Rows:
        """Networks to choose from."""
        if self.fixed:
            return super().candidates(best)
        around = self.moves.around(self.networks(best[:BEST]), floor_ms=self.floor_ms)
        found = [*self.moves.pool(floor_ms=self.floor_ms), *around]
        return self.rows(one for one in found if one.fingerprint not in self.moves.taken)

    def anything_new(self, known: Iterable[Rows]) -> Iterator[Rows]:
        """What is left, found by single changes; nothing where all are taken."""
        if self.fixed:
            yield from super().anything_new(known)
            return
        tried = self.networks(known)
        with suppress(SpaceExhausted):
            while True:
                found = self.moves.anything_left(tried)
                self.moves.taken.add(found.fingerprint)
                yield from self.rows([found])


class NetworkSampler(BlockSampler):
    """Proposes networks that are predicted within `limit_ms`, which may change, keep the limits, and are not `known`.

    known: fingerprints tried already, read at every proposal (the caller adds to it). starting_points: proposed first,
    brought within `starts_ms` (default: the limit as it is at first) where they are above it. Besides the choices the
    surrogate learns from the logarithms of parameters, MACs, layers and latency. prior: an earlier study of the space.
    Raises InvalidArgument for an unknown kind. A proposal raises InfeasibleBudget if nothing fits and SpaceExhausted
    if nothing is left; the trial it was for is then closed as failed.
    """

    known: set[str]

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
        prior: optuna.Study | None = None,
    ) -> None:
        if kind not in KINDS:
            raise InvalidArgument(f"the sampler must be one of {', '.join(KINDS)}; got {kind!r}")
        self.priced, self.kind = priced, kind
        self._starts = list(starting_points)
        self._starts_ms = limit_ms if starts_ms is None else starts_ms
        self._fastest: Candidate | None = None
        self._random_ms: list[float] = []  # what random networks take, the quickest first
        self._only = {name: values[0] for name, values in priced.space.parameters().items()}
        self._space = distributions(priced.space)
        super().__init__(
            seed=seed,
            space=self._space,
            cost=self._cost,
            limits={"ms": limit_ms, **priced.limits.given},
            identity=lambda choices: self._price(choices).fingerprint,
            known=known,
            present=lambda choices: priced.space.canonical(self._only | choices),
            features=self._summaries,
            prior=prior,
        )

    @property
    def limit_ms(self) -> float:
        """The most that a proposal may count."""
        return self.limits["ms"]

    @limit_ms.setter
    def limit_ms(self, limit_ms: float) -> None:
        self.limits["ms"] = limit_ms

    def _price(self, choices: Mapping[str, Any]) -> Candidate:
        return self.priced.price(self._only | dict(choices))

    def _cost(self, choices: dict[str, Any]) -> dict[str, float]:
        candidate = self._price(choices)
        taken = dict(zip(self.priced.limits._fields, candidate.sizes.taken, strict=True))
        return {"ms": candidate.latency_upper_ms, **taken}

    def _summaries(self, choices: dict[str, Any]) -> list[float]:
        candidate = self._price(choices)
        layers = sum(int(value) for name, value in candidate.choices.items() if name.endswith(".layers"))
        return [math.log(size) for size in (candidate.params, candidate.macs, layers, candidate.latency_ms)]

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Optuna asks nobody where there is nothing to choose: a space of one network ends here."""
        if self._space:
            return
        states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
        others = [t for t in study.get_trials(deepcopy=False, states=states) if t.number != trial.number]
        only = self._price({}).fingerprint
        if only in self.known or any("network" not in t.user_attrs for t in others):
            study.tell(trial.number, state=TrialState.FAIL)
            self._exhausted()
        self.priced.fastest_within(self.limit_ms)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Every choice of the next network, those of absent stages at their first value."""
        given = trial.system_attrs.get("fixed_params", {})
        if search_space.keys() <= given.keys():  # it was queued whole
            return {name: given[name] for name in search_space}
        self._by_tpe = partial(self._tpe, study, trial)
        try:
            chosen = super().sample_relative(study, trial, search_space)
        except InfeasibleBudget:
            if given:  # it is the given choices that do not fit, which the caller is to refuse
                return {name: self._only[name] for name in search_space}
            study.tell(trial.number, state=TrialState.FAIL)
            raise
        except PhinasError:
            study.tell(trial.number, state=TrialState.FAIL)
            raise
        return {name: chosen.get(name, self._only[name]) for name in search_space}

    def pool(self, history: History, *, turn: int) -> NetworkPool:
        """Where the candidates of a turn come from."""
        plain = super().pool(history, turn=turn)
        self._fastest = self._fastest or self.priced.fastest_within(self.limit_ms)
        taken = self.known | {
            self._price(history.parameters.choices(row)).fingerprint for row in history.tried.values()
        }
        moves = Moves(
            priced=self.priced,
            limit_ms=self.limit_ms,
            fastest=self._fastest,
            rng=random.Random(f"{self.seed}/{turn}"),
            taken=taken,
            rejected=self.rejected,
        )
        if len(self.starts) < len(self._starts):
            self.starts = [moves.shrink(choices, self._starts_ms).choices for choices in self._starts]
        return NetworkPool(
            parameters=plain.parameters,
            limits=plain.limits,
            rng=plain.rng,
            taken=plain.taken,
            rejected=plain.rejected,
            moves=moves,
            floor_ms=self._floor_ms(),
        )

    def _ranked(self, history: History, pool: Pool) -> Iterator[Rows]:
        """New rows within the limits, the best first; all there are."""
        assert isinstance(pool, NetworkPool)
        if self.kind != "block" and not pool.fixed:
            yield from self._first(pool)
            if self.kind == "tpe" and len(history.numbers) >= FIRST_TRIALS:
                yield from pool.rows([self._by_tpe(pool.moves)])
            yield from pool.rows([pool.moves.uniform()])
        yield from super()._ranked(history, pool)

    def _tpe(self, study: optuna.Study, trial: FrozenTrial, moves: Moves) -> Candidate | None:
        tpe = optuna.samplers.TPESampler(
            seed=moves.rng.getrandbits(31), n_startup_trials=0, multivariate=True, constant_liar=False
        )
        for _ in range(16):
            choices = tpe.sample_relative(study, trial, self._space)
            if moves.fits(candidate := self._price(choices)):
                return candidate
        return moves.walk(moves.within_budget(moves.draw(choices)), steps=0)

    def _exhausted(self) -> None:
        raise SpaceExhausted(
            f"every network of the space {self.priced.space.name!r} that is predicted within {self.limit_ms:g} ms has "
            f"been tried ({len(self.known)}); raise --budget-ms or widen the space (--space) to search on"
        )

    def _floor_ms(self) -> float:
        """USED_BUDGET of the limit, or the median of random networks where the limit is more than generous.

        Where even the slowest of them keeps it, it says nothing, and only the quickest quarter is left out.
        """
        if not self._random_ms:
            rng, price, space = random.Random(self.seed), self.priced.price, self.priced.space
            drawn = [price(space.sample(rng)) for _ in range(31)]
            self._random_ms = sorted(each.latency_upper_ms for each in drawn)
        if self.limit_ms >= self._random_ms[-1]:
            return self._random_ms[len(self._random_ms) // 4]
        return min(USED_BUDGET * self.limit_ms, statistics.median(self._random_ms))
