"""Several budgets in one search: their turns, and the candidates that each turn's early stopping compares."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial

from search.budget import LatencyBudget
from search.published import Published
from search.queued import AGAIN
from studies.schema import is_recorded

TURN = "for_budget_ms"  # a trial's attribute: the budget in whose turn it was asked for


@dataclass(eq=False)
class Turn:
    """One of the budgets of a search: every how many candidates are asked for within it, published ones among them.

    is_exhausted: whether every network within it was tried.
    """

    budget: LatencyBudget
    published: Sequence[Published] = ()
    is_exhausted: bool = False

    @property
    def text(self) -> str:
        """For people: 5 ms."""
        return f"{self.budget.limit_ms:g} ms"

    def counts(self, trial: FrozenTrial) -> bool:
        """Whether a trial is a candidate within this budget: those of smaller budgets are, as far as is predicted."""
        own = trial.user_attrs.get(TURN)
        if own is not None and own <= self.budget.limit_ms:
            return True
        if not is_recorded(trial, "predicted_latency_ms"):
            return False
        predicted_ms = float(trial.user_attrs["predicted_latency_ms"])
        return predicted_ms * self.budget.correction <= self.budget.search_limit_ms


def turn_of(queued: FrozenTrial, turns: Sequence[Turn], trials: Sequence[FrozenTrial]) -> Turn:
    """The turn in which a queued trial was cut off; for what somebody else queued the largest budget's."""
    again = queued.user_attrs.get(AGAIN)
    asked_for = [trial.user_attrs.get(TURN) for trial in trials if trial.number == again]
    return next((turn for turn in turns if turn.budget.limit_ms in asked_for), turns[-1])


class StoppingByTurn(BasePruner):
    """Another pruner, for each budget among its own candidates: larger ones would have all smaller ones stopped."""

    def __init__(self, pruner: BasePruner) -> None:
        self.pruner = pruner

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether the trial is to be stopped."""
        of_turn: Any = _OfTurn(study, trial.user_attrs.get(TURN))
        return self.pruner.prune(of_turn, trial)


class _OfTurn:
    """A study of which only the trials of one turn are seen."""

    def __init__(self, study: optuna.Study, turn: object) -> None:
        self._seen, self._turn = study, turn

    def __getattr__(self, name: str) -> Any:
        return getattr(self._seen, name)

    def get_trials(self, *args: Any, **kwargs: Any) -> list[FrozenTrial]:
        trials = self._seen.get_trials(*args, **kwargs)
        return [one for one in trials if one.user_attrs.get(TURN) == self._turn]
