"""How long a search goes on: how many candidates it judges, and when the time for them is over."""

import statistics
from dataclasses import dataclass, field

import optuna
from optuna.trial import TrialState

from search.console import clock_text
from search.session import StudyClock
from search.settings import NO_WEIGHTS, Settings
from studies.schema import Status, is_recorded

SEARCH_SHARE = 2 / 3  # of the time limit, the rest is the winner's: with two fifths it ended early on the digits
# The same where candidates are fine-tuned, and where they are judged without training: the longer the winner is
# fine-tuned the better it is, and none of them was for long.
TUNED_SHARE = 0.3
QUICK_SHARE = 0.12
JUDGED = 36  # candidates that a quick estimator judges at least, within MOST_QUICK_SHARE
MOST_QUICK_SHARE = 0.4
PREPARE_SHARE = 0.3  # for an estimator that trains something before it judges: it comes before those shares' end
LATELY = 5  # candidates that tell how long another one takes: the machine may have become slower
LONGER = 4  # the winner's training in short trainings, where no time limit says how long


@dataclass
class Schedule:
    """Of one run of a search. trains: whether its estimator trains candidates; see AccuracyEstimator."""

    study: optuna.Study
    settings: Settings
    clock: StudyClock
    trains: bool
    _ends_at: float | None = field(default=None, init=False)

    def is_over(self) -> bool:
        """Whether no other candidate is to be judged."""
        if self.settings.trials is not None and self.attempts() >= self.settings.trials:
            return True
        left_s, usual_s = self.clock.left_s(self._share()), self._usual_s()
        if left_s is None or usual_s is None or self.attempts() < self.settings.winners:
            return False  # at least one network is trained for each budget, however short the time
        return left_s < 0.7 * usual_s

    def sentence(self) -> str:
        """What the time is for, for people."""
        limit_s = self.clock.limit_s
        if limit_s is None:
            count = self.settings.trials
            judged = "1 candidate is judged, then it" if count == 1 else f"{count} candidates are judged, then the best"
            return f"{judged}{self._of_each} is trained for longer"
        spent_s, share = self.clock.elapsed_s(), self._usual_share
        until_s = max(spent_s, share * limit_s)
        least = "" if self.trains else f", and until {JUDGED} are"
        winners = self.settings.winners
        has = "the winner has" if winners == 1 else f"the winners of {winners} budgets share"
        return (
            f"candidates are judged for about {clock_text(until_s - spent_s)}{least}; then those tied with the best"
            f"{self._of_each} train on, and {has} what is left of {clock_text(limit_s - until_s)}"
        )

    @property
    def _of_each(self) -> str:
        return " for each budget" if self.settings.winners > 1 else ""

    def left_s(self) -> float | None:
        """Seconds until the whole command ends: by the time limit, or else by what trainings have taken so far."""
        limit = self.clock.left_s()
        if limit is not None or self._ends_at is None:
            return limit
        return max(0.0, self._ends_at - self.clock.elapsed_s())

    def attempts(self) -> int:
        """Candidates that were judged, or whose training failed."""
        states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
        trials = self.study.get_trials(deepcopy=False, states=states)
        # A trial that was cut off has no status yet, or still that of one that runs.
        ended = (Status.TRAINED, Status.STOPPED_EARLY, Status.FAILED)
        return sum(trial.user_attrs.get("status") in ended for trial in trials)

    def guess_end(self) -> None:
        """Work out when a search without a time limit will end."""
        usual_s = self._usual_s()
        if usual_s is not None and self.settings.trials is not None:
            trainings = max(0, self.settings.trials - self.attempts()) + LONGER * self.settings.winners
            self._ends_at = self.clock.elapsed_s() + trainings * usual_s

    @property
    def _usual_share(self) -> float:
        if not self.trains:
            return QUICK_SHARE
        return SEARCH_SHARE if self.settings.weights == NO_WEIGHTS else TUNED_SHARE

    def _share(self) -> float:
        """Of the time limit, until when candidates are judged."""
        return self._usual_share if self.trains or self.attempts() >= JUDGED else MOST_QUICK_SHARE

    def _usual_s(self) -> float | None:
        trials = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        took = [trial.user_attrs["train_s"] for trial in trials if is_recorded(trial, "train_s")][-LATELY:]
        return statistics.median_high(took) if took else None
