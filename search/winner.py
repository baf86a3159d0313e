"""The winner: the best network that runs within the budget; trained longer, pruned to it, tested once."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from optuna.trial import FrozenTrial

from search.console import clock_text
from search.data import Dataset
from search.finalists import Finalist, finalists_within
from search.latency import Measurement
from search.long_training import Final, LongTraining, Trained
from search.loop import LONGER, Search, record_measured
from search.netadapt.last_stage import prune_winner
from search.netadapt.settings import pruning_time_s
from search.netadapt.timing import DeviceTimer, PairedTimer
from searchspace.errors import InfeasibleBudget
from searchspace.latency.table import LatencyTable
from searchspace.nn import Network
from searchspace.spec import NetworkSpec

AFTER_PRUNING = 0.35  # of the winner's training
CLOSING_S = 20.0  # kept free for the last measurement and writing


class Plan(NamedTuple):
    """The length of the first training and of the one after pruning (0: the network is not pruned).

    In epochs; in seconds where networks are fine-tuned.
    """

    first: int
    last: int


class Winner(NamedTuple):
    """A trained network that is within the budget, or the best that there is.

    Attributes:
        trial: That it comes from.
        spec: Of the network; after pruning not the trial's.
        module: The network, trained, in eval mode.
        measured: Its latency, or the prediction where nothing is measured.
        trained: Its training, in all.
        refined: How pruning brought it to the budget, if it had to.
        table: What predicts it: after pruning, with those kernels of its channels that were measured for it.
        rejected: Better trials that were passed over.
        tested: At the deployed size; None until it was.
    """

    trial: FrozenTrial
    spec: NetworkSpec
    module: Network
    measured: Measurement
    trained: Trained
    refined: dict[str, Any] | None
    table: LatencyTable
    rejected: tuple[dict[str, Any], ...] = ()
    tested: Final | None = None


@dataclass
class WinnerSelection:
    """Chooses the winner of a search. `timer(table, seed=...)` makes what times cuts of its pruning.

    data: the images that candidates were judged by.
    """

    search: Search
    training: LongTraining
    data: Dataset
    folder: Path
    timer: Callable[..., PairedTimer] = DeviceTimer
    _epochs_s: dict[str, float] = field(default_factory=dict)

    def select_winner(self) -> Winner:
        """Choose a finalist, train it longer, prune it to the budget if it is over it, measure it.

        Then make it good at the deployed size and test it once there.

        If pruning cannot bring it there, or the trained module measures over the budget, the next finalist is taken;
        where none of what the search looked at comes down, one that measures within the budget as it is. Raises
        InfeasibleBudget.
        """
        budget = self.search.budget
        finalists, rejected = finalists_within(self.search, budget.search_limit_ms)
        found = self.first_within(finalists, rejected)
        if found is None and budget.overshoot > 1:
            finalists, _ = finalists_within(self.search, budget.limit_ms)
            found = self.first_within(finalists, rejected)
        if found is None:
            raise InfeasibleBudget(
                f"none of the {len(finalists)} finalists is within {budget.limit_ms:g} ms or could be pruned to it: "
                "go on searching with more --minutes or --trials, or raise --budget-ms"
            )
        if found.refined is None:
            record_measured(self.search.study, found.trial.number, found.measured, budget.table)
        left_s = self.search.clock.left_s()
        tested = self.training.deploy_and_test(
            found.module,
            found.trained,
            f"the winner, trial {found.trial.number}",
            left_s=None if left_s is None else left_s - CLOSING_S / 2,  # half of it was for measuring
        )
        return found._replace(tested=tested, rejected=tuple(rejected))

    def first_within(self, finalists: list[Finalist], rejected: list[dict[str, Any]]) -> Winner | None:
        """The first finalist that is within the budget once it is trained, and pruned where it has to be.

        Those that are not are added to `rejected`. Without pruning (overshoot 1) the last one is taken as it is.
        """
        search, budget = self.search, self.search.budget
        for place, finalist in enumerate(self.in_order(finalists)):
            plan = self.plan(finalist)
            found = self.pruned(finalist, plan) if plan.last else self.trained(finalist, plan.first)
            if found is None and budget.within(finalist.found):  # pruning was to make it surer, and there is no less
                found = self.trained(finalist, plan.first)
            if found is not None and not plan.last and self._is_slightly_over(found):
                search.progress.line(
                    f"{finalist.text(found.measured)} once it is trained, not within {budget.limit_ms:g} ms: it is "
                    "pruned to it"
                )
                found = self.pruned(finalist, Plan(plan.first, 1), is_trained=True) or found
            is_last = budget.overshoot == 1 and place == len(finalists) - 1
            if found is not None and (budget.within(found.measured) or is_last):
                return found
            latest = finalist.found if found is None else found.measured
            rejected.append(finalist._replace(found=latest).rejected)
            kept = "" if budget.measures else f", so that {budget.counted_ms(latest):.2f} ms are surely kept"
            search.progress.line(f"{finalist.text(latest)}{kept}, not within {budget.limit_ms:g} ms: the next is taken")
        return None

    def _is_slightly_over(self, found: Winner) -> bool:
        """Whether a network that was to be within the budget is over it by what pruning may bring down.

        Two measurements differ by some percent, and another finalist would have to be trained in what time is left
        (here 4 epochs and 91 %, not 12 and 97 %).
        """
        over = self.search.budget.counted_ms(found.measured) / self.search.budget.limit_ms
        return 1 < over <= self.search.budget.overshoot

    def in_order(self, finalists: list[Finalist]) -> list[Finalist]:
        """Those last that need pruning, where too little time is left to train one well besides.

        Of a winner 1.4 % over the budget, pruned and trained for 7 epochs, 93.7 % were right; of one within the budget
        that was trained for 20 epochs in the same time 97.8 %.
        """
        decided = self._decided()

        def is_hurried(finalist: Finalist) -> bool:
            over = self._times_over(finalist)
            if over <= 1 or self._plan_key(finalist) in decided or self.search.clock.left_s() is None:
                return False
            return sum(self._share_time(finalist, over)) < self._lengths(finalist, LONGER * self._short)

        return sorted(finalists, key=is_hurried)

    def plan(self, finalist: Finalist) -> Plan:
        """What fits the time left.

        What an earlier, cut-off run decided stands, so that a second measurement of the network changes nothing.
        """
        decided, key = self._decided(), self._plan_key(finalist)
        if key not in decided:
            decided = {**decided, key: self._share_time(finalist, self._times_over(finalist))}
            self.search.study.set_user_attr("winner_epochs", decided)
        found = decided[key]
        return Plan(found, 0) if isinstance(found, int) else Plan(*found)  # studies of before had one number

    def _decided(self) -> dict[str, Any]:
        return dict(self.search.study.user_attrs.get("winner_epochs", {}))

    def _plan_key(self, finalist: Finalist) -> str:
        return f"{finalist.trial.user_attrs['fingerprint']}@{self.search.clock.limit_s}"

    def _times_over(self, finalist: Finalist) -> float:
        """How many times the budget the network takes; 1 where pruning is not asked for."""
        budget = self.search.budget
        return budget.times_over(finalist.found) if budget.overshoot > 1 else 1.0

    def _share_time(self, finalist: Finalist, over: float) -> Plan:
        """over: how many times the budget the network takes; up to 1 for none to prune."""
        left_s, short = self.search.clock.left_s(), self._short
        if left_s is None:
            last = 0 if over <= 1 else self._lengths(finalist, short)
            return Plan(self._lengths(finalist, LONGER * short) - last, last)
        pruning_s = 0.0 if over <= 1 else pruning_time_s(over, self._epoch_s(finalist))
        training_s = 0.95 * (left_s - self._closing_s(finalist.spec, left_s) - pruning_s)
        unit_s = 1.0 if self.training.by_seconds else self._epoch_s(finalist)
        whole = max(self._lengths(finalist, short), int(training_s / unit_s))
        last = 0 if over <= 1 else max(1, round(AFTER_PRUNING * whole))
        return Plan(max(1, whole - last), last)

    @property
    def _short(self) -> int:
        """Epochs of a candidate's training."""
        return self.training.trainer.recipe.epochs

    def _lengths(self, finalist: Finalist, epochs: int) -> int:
        """So many epochs in a plan's unit."""
        return max(1, round(epochs * self._epoch_s(finalist))) if self.training.by_seconds else epochs

    def _closing_s(self, spec: NetworkSpec, left_s: float) -> float:
        return CLOSING_S + self.training.closing_s(spec, left_s)

    def _epoch_s(self, finalist: Finalist) -> float:
        """Seconds of an epoch: by the trial's training, or of one epoch now where its estimator trained nothing."""
        attrs = finalist.trial.user_attrs
        if self.search.estimator.trains:
            return float(attrs["train_s"] / attrs["epochs"])
        key = attrs["fingerprint"]
        if key not in self._epochs_s:
            self._epochs_s[key] = self.training.epoch_s(finalist.spec)
        return self._epochs_s[key]

    def trained(self, finalist: Finalist, length: int) -> Winner:
        """The finalist's network trained for `length`, in a plan's unit, and measured."""
        budget = self.search.budget
        module, trained = self._train(finalist, length)
        self.search.progress.update(1.0, "measuring the winner")
        (measured,) = budget.networks([module.spec], modules=[module])
        return Winner(finalist.trial, module.spec, module, measured, trained, None, budget.table)

    def pruned(self, finalist: Finalist, plan: Plan, *, is_trained: bool = False) -> Winner | None:
        """The finalist's network trained, pruned to the budget and trained on.

        None where pruning cannot bring it there. is_trained: `trained` has done the first part.
        """
        search, trial = self.search, finalist.trial
        module, first = self._train(finalist, plan.first, for_deployed=is_trained)
        self._keep_spent()
        try:
            found = prune_winner(
                module,
                budget=search.budget,
                fixed_table=search.settings.latency is not None,
                images=self.data,
                recipe=self.training.trainer.recipe,
                name=f"{search.study.study_name[:80]}-trial{trial.number}-pruned",
                data=search.settings.data,
                seed=search.settings.seed,
                space=search.priced.space,
                progress=search.progress,
                timer=self.timer,
            )
        except InfeasibleBudget as error:
            search.progress.line(str(error))
            return None
        network = found.network
        length = self._after_pruning(finalist, plan, network.spec)
        last = self.training.train(
            network,
            length,
            onward=True,
            state_file=self.folder / f"winner-{network.spec.fingerprint()}-pruned-{length}.ckpt",
            what="the pruned winner",
            kept=self._keep_spent,
            late=lambda: self._is_late(network.spec),
        )
        trained = last._replace(
            epochs=first.epochs + last.epochs, seconds=first.seconds + last.seconds, parent=first.parent
        )
        return Winner(trial, network.spec, network, found.measured, trained, found.pruning, found.table)

    def _after_pruning(self, finalist: Finalist, plan: Plan, spec: NetworkSpec) -> int:
        """What of the plan's last training fits the time left after pruning; decided once."""
        left_s, key = self.search.clock.left_s(), f"{self._plan_key(finalist)} pruned"
        if left_s is None or not self.training.by_seconds:
            return plan.last
        decided = self._decided()
        if key not in decided:
            seconds = min(plan.last, int(0.95 * (left_s - self._closing_s(spec, left_s))))
            decided = {**decided, key: max(1, seconds)}
            self.search.study.set_user_attr("winner_epochs", decided)
        return int(decided[key])

    def _is_late(self, spec: NetworkSpec) -> bool:
        left_s = self.search.clock.left_s()
        return left_s is not None and left_s <= self._closing_s(spec, left_s)

    def _keep_spent(self) -> None:
        self.search.study.set_user_attr("spent_s", self.search.clock.elapsed_s())

    def _train(self, finalist: Finalist, length: int, *, for_deployed: bool = True) -> tuple[Network, Trained]:
        """The network trained for `length`; a run that was cut off goes on where it was."""
        search, trial = self.search, finalist.trial
        how_long = clock_text(length) if self.training.by_seconds else f"{length} epochs"
        search.progress.line(f"training the winner, trial {trial.number}, for {how_long}")
        module, parent = self.training.start(finalist.spec)
        stem = f"winner-{trial.user_attrs['fingerprint']}-{length}"
        stem += "-first" if self.training.by_seconds and not for_deployed else ""
        trained = self.training.train(
            module,
            length,
            for_deployed=for_deployed,
            state_file=self.folder / f"{stem}.ckpt",
            what="the winner",
            kept=self._keep_spent,
        )
        search.progress.line(f"winner trained in {clock_text(trained.seconds)}")
        return module, trained._replace(parent=parent)
