"""The winner: the best network that runs within the budget; trained longer, pruned to it, tested once."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from optuna.trial import FrozenTrial

from search.console import clock_text
from search.contest import BY_EPOCHS, Contest, Standing, Terms
from search.data import Dataset
from search.finalists import Finalist, believed, finalists_within
from search.kept_candidates import KeptCandidates
from search.latency import Measurement
from search.long_training import Final, LongTraining, Trained
from search.loop import Search, record_measured
from search.netadapt.last_stage import prune_winner
from search.netadapt.timing import DeviceTimer, PairedTimer
from search.plan import CLOSING_S, Plan, Plans
from search.training.errors import TrainingFailed
from searchspace.errors import InfeasibleBudget
from searchspace.latency.table import LatencyTable
from searchspace.nn import Network
from searchspace.spec import NetworkSpec


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
        contest: Between tied finalists, where there was one; see Contest.
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
    contest: dict[str, Any] | None = None


@dataclass
class WinnerSelection:
    """Chooses the winner of a search. `timer(table, seed=...)` makes what times cuts of its pruning.

    data: the images that candidates were judged by. kept_in: where the candidates' weights are (default: in
    `folder`).
    """

    search: Search
    training: LongTraining
    data: Dataset
    folder: Path
    timer: Callable[..., PairedTimer] = DeviceTimer
    kept_in: Path | None = None

    def __post_init__(self) -> None:
        self.kept = KeptCandidates(self.kept_in or self.folder)
        self.plans = Plans(self.search, self.training, self.kept)

    def select_winner(self, measured: tuple[list[Finalist], list[dict[str, Any]]] | None = None) -> Winner:
        """Choose a finalist, train it longer, prune it to the budget if it is over it, measure it.

        Then make it good at the deployed size and test it once there. measured: what `finalists_within` gave for the
        search limit, where that is known.

        If pruning cannot bring it there, or the trained module measures over the budget, the next finalist is taken;
        where none of what the search looked at comes down, one that measures within the budget as it is. Raises
        InfeasibleBudget.
        """
        budget = self.search.budget
        finalists, rejected = measured or finalists_within(self.search, budget.search_limit_ms)
        finalists, contest = self.contested(finalists)
        found = self.first_within(finalists, rejected)
        if found is None and budget.overshoot > 1:
            finalists, _ = finalists_within(self.search, budget.limit_ms)
            found = self.first_within(self.plans.in_order(finalists), rejected)
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
        return found._replace(tested=tested, rejected=tuple(rejected), contest=contest)

    def contested(self, finalists: list[Finalist]) -> tuple[list[Finalist], dict[str, Any] | None]:
        """The finalists in the order that a contest of the tied ones gives, and what a summary says of it."""
        search, standings = self.search, self._standings(self.plans.in_order(finalists))
        left_s = search.clock.left_s()
        if left_s is not None:
            left_s = max(0.0, left_s - self.plans.closing_s(standings[0].finalist.spec, left_s))
        by_epochs = not self.training.tunes
        is_telling = not by_epochs or self.plans.is_telling(standings[0].finalist, BY_EPOCHS)
        contest = Contest(self._contest_training, search.progress, left_s, by_epochs=by_epochs, is_telling=is_telling)
        return contest.run(standings, _terms(contest, standings, self.plans))

    def may_win(self, finalists: list[Finalist]) -> list[Finalist]:
        """Those of the finalists that the contest may be between, however much time there is for it."""
        contest = Contest(self._contest_training, self.search.progress, None, by_epochs=not self.training.tunes)
        return [one.finalist for one in contest.tied(self._standings(finalists))]

    def _standings(self, finalists: list[Finalist]) -> list[Standing]:
        belief = believed(self.search)
        return [Standing(one, self._name(one), *belief[one.trial.number]) for one in finalists]

    def _name(self, finalist: Finalist) -> str:
        return finalist.network or f"trial {finalist.trial.number}"

    def _contest_training(self, finalist: Finalist, until: float) -> float:
        """Validation accuracy after the share `until` of the finalist's training; kept."""
        done, key = dict(self.search.study.user_attrs.get("contest", {})), f"{self.plans.key(finalist)} {until:.4f}"
        if key not in done:
            plan = self.plans.plan(finalist)
            try:
                _, trained = self._train(finalist, plan, for_deployed=not plan.last, until=until)
                done[key] = trained.accuracy
            except TrainingFailed as error:  # the others may do better
                self.search.progress.line(f"{self._name(finalist)}: {error}")
                done[key] = 0.0
            self.search.study.set_user_attr("contest", done)
        return float(done[key])

    def first_within(self, finalists: list[Finalist], rejected: list[dict[str, Any]]) -> Winner | None:
        """The first finalist that is within the budget once it is trained, and pruned where it has to be.

        Those that are not are added to `rejected`. Without pruning (overshoot 1) the last one is taken as it is.
        """
        search, budget = self.search, self.search.budget
        for place, finalist in enumerate(finalists):
            plan = self.plans.plan(finalist)
            others = any(self.plans.is_ready(one) for one in finalists[place + 1 :])
            found = self.pruned(finalist, plan, has_others=others) if plan.last else self.trained(finalist, plan)
            if found is None and budget.within(finalist.found):  # pruning was to make it surer, and there is no less
                found = self.trained(finalist, plan)
            if found is not None and not plan.last and self._is_slightly_over(found):
                search.progress.line(
                    f"{finalist.text(found.measured)} once it is trained, not within {budget.limit_ms:g} ms: it is "
                    "pruned to it"
                )
                found = self.pruned(finalist, plan._replace(last=1), is_trained=True) or found
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

    def trained(self, finalist: Finalist, plan: Plan) -> Winner:
        """The finalist's network after the first training of its plan, measured."""
        budget = self.search.budget
        module, trained = self._train(finalist, plan)
        self.search.progress.update(1.0, "measuring the winner")
        (measured,) = budget.networks([module.spec], modules=[module])
        return Winner(finalist.trial, module.spec, module, measured, trained, None, budget.table)

    def pruned(
        self, finalist: Finalist, plan: Plan, *, is_trained: bool = False, has_others: bool = False
    ) -> Winner | None:
        """The finalist's network trained, pruned to the budget and trained on.

        None where pruning cannot bring it there. is_trained: `trained` has done the first part. has_others: another
        finalist needs no pruning, so that this one gives up where there is no time for it.
        """
        search, trial = self.search, finalist.trial
        share = 1.0 if is_trained else plan.first / plan.length  # what pruning takes is the last's
        module, first = self._train(finalist, plan, for_deployed=is_trained, share=share)
        self._keep_spent()
        try:
            found = prune_winner(
                module,
                budget=search.budget,
                fixed_table=search.settings.latency is not None,
                images=self.data,
                recipe=self.training.trainer.recipe,
                name=f"{search.study.study_name[:80]}-trial{trial.number}{search.suffix}-pruned",
                data=search.settings.data,
                seed=search.settings.seed,
                augment=search.settings.augment,
                space=search.priced.space,
                progress=search.progress,
                timer=self.timer,
                pixels=self.training.pixels_for(module.spec),
                too_late=self.plans.too_late(finalist, plan) if has_others else lambda: False,
            )
        except InfeasibleBudget as error:
            search.progress.line(str(error))
            return None
        network = found.network
        length = self.plans.after_pruning(finalist, plan, network.spec)
        last = self.training.train(
            network,
            length,
            onward=True,
            state_file=self.folder / f"winner-{network.spec.fingerprint()}-pruned-{length}.ckpt",
            what="the pruned winner",
            kept=self._keep_spent,
            left_s=self._left_s(),
        )
        trained = last._replace(
            epochs=first.epochs + last.epochs, seconds=first.seconds + last.seconds, parent=first.parent
        )
        return Winner(trial, network.spec, network, found.measured, trained, found.pruning, found.table)

    def _left_s(self) -> float | None:
        """Seconds for training, making it good at the deployed size and testing it; None without a limit."""
        left_s = self.search.clock.left_s()
        return None if left_s is None else max(0.0, left_s - CLOSING_S)

    def _keep_spent(self) -> None:
        self.search.study.set_user_attr("spent_s", self.search.clock.elapsed_s())

    def _train(
        self,
        finalist: Finalist,
        plan: Plan,
        *,
        for_deployed: bool = True,
        until: float | None = None,
        share: float = 1.0,
    ) -> tuple[Network, Trained]:
        """The network after the first training of its plan; a run that was cut off goes on where it was.

        until: see LongTraining. share: of the time left that it may take at most, where it does not pause.
        """
        search, trial, length = self.search, finalist.trial, plan.first
        kept = self.kept.load(finalist.spec, note=search.progress.line) if plan.goes_on else None
        module, parent = self.training.start(finalist.spec) if kept is None else (kept, None)
        left_s = self._left_s() if until is None else None
        if until is None:
            how_long = self.training.how_long(length, None if left_s is None else share * left_s)
            onward = "" if kept is None else ", on from its candidate's weights"
            search.progress.line(f"training the winner, {self._name(finalist)}{onward}, for {how_long}")
        stem = f"winner-{trial.user_attrs['fingerprint']}-{length}"
        stem += "-first" if self.training.by_seconds and not for_deployed else ""
        trained = self.training.train(
            module,
            length,
            onward=kept is not None,
            for_deployed=for_deployed,
            state_file=self.folder / f"{stem}.ckpt",
            what="the winner" if until is None else self._name(finalist),
            kept=self._keep_spent,
            until=until,
            left_s=left_s if left_s is None else share * left_s,
        )
        if until is None:
            search.progress.line(f"winner trained in {clock_text(trained.seconds)}")
        return module, trained._replace(parent=parent)


def _terms(contest: Contest, standings: list[Standing], plans: Plans) -> Terms | None:
    """Those that an earlier, cut-off run began the contest by. All in it are planned before the first one trains."""
    search = plans.search
    study, key = search.study, f"{search.clock.limit_s} {len(search.finished())}{search.suffix}"
    kept = dict(study.user_attrs.get("contest_terms", {}))
    if key in kept:
        return Terms(*kept[key])
    terms = contest.terms(standings)
    if terms is not None:
        for one in standings:
            if one.finalist.trial.number in terms.trials:
                plans.plan(one.finalist, terms.reserve_s)
        study.set_user_attr("contest_terms", {**kept, key: terms})
    return terms
