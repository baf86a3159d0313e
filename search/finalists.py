"""Finalists: the best trained networks of a search, measured."""

from typing import Any, NamedTuple

from optuna.trial import FrozenTrial

from search.latency import Measurement
from search.loop import Search, record_measured
from searchspace.errors import InfeasibleBudget
from searchspace.spec import NetworkSpec

AT_ONCE = 5  # trials that are measured in one run


class Finalist(NamedTuple):
    """A trained trial and what its network takes, in ms."""

    trial: FrozenTrial
    found: Measurement

    @property
    def spec(self) -> NetworkSpec:
        """The network that the trial trained."""
        return NetworkSpec.from_json(self.trial.user_attrs["spec"])

    @property
    def network(self) -> str | None:
        """The published network that it is."""
        name: str | None = self.trial.user_attrs.get("network")
        return name

    @property
    def rejected(self) -> dict[str, Any]:
        """What a summary says of it where it is passed over."""
        kind = "measured" if self.found.rounds else "predicted"
        return {"trial": self.trial.number, f"{kind}_latency_ms": self.found.latency_ms}

    def text(self, found: Measurement | None = None) -> str:
        """`trial 3 measures 20.10 ms`, by a later measurement where one is given."""
        found = found or self.found
        takes = "measures" if found.rounds else "is predicted at"
        return f"trial {self.trial.number} {takes} {found.latency_ms:.2f} ms"


def finalists_within(search: Search, limit_ms: float) -> tuple[list[Finalist], list[dict[str, Any]]]:
    """Trained trials that measure within `limit_ms`, best first, and those better than the first of them that did not.

    The best is the one of the highest mean by what the search knows (see `believed`): the best of many noisy results
    is partly lucky. The best AT_ONCE, the best published network among them, are measured in one interleaved run; if
    all are over the limit the next ones follow, until no trained network is left. A network passes if the upper end of
    its measured interval is within the limit, or, where none does, if its measured latency is. Raises InfeasibleBudget
    if not even one does.
    """
    trials = _with_published(_by_belief(search))
    if not trials:
        raise InfeasibleBudget(
            "no network was trained to its end, so there is no winner: give more --trials or --minutes"
        )
    over: list[Finalist] = []  # those whose upper end is over the limit, best first
    for start in range(0, len(trials), AT_ONCE):
        group = _measured(search, trials[start : start + AT_ONCE])
        passing = [one for one in group if one.found.high_ms <= limit_ms]
        before = group[: group.index(passing[0])] if passing else group
        for one in before:
            search.progress.line(
                f"{one.text()} ({one.found.low_ms:.2f} to {one.found.high_ms:.2f}) at "
                f"{one.trial.user_attrs['accuracy']:.1%}: not surely within {limit_ms:g} ms, the next is taken"
            )
        over += before
        if passing:
            return passing, [one.rejected for one in over]
    fallback = [one for one in over if one.found.latency_ms <= limit_ms]
    if fallback:
        return fallback, [one.rejected for one in over[: over.index(fallback[0])]]
    nearest = min(over, key=lambda one: one.found.latency_ms)
    raise InfeasibleBudget(
        f"none of the {len(trials)} trained networks is within {limit_ms:g} ms; the nearest is trial "
        f"{nearest.trial.number} with {nearest.found.latency_ms:.2f} ms. Go on searching with more --minutes or "
        "--trials, or raise --budget-ms"
    )


def believed(search: Search) -> dict[int, tuple[float, float]]:
    """Mean and standard deviation of each finished trial's reward, by its number.

    By the sampler's Gaussian process, which learns from all trials, for networks of the space; for published ones,
    and where there are few trials, what their own score says.
    """
    own = {
        trial.number: (trial.value or 0.0, float(trial.user_attrs.get("deviation", 0.0))) for trial in search.finished()
    }
    return own | {number: found for number, found in search.sampler.posterior(search.study).items() if number in own}


def _by_belief(search: Search) -> list[FrozenTrial]:
    belief = believed(search)
    return sorted(search.finished(), key=lambda trial: (-belief[trial.number][0], trial.number))


def _with_published(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """The best published network among the first AT_ONCE."""
    place = next((at for at, trial in enumerate(trials) if "network" in trial.user_attrs), 0)
    if place < AT_ONCE:
        return trials
    return [*trials[: AT_ONCE - 1], trials[place], *trials[AT_ONCE - 1 : place], *trials[place + 1 :]]


def _measured(search: Search, trials: list[FrozenTrial]) -> list[Finalist]:
    specs = [NetworkSpec.from_json(trial.user_attrs["spec"]) for trial in trials]
    found = search.budget.networks(
        specs,
        progress=lambda fraction, what: search.progress.update(fraction, f"measuring finalists: {what}"),
    )
    for trial, one in zip(trials, found, strict=True):
        record_measured(search.study, trial.number, one, search.budget.table)
    return list(map(Finalist, trials, found))
