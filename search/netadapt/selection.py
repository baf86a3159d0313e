"""Which proposal of an iteration is accepted: short trainings, what a proposal is worth, paired timing tests."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from search.netadapt.history import RecordedTimer
from search.netadapt.job import Job
from search.netadapt.prunable import Candidate, Prunable
from search.netadapt.records import Iteration
from search.netadapt.short_training import ShortTraining

LEAST_USED = 0.95  # of a budget: proposals that measure below it are accepted only where no other will do
TESTS = 6  # timing tests of an iteration before it asks for more
PRUNING_SHARE = 0.75  # of the progress bar
_UNTRAINED: dict[str, Any] = {"accuracy": None, "seconds": None, "diverged": False}


class Selection:
    """Accepts one of an iteration's candidates. What it finds out is in their records, and on disk at once."""

    def __init__(self, job: Job, timer: RecordedTimer, train: ShortTraining) -> None:
        self._job, self._settings, self._history = job, job.settings, job.history
        self._timer, self._train_all = timer, train

    def accept(self, network: Prunable, candidates: Sequence[Candidate], target: float) -> Prunable | None:
        """The network of the best candidate that is not slower than `network`; None where there is none.

        candidates: best first by what they are worth before training. target: the cost that was asked for.
        """
        shortlist = self.shortlist(candidates) if self._settings.short_steps else []
        self._train(network, shortlist, target)
        goal = self._job.goal(network.graph)
        ordered = sorted(shortlist, key=lambda candidate: -self.worth_trained(candidate, goal))
        ordered += [candidate for candidate in candidates if candidate not in shortlist]
        too_small: list[Candidate] = []
        now, least = self._history.iterations[-1], LEAST_USED * self._job.budgets_left[0]
        for candidate in [candidate for candidate in ordered if not candidate.record.diverged][:TESTS]:
            name, timing = candidate.record.name, self._timer.pair(network, candidate)
            candidate.record = replace(candidate.record, timing=timing)
            if timing and not timing.faster:
                self._job.progress.line(f"   {name} would be slower ({timing.ratio:.3f} x), the next is tested")
            elif timing and now.cost * timing.ratio < least:
                self._job.progress.line(f"   {name} would leave more of the budget than wanted, the next is tested")
                too_small.append(candidate)
            elif (after := self._accepted(network, candidate, target)) is not None:
                return after
        found = (self._accepted(network, candidate, target) for candidate in too_small)
        return next((after for after in found if after is not None), None)

    def shortlist(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Those that are trained: the best.

        A removed block that no residual sum bridges says nothing before training, as its channels are not its input's.
        Of three places or more one is for such a block. Each block is trained once, those first that save the most;
        then the one that lost the least when it was trained last.
        """
        best = [*candidates[: self._settings.shortlist]]
        unbridged = [candidate for candidate in candidates if candidate.is_unbridged]
        if len(best) < 3 or not unbridged:
            return best
        lost = removal_losses(self._history.iterations)
        chosen = min(unbridged, key=lambda each: (lost.get(each.record.where, -math.inf), each.record.cost))
        return best if chosen in best else [*best[:-1], chosen]

    def worth(self, cost: float, accuracy: float, before: float) -> float:
        """What a proposal is compared by: its accuracy, or what it gains over `before` for its reduction."""
        if not self._settings.by_ratio:
            return accuracy
        return (accuracy - before) / (self._history.iterations[-1].cost - cost)

    def worth_trained(self, candidate: Candidate, goal: float) -> float:
        """The same after the short training.

        A proposal that goes further down than another has less of the way to `goal` left. That counts at the price of
        the way so far: accuracy lost for each unit of cost since the start, at least over a first step's reduction.
        """
        start, now = self._history.iterations[0], self._history.iterations[-1]
        cost, first_step = candidate.record.cost, self._settings.reduction[0] * start.cost
        worth = self.worth(cost, candidate.record.accuracy or 0.0, now.accuracy)
        price = max(0.0, start.accuracy - now.accuracy) / max(start.cost - now.cost, first_step)
        return worth if self._settings.by_ratio else worth - price * max(cost, goal)

    def _accepted(self, network: Prunable, candidate: Candidate, target: float) -> Prunable | None:
        """The candidate's network, trained if candidates are; None where that diverges."""
        if self._settings.short_steps and candidate.network is None:
            self._train(network, [candidate], target, again=True)
        if candidate.record.diverged:
            return None
        candidate.record = replace(candidate.record, accepted=True)
        return candidate.network or candidate.make()

    def _train(self, network: Prunable, candidates: Sequence[Candidate], target: float, *, again: bool = False) -> None:
        """Short trainings, each on disk before the next.

        What an earlier run trained is only noted, until its weights are needed (`again`).
        """
        number, part = len(self._history.iterations), self._history.part()
        known = part.trained.setdefault(repr(target), {})
        for candidate in candidates:
            found = {} if again else known.get(candidate.record.name, {})
            candidate.record = replace(candidate.record, **_UNTRAINED | found)
        waiting = [candidate for candidate in candidates if candidate.record.accuracy is None]
        networks = [candidate.make() for candidate in waiting]
        for done in self._train_all([each.module for each in networks], seed=self._job.inputs.seed + number):
            candidate = waiting[done.place]
            candidate.network, name = networks[done.place], candidate.record.name
            known[name] = {"accuracy": done.accuracy, "seconds": done.seconds, "diverged": done.diverged}
            candidate.record = replace(candidate.record, **known[name])
            if done.diverged:
                self._job.progress.line(f"   the short training of {name} diverged, it is not accepted")
            self._history.keep(part)
            share = self._job.clock.at(PRUNING_SHARE * self._share(network))
            self._job.progress.update(share, f"iteration {number}: {name}")

    def _share(self, network: Prunable) -> float:
        start, now = self._history.iterations[0].cost, self._history.iterations[-1].cost
        end = self._job.limit(self._settings.limits[-1], network.graph)
        return 1.0 if start <= end else min(1.0, max(0.0, (start - now) / (start - end)))


def removal_losses(iterations: Sequence[Iteration]) -> dict[str, float]:
    """The accuracy that the removal of a block lost when it was trained last, by the name that the block has now."""
    found: dict[str, float] = {}
    for before, one in pairwise(iterations):
        removals = [row for row in one.proposals if row.move == "block" and row.accuracy is not None]
        found |= {row.where: before.accuracy - (row.accuracy or 0.0) for row in removals}
        for gone in (row.where for row in removals if row.accepted):
            found = {_moved_up(name, gone): loss for name, loss in found.items() if name != gone}
    return found


def _moved_up(name: str, gone: str) -> str:
    """The name of a block when another one is gone: those behind it in its stage move up."""
    (stage, _, place), (other, _, at) = name.rpartition("."), gone.rpartition(".")
    return f"{stage}.{int(place) - 1}" if stage == other and int(place) > int(at) else name
