"""What the time left for a search's winner is spent on: its training, pruning, and the training after that."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from search.finalists import Finalist
from search.kept_candidates import KeptCandidates
from search.long_training import LongTraining
from search.loop import Search
from search.netadapt.settings import pruning_time_s
from search.schedule import LONGER
from searchspace.spec import NetworkSpec

TELLING = 2.0  # times a candidate's training: what a contest from scratch has to be
# Times a candidate's training, below which the winner goes on from that. Digits, the smallest network: as long again
# 86.6 % from it and 77.4 % anew, twice as long 90.4 and 89.7 %, three times 92.3 and 93.7 %.
ANEW = 2.0
AFTER_PRUNING = 0.35  # of the winner's training
# Of the time for a training, what is planned. By epochs more than the speed admits, as a training ends by the clock
# too, with its rate at 0: time that is left over is lost, and an epoch that is not begun costs nothing.
BY_EPOCHS, BY_CLOCK = 1.1, 0.985
CLOSING_S = 20.0  # kept free for the last measurement and writing


class Plan(NamedTuple):
    """The length of the first training and of the one after pruning (0: the network is not pruned).

    In epochs; in seconds where networks are fine-tuned. goes_on: from the weights of its candidate's training.
    """

    first: int
    last: int
    goes_on: bool = False

    @property
    def length(self) -> int:
        """Of both trainings."""
        return self.first + self.last


@dataclass
class Plans:
    """Of one search's finalists. What was decided stands, also in a later run."""

    search: Search
    training: LongTraining
    kept: KeptCandidates
    _epochs_s: dict[str, float] = field(default_factory=dict)

    def in_order(self, finalists: list[Finalist]) -> list[Finalist]:
        """Those last that need pruning, where too little time is left to train one well besides.

        Of a winner 1.4 % over the budget, pruned and trained for 7 epochs, 93.7 % were right; of one within the budget
        that was trained for 20 epochs in the same time 97.8 %.
        """
        decided = self._decided()

        def is_hurried(finalist: Finalist) -> bool:
            over = self._times_over(finalist)
            if over <= 1 or self.key(finalist) in decided or self.search.clock.left_s() is None:
                return False
            return self._share_time(finalist, over).length < self._lengths(finalist, LONGER * self._short)

        return sorted(finalists, key=is_hurried)

    def plan(self, finalist: Finalist, reserve_s: float = 0.0) -> Plan:
        """What fits the time left, less `reserve_s`.

        What an earlier, cut-off run decided stands, so that a second measurement of the network changes nothing.
        """
        decided, key = self._decided(), self.key(finalist)
        if key not in decided:
            decided = {**decided, key: self._share_time(finalist, self._times_over(finalist), reserve_s)}
            self.search.study.set_user_attr("winner_epochs", decided)
        found = decided[key]
        return Plan(found, 0) if isinstance(found, int) else Plan(*found)  # studies of before had one number

    def _decided(self) -> dict[str, Any]:
        return dict(self.search.study.user_attrs.get("winner_epochs", {}))

    def key(self, finalist: Finalist) -> str:
        """Under which a finalist's plan is kept: another time limit or budget has another plan."""
        return f"{finalist.trial.user_attrs['fingerprint']}@{self.search.clock.limit_s}{self.search.suffix}"

    def _times_over(self, finalist: Finalist) -> float:
        """How many times the budget the network takes; 1 where pruning is not asked for."""
        budget = self.search.budget
        return budget.times_over(finalist.found) if budget.overshoot > 1 else 1.0

    def _share_time(self, finalist: Finalist, over: float, reserve_s: float = 0.0) -> Plan:
        """over: how many times the budget the network takes; up to 1 for none to prune."""
        left_s, short = self.search.clock.left_s(), self._short
        if left_s is None:
            last = 0 if over <= 1 else self._lengths(finalist, short)
            return Plan(self._lengths(finalist, LONGER * short) - last, last)
        pruning_s = 0.0 if over <= 1 else pruning_time_s(over, self._epoch_s(finalist))
        sure = BY_CLOCK if self.training.by_seconds else BY_EPOCHS
        training_s = sure * (left_s - self.closing_s(finalist.spec, left_s) - pruning_s - reserve_s)
        unit_s = 1.0 if self.training.by_seconds else self._epoch_s(finalist)
        goes_on = self._goes_on(finalist, training_s)
        least = 1 if goes_on or (self.training.by_seconds and over <= 1) else self._lengths(finalist, short)
        whole = max(least, int(training_s / unit_s))
        last = 0 if over <= 1 else max(1, round(AFTER_PRUNING * whole))
        return Plan(max(1, whole - last), last, goes_on)

    def _goes_on(self, finalist: Finalist, training_s: float) -> bool:
        """Whether a training of so many seconds is worth more from its candidate's weights than from new ones."""
        if self.training.tunes or not self.kept.has(finalist.spec):
            return False
        return training_s < ANEW * float(finalist.trial.user_attrs["train_s"])

    @property
    def _short(self) -> int:
        """Epochs of a candidate's training."""
        return self.training.trainer.recipe.epochs

    def is_ready(self, finalist: Finalist) -> bool:
        """Whether it is surely within the budget as it is."""
        return self._times_over(finalist) <= 1

    def too_late(self, finalist: Finalist, plan: Plan) -> Callable[[], bool]:
        """Whether what is left by now, while it is pruned, is needed for its last training, or for one of another."""
        unit_s = 1.0 if self.training.by_seconds else self._epoch_s(finalist)
        left_s = self.search.clock.left_s()
        if left_s is None:
            return lambda: False
        kept_s = self.closing_s(finalist.spec, left_s) + min(plan.last * unit_s, left_s / 2)
        return lambda: (self.search.clock.left_s() or 0.0) < kept_s

    def is_telling(self, finalist: Finalist, share: float) -> bool:
        """Whether that share of the finalist's training is well above what candidates had of it."""
        plan = self._share_time(finalist, self._times_over(finalist))
        return share * plan.length >= TELLING * self._lengths(finalist, self._short)

    def _lengths(self, finalist: Finalist, epochs: int) -> int:
        """So many epochs in a plan's unit."""
        return max(1, round(epochs * self._epoch_s(finalist))) if self.training.by_seconds else epochs

    def closing_s(self, spec: NetworkSpec, left_s: float) -> float:
        """Seconds of `left_s` that are not for training: deploying, testing, a last measurement, writing."""
        return CLOSING_S + self.training.closing_s(spec, left_s)

    def _epoch_s(self, finalist: Finalist) -> float:
        """Seconds of an epoch now. A candidate's own training had more validation in it."""
        key = finalist.trial.user_attrs["fingerprint"]
        if key not in self._epochs_s:
            self._epochs_s[key] = self.training.epoch_s(finalist.spec)
        return self._epochs_s[key]

    def after_pruning(self, finalist: Finalist, plan: Plan, spec: NetworkSpec) -> int:
        """What of the plan's last training fits the time left after pruning; decided once."""
        left_s, key = self.search.clock.left_s(), f"{self.key(finalist)} pruned"
        if left_s is None or not self.training.by_seconds:
            return plan.last
        decided = self._decided()
        if key not in decided:
            seconds = min(plan.last, int(BY_CLOCK * (left_s - self.closing_s(spec, left_s))))
            decided = {**decided, key: max(1, seconds)}
            self.search.study.set_user_attr("winner_epochs", decided)
        return int(decided[key])
