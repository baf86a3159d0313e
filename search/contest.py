"""The contest of tied finalists: each begins the winner's own training for as long, then the best goes on.

Candidates are judged in seconds, so that several are as good as the best as far as anybody can tell. What is spent on
the others is the price of knowing: at most EXTRA of the winner's time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from search.console import Progress, clock_text
from search.finalists import Finalist
from searchspace.report import percent_text

EXTRA = 0.16  # of the winner's time, for all others
MOST = 3  # finalists in it, and the best published network
LONGEST = 0.1  # of the winner's training
SHORTEST_S = 15.0  # less tells nothing
BY_EPOCHS = 0.2  # of a training from scratch, whose rate rises until then, for two finalists
HOPELESS = 2.5  # standard deviations that the best published network may be behind


class Standing(NamedTuple):
    """A finalist with what is believed of its reward: mean and standard deviation; `name` for people."""

    finalist: Finalist
    name: str
    mean: float
    deviation: float

    def is_behind(self, other: Standing, deviations: float = 1.0) -> bool:
        """Whether it is worse by more than so many standard deviations of the difference."""
        return other.mean - self.mean > deviations * math.hypot(self.deviation, other.deviation)


class Terms(NamedTuple):
    """Of a contest: the trials in it, the share of its training that each does, seconds that the others take."""

    trials: list[int]
    until: float
    reserve_s: float


@dataclass(frozen=True)
class Contest:
    """Between finalists, the best first, all of them within the budget.

    `train(finalist, until)` trains one up to the share `until` of its training, kept on disk, and gives its validation
    accuracy. `left_s`: seconds for the contest and the winner's training; None without a limit. by_epochs: trainings
    are from scratch. is_telling: whether so short a training tells more than those of the candidates did; where it does
    not, what is believed decides.
    """

    train: Callable[[Finalist, float], float]
    progress: Progress
    left_s: float | None
    by_epochs: bool
    is_telling: bool = True

    def tied(self, standings: Sequence[Standing]) -> list[Standing]:
        """Those that may well be the best, and the best published network, as many as there is time for."""
        first = standings[0]
        found = [one for one in standings if not one.is_behind(first)][: 2 if self.by_epochs else MOST]
        published = next((one for one in standings if one.finalist.network), None)
        if published is not None and published not in found and not published.is_behind(first, HOPELESS):
            found.append(published)
        while len(found) > 1 and not self._is_worth_it(len(found)):
            stays = published if len(found) > 2 else None
            found.remove(next(one for one in reversed(found) if one is not stays))
        return found

    def terms(self, standings: Sequence[Standing]) -> Terms | None:
        """What is to be kept before it begins, as with less time left it would have others; None where none is due."""
        tied = self.tied(standings)
        if len(tied) < 2 or not self.is_telling:
            return None
        trials = [one.finalist.trial.number for one in tied]
        return Terms(trials, self.until(len(tied)), self.reserve_s(len(tied)))

    def until(self, count: int) -> float:
        """The share of its training that each of `count` finalists does."""
        return BY_EPOCHS if self.by_epochs else min(LONGEST, EXTRA / (count - 1))

    def reserve_s(self, count: int) -> float:
        """Seconds that the others take: with them the winner's training is shorter by as much."""
        others = (count - 1) * self.until(count)
        return 0.0 if self.left_s is None else self.left_s * others / (1 + others)

    def _is_worth_it(self, count: int) -> bool:
        return self.left_s is None or self.reserve_s(count) / (count - 1) >= SHORTEST_S

    def run(self, standings: Sequence[Standing], terms: Terms | None) -> tuple[list[Finalist], dict[str, Any] | None]:
        """The finalists in the order to try them, and what a summary says of the contest; None where there was none."""
        order = [one.finalist for one in standings]
        tied = [one for one in standings if terms is not None and one.finalist.trial.number in terms.trials]
        if terms is None or not tied:
            return order, self._undecided(standings)
        each = "" if self.left_s is None else f" {clock_text(terms.reserve_s / (len(terms.trials) - 1))} each"
        told = ", ".join(f"{one.name} ({percent_text(one.mean)} ± {100 * one.deviation:.1f})" for one in tied)
        self.progress.line(f"tied with the best: {told}; they train for{each or ' as long'}, then the best goes on")
        rows = []
        for one in tied:
            accuracy = self.train(one.finalist, terms.until)
            rows.append({**self._row(one), "contest_accuracy": accuracy})
            self.progress.line(f"{one.name}: {percent_text(accuracy)} after its share of the contest")
        best = max(range(len(tied)), key=lambda place: (rows[place]["contest_accuracy"], -place))
        first = tied[best].finalist
        decided = f"{tied[best].name} was the best after equal {self._unit}"
        self.progress.line(f"{decided}: it goes on")
        return [first, *(one for one in order if one is not first)], {"tied": rows, "decided_by": decided}

    def _undecided(self, standings: Sequence[Standing]) -> dict[str, Any] | None:
        """What a summary says where several are tied, and a contest would tell nothing."""
        tied = self.tied(standings)
        if self.is_telling or len(tied) < 2:
            return None
        decided = f"{tied[0].name} is expected to be the best; a contest would be no longer than the trainings so far"
        self.progress.line(decided)
        return {"tied": [{**self._row(one), "contest_accuracy": None} for one in tied], "decided_by": decided}

    @property
    def _unit(self) -> str:
        """What trainings are equal in: without a time limit none is by the clock."""
        return "epochs" if self.by_epochs else "images" if self.left_s is None else "minutes"

    def _row(self, one: Standing) -> dict[str, Any]:
        about = {"trial": one.finalist.trial.number, "network": one.finalist.network}
        return {**about, "expected": one.mean, "deviation": one.deviation}
