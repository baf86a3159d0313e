"""Which proposal of an iteration is accepted: short trainings, what a proposal is worth, paired timing tests."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from search.netadapt.history import History, RecordedTimer
from search.netadapt.plan import Plan, Targets
from search.netadapt.prunable import Candidate, Prunable
from search.netadapt.removals import removal_losses
from search.netadapt.short_training import ShortTraining
from search.netadapt.timing import Timing

LEAST_USED = 0.95  # of a budget: proposals that measure below it are accepted only where no other will do
TESTS = 6  # timing tests of an iteration before it asks for more


class Selection:
    """Accepts one of an iteration's candidates. What it finds out is in their records, and on disk at once."""

    def __init__(
        self,
        plan: Plan,
        history: History,
        targets: Targets,
        timer: RecordedTimer,
        train: ShortTraining,
        *,
        trained: Callable[[str], None],
        line: Callable[[str], None],
    ) -> None:
        """`trained` is called with the name of each proposal that was trained, `line` with what is worth reading."""
        self._plan, self._history, self._targets = plan, history, targets
        self._timer, self._train_all, self._trained, self._line = timer, train, trained, line

    def accept(self, network: Prunable, candidates: Sequence[Candidate], target: float) -> Prunable | None:
        """The network of the best candidate that is not slower than `network`.

        candidates: best first by what they are worth before training. None if all that were tested are slower, or
        diverged.
        """
        shortlist = self.shortlist(candidates) if self._plan.trains else []
        self._train(shortlist, target)
        goal = self._targets.goal(network.graph)
        ordered = sorted(shortlist, key=lambda candidate: -self.worth_trained(candidate, goal))
        ordered += [candidate for candidate in candidates if candidate not in shortlist]
        too_small: list[Candidate] = []
        for candidate in [candidate for candidate in ordered if not candidate.record.diverged][:TESTS]:
            name, timing = candidate.record.name, self._timer.pair(network, candidate)
            candidate.record = replace(candidate.record, timing=timing)
            if timing is not None and not timing.faster:
                self._line(f"   {name} would be slower ({timing.ratio:.3f} x), the next is tested")
            elif timing is not None and self._wastes(timing):
                self._line(f"   {name} would leave more of the budget than wanted, the next is tested")
                too_small.append(candidate)
            elif (after := self._accepted(candidate, target)) is not None:
                return after
        found = (self._accepted(candidate, target) for candidate in too_small)
        return next((after for after in found if after is not None), None)

    def shortlist(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Those that are trained: the best.

        A removed block that no residual sum bridges says nothing before training, as its channels are not its input's.
        Of three places or more one is for such a block. Each block is trained once, those first that save the most;
        then the one that lost the least when it was trained last.
        """
        best = [*candidates[: self._plan.shortlist]]
        unbridged = [candidate for candidate in candidates if candidate.loses_block]
        if len(best) < 3 or not unbridged:
            return best
        lost = removal_losses(self._history.iterations)
        chosen = min(unbridged, key=lambda each: (lost.get(each.record.where, -math.inf), each.record.cost))
        return best if chosen in best else [*best[:-1], chosen]

    def worth(self, cost: float, accuracy: float, before: float) -> float:
        """What a proposal is compared by: its accuracy, or what it gains over `before` for its reduction."""
        return (accuracy - before) / (self._history.iterations[-1].cost - cost) if self._plan.by_ratio else accuracy

    def worth_trained(self, candidate: Candidate, goal: float) -> float:
        """The same after the short training.

        A proposal that goes further down than another has less of the way to `goal` left. That counts at the price of
        the way so far: accuracy lost for each unit of cost since the start, at least over a first step's reduction.
        """
        start, now = self._history.iterations[0], self._history.iterations[-1]
        cost = candidate.record.cost
        worth = self.worth(cost, candidate.record.accuracy or 0.0, now.accuracy)
        price = max(0.0, start.accuracy - now.accuracy) / max(start.cost - now.cost, self._plan.step * start.cost)
        return worth if self._plan.by_ratio else worth - price * max(cost, goal)

    def _wastes(self, timing: Timing) -> bool:
        """Whether a network that measures so leaves more of the budget unused than LEAST_USED allows."""
        return self._history.iterations[-1].cost * timing.ratio < LEAST_USED * self._targets.left[0]

    def _accepted(self, candidate: Candidate, target: float) -> Prunable | None:
        """The candidate's network, trained if candidates are; None where that diverges."""
        if self._plan.trains and candidate.network is None:
            self._train([candidate], target, again=True)
        if candidate.record.diverged:
            return None
        candidate.record = replace(candidate.record, accepted=True)
        return candidate.network or candidate.make()

    def _train(self, candidates: Sequence[Candidate], target: float, *, again: bool = False) -> None:
        """Short trainings, each on disk before the next.

        What an earlier run trained is only noted, until its weights are needed (`again`).
        """
        number, part = len(self._history.iterations), self._history.part()
        known = part.trained.setdefault(repr(target), {})
        for candidate in candidates:
            kept = {} if again else known.get(candidate.record.name, {})
            self._note(candidate, kept.get("accuracy"), kept.get("seconds"), bool(kept.get("diverged")))
        waiting = [candidate for candidate in candidates if candidate.record.accuracy is None]
        networks = [candidate.make() for candidate in waiting]
        modules = [network.module for network in networks]
        for done in self._train_all(modules, seed=self._plan.seed + number):
            candidate = waiting[done.place]
            candidate.network, name = networks[done.place], candidate.record.name
            self._note(candidate, done.accuracy, done.seconds, done.diverged)
            known[name] = {"accuracy": done.accuracy, "seconds": done.seconds, "diverged": done.diverged}
            if done.diverged:
                self._line(f"   the short training of {name} diverged, it is not accepted")
            self._history.keep(part)
            self._trained(name)

    @staticmethod
    def _note(candidate: Candidate, accuracy: float | None, seconds: float | None, diverged: bool) -> None:
        candidate.record = replace(candidate.record, accuracy=accuracy, seconds=seconds, diverged=diverged)
