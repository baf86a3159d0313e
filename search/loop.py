"""The search loop: ask Optuna for a network within the budget, estimate its accuracy, tell Optuna how it did.

Every trial is in the study's database before the next begins, with everything that was known of it.
"""

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.accuracy import AccuracyEstimator, Estimate
from search.budget import LatencyBudget, Learnt
from search.candidates import Candidate, PricedSpace
from search.console import Progress
from search.cores import fitted_threads
from search.latency import Measurement
from search.published import Published
from search.queued import AGAIN, check_distributions, is_trained_here, over_limits, refusal
from search.reward import REWARDS
from search.rows import BEST, Row
from search.samplers.moves import SpaceExhausted
from search.samplers.network_sampler import NetworkSampler, distributions, early_stopping
from search.schedule import Schedule
from search.session import StudyClock
from search.settings import Settings
from search.settled import GAIN, sentence, settled
from search.training.errors import TrainingFailed
from search.turns import TURN, StoppingByTurn, Turn, turn_of
from searchspace.errors import PhinasError
from searchspace.graph import lower
from searchspace.latency.table import LatencyTable
from searchspace.spaces.space import Choices
from searchspace.spec import NetworkSpec
from studies.schema import MEASURED, MEASURED_AT, Status, is_recorded

FIRST_PUBLISHED = 2  # published networks before the sampler's first proposal; the others come in turn with it
FAILURES_IN_A_ROW = 5
MEASURE_S = 1.5  # timing of a network that is the best so far
BUSY_S = 15.0  # what it takes where other processes hold the cores; it took 90


@dataclass
class Search:
    """One study and what its trials need.

    A network that is the best so far is measured at once, and the budget learns from it. `known`: the fingerprints of
    networks tried before (see `recover`). `starts`: choices to try first, but for the random sampler. `published`:
    networks outside of the space that are candidates too. `turns`: where a network is found for each of several
    budgets, the smallest first; they take turns, and `budget` is the one whose turn it is. `prior`: an earlier study.
    """

    study: optuna.Study
    settings: Settings
    priced: PricedSpace
    budget: LatencyBudget
    estimator: AccuracyEstimator
    clock: StudyClock
    progress: Progress
    known: set[str]
    starts: Iterable[Choices] = ()
    published: Sequence[Published] = ()
    turns: Sequence[Turn] = ()
    prior: optuna.Study | None = None
    turn: Turn = field(init=False)

    def __post_init__(self) -> None:
        self.is_busy = False
        self.reward = REWARDS[self.settings.reward]
        self.turns = self.turns or (Turn(self.budget, self.published),)
        self.published_names = {one.spec.fingerprint(): one.name for turn in self.turns for one in turn.published}
        self.schedule = Schedule(self.study, self.settings, self.clock, self.estimator.trains)
        self.samplers = [self._sampler_of(turn.budget) for turn in self.turns]
        self.study.pruner = early_stopping() if len(self.turns) == 1 else StoppingByTurn(early_stopping())
        self.take(self.turns[-1])

    def _sampler_of(self, budget: LatencyBudget) -> NetworkSampler:
        return NetworkSampler(
            self.priced,
            limit_ms=budget.prediction_limit_ms,
            starts_ms=budget.first_prediction_limit_ms,
            seed=self.settings.seed,
            kind=self.settings.sampler,
            known=self.known,
            starting_points=() if self.settings.sampler == "random" else tuple(self.starts),
            prior=self.prior,
        )

    def take(self, turn: Turn) -> None:
        """From here on everything is for this one of the budgets."""
        self.turn, self.budget = turn, turn.budget
        self.sampler = self.samplers[[*self.turns].index(turn)]
        self.study.sampler = self.sampler
        self.progress.about = turn.text if len(self.turns) > 1 else ""

    def of_turn(self, turn: Turn, clock: StudyClock) -> "Search":
        """The search as it stands for one of its budgets, whose winner has the time of `clock`."""
        found = copy.copy(self)
        found.clock = clock
        found.take(turn)
        return found

    @property
    def suffix(self) -> str:
        """What tells this budget's part of the study from others in names: `-5ms`; empty where there is one budget."""
        return f"-{self.budget.limit_ms:g}ms".replace("+", "") if len(self.turns) > 1 else ""

    def run(self) -> None:
        """Try candidates until the time for it or the number of trials is reached, or the space is used up."""
        failures = 0
        self.progress.plan(self.schedule.sentence())
        while not self.schedule.is_over():
            self.schedule.guess_end()
            self._end_settled()
            if all(turn.is_exhausted for turn in self.turns):
                return
            try:
                trial, candidate = self._ask()
            except SpaceExhausted as end:
                self.progress.line(str(end))
                self.turn.is_exhausted = True
                continue
            failures = 0 if self._run_trial(trial, candidate) else failures + 1
            self.study.set_user_attr("spent_s", self.clock.elapsed_s())
            if failures == FAILURES_IN_A_ROW:
                last = self.study.get_trials(deepcopy=False)[-1].user_attrs.get("error")
                raise PhinasError(
                    f"{failures} trainings in a row failed; the last one: {last}. The study is kept; mend the "
                    "cause (smaller --proxy-resolution, other data) and run the same command again"
                )

    def _end_settled(self) -> None:
        """End the turns of the budgets for which --until-settled ends the search here, and say so."""
        for turn in self.turns if self.settings.until_settled else ():
            if turn.is_exhausted or any(one.spec.fingerprint() not in self.known for one in turn.published):
                continue
            self.take(turn)
            own = self.budget.limit_ms if len(self.turns) > 1 else None
            trials = [one for one in self.study.get_trials(deepcopy=False) if one.user_attrs.get(TURN) == own]
            found = settled(self.finished(), trials)
            if found is not None:
                self.progress.line(sentence(found))
                turn.is_exhausted = True

    def _ask(self) -> tuple[optuna.Trial, Candidate]:
        """The next candidate: a published network, or what the sampler proposes."""
        self._refuse_queued()
        turn, at = divmod(self.schedule.attempts(), len(self.turns))
        self.take(next(one for one in (*self.turns[at:], *self.turns[:at]) if not one.is_exhausted))
        queued = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))  # has the sampler's turn
        if queued:
            self.take(turn_of(queued[0], self.turns, self.study.get_trials(deepcopy=False)))
        waiting = [one for one in self.turn.published if one.spec.fingerprint() not in self.known]
        if waiting and not queued and (turn < FIRST_PUBLISHED or (turn - FIRST_PUBLISHED) % 2 == 1):
            return self._ask_for(waiting[0])
        try:
            self.sampler.gain = math.inf
            trial = self.study.ask(fixed_distributions=distributions(self.priced.space))
            if math.isfinite(self.sampler.gain):
                trial.set_user_attr(GAIN, self.sampler.gain)
        except SpaceExhausted:
            if not waiting:
                raise
            return self._ask_for(waiting[0])
        candidate = self.priced.price(trial.params)
        over = over_limits(candidate, self.priced, self.budget.prediction_limit_ms)
        if over is not None and queued and AGAIN not in trial.user_attrs:
            self._refuse(trial, over)
            return self._ask()
        return trial, candidate

    def _refuse_queued(self) -> None:
        """End the trials at the head of the queue that are no points of the space, and say why.

        Raises StudyMismatch for a trial of another space.
        """
        check_distributions(self.study.get_trials(deepcopy=False), distributions(self.priced.space))
        while queued := self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            reason = refusal(queued[0], self.priced.space)
            if reason is None:
                return
            self._refuse(self._ask_nobody(), reason)

    def _refuse(self, trial: optuna.Trial, reason: str) -> None:
        self._end(trial, TrialState.FAIL, {"status": Status.FAILED, "error": reason})
        self.progress.line(f"trial {trial.number} is not trained: {reason}")

    def _ask_for(self, published: Published) -> tuple[optuna.Trial, Candidate]:
        """A trial without parameters: the network is no point of the space."""
        return self._ask_nobody(), self.priced.price_spec(published.spec)

    def _ask_nobody(self) -> optuna.Trial:
        """The first queued trial, or a new one; nothing is proposed for it."""
        self.study.sampler = optuna.samplers.RandomSampler(seed=0)  # it proposes nothing before it is asked
        try:
            return self.study.ask()
        finally:
            self.study.sampler = self.sampler

    def finished(self) -> list[FrozenTrial]:
        """The trials that were trained to their end, best reward first; of several budgets those within this one."""
        complete = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        complete = [trial for trial in complete if is_trained_here(trial)]
        if len(self.turns) > 1:
            complete = [trial for trial in complete if self.turn.counts(trial)]
        return sorted(complete, key=lambda trial: (-(trial.value or 0.0), trial.number))

    def begin(self, trial: optuna.Trial, candidate: Candidate) -> None:
        """Store everything that is known of a trial's candidate before anything else is done."""
        _, low_ms, high_ms, _ = self.budget.table.predict(candidate.spec)
        attrs = {
            "status": Status.RUNNING,
            **({"network": name} if (name := self.published_names.get(candidate.fingerprint)) else {}),
            "choices": candidate.choices,
            "spec": candidate.spec.to_json(),
            "fingerprint": candidate.fingerprint,
            "params": candidate.params,
            "macs": candidate.macs,
            **candidate.sizes.kb,
            "predicted_latency_ms": candidate.latency_ms,
            "predicted_low_ms": low_ms,
            "predicted_high_ms": high_ms,
            "seed": self.settings.seed,
            **({TURN: self.budget.limit_ms} if len(self.turns) > 1 else {}),
        }
        for name, value in attrs.items():
            trial.set_user_attr(name, value)

    def _run_trial(self, trial: optuna.Trial, candidate: Candidate) -> bool:
        """Estimate one candidate and record how it ended; False if it failed."""
        fingerprint = candidate.fingerprint
        if fingerprint in self.known:
            attrs = {"status": Status.FAILED, "error": "trained already", "fingerprint": fingerprint}
            self._end(trial, TrialState.FAIL, attrs)
            return True
        self.begin(trial, candidate)
        what = f"judging trial {trial.number}, {self._name(candidate)}"
        if GAIN in trial.user_attrs:
            what += f", expected to gain {100 * trial.user_attrs[GAIN]:.2f} points"
        began_s = self.clock.elapsed_s()
        history: list[float] = []

        def on_epoch(epoch: int, accuracy: float) -> None:
            history.append(accuracy)
            trial.report(self._reward_of(candidate, accuracy), epoch)
            if epoch < self.estimator.epochs and trial.should_prune():
                raise optuna.TrialPruned

        def partial() -> dict[str, Any]:
            accuracy = {"accuracy": history[-1]} if history else {}
            train_s = self.clock.elapsed_s() - began_s
            return {"history": history, "epochs": len(history), "train_s": train_s, **accuracy}

        try:
            with fitted_threads():
                estimate = self.estimator.score(
                    candidate.spec, on_epoch=on_epoch, on_progress=lambda share: self.progress.update(share, what)
                )
        except optuna.TrialPruned:
            self._end(trial, TrialState.PRUNED, {"status": Status.STOPPED_EARLY, **partial()})
            status = f"stopped early, after {len(history)} of {self.estimator.epochs}"
            self._show(trial.number, candidate, history[-1], None, partial()["train_s"], status)
        except KeyboardInterrupt:
            self._end(trial, TrialState.FAIL, partial())
            raise
        except (TrainingFailed, MemoryError) as error:
            reason = str(error) or "out of memory"
            self._end(trial, TrialState.FAIL, {"status": Status.FAILED, "error": reason, **partial()})
            self._show(
                trial.number, candidate, None, None, partial()["train_s"], f"failed ({reason}), the study goes on"
            )
            self.known.add(fingerprint)
            return False
        else:
            self._succeed(trial, candidate, estimate)
        self.known.add(fingerprint)
        return True

    def _name(self, candidate: Candidate) -> str:
        """For people."""
        own = f"{candidate.macs / 1e6:.0f} M MACs, {candidate.params / 1e6:.1f} M params"
        own = f"{candidate.spec.resolution} px: {own}" if len(self.priced.space.resolutions) > 1 else own
        return self.published_names.get(candidate.fingerprint, own)

    def _show(
        self,
        number: int,
        candidate: Candidate,
        accuracy: float | None,
        deviation: float | None,
        seconds: float,
        status: str,
    ) -> None:
        """A row of the table of candidates; the latency is the prediction."""
        ms, low_ms, high_ms, _ = self.budget.corrected_table.predict(candidate.spec)
        name = self._name(candidate) if len(self.turns) == 1 else f"{self.turn.text}: {self._name(candidate)}"
        self.progress.candidate(Row(str(number), name, accuracy, deviation, ms, low_ms, high_ms, seconds, status))

    def _succeed(self, trial: optuna.Trial, candidate: Candidate, estimate: Estimate) -> None:
        value = self._reward_of(candidate, estimate.mean)
        attrs = {
            "status": Status.TRAINED,
            "accuracy": estimate.mean,
            "deviation": estimate.deviation,
            "history": list(estimate.history),
            "train_s": estimate.seconds,
            "epochs": len(estimate.history),
            "reward": value,
        }
        best = self.finished()[:1]
        self._end(trial, TrialState.COMPLETE, attrs, value)
        is_best = not best or value > (best[0].value or 0.0)
        status = BEST if is_best else ""
        self._show(trial.number, candidate, estimate.mean, estimate.deviation, estimate.seconds, status)
        if is_best and self.budget.measures and not self.is_busy:
            self._measure(trial.number, candidate)

    def _reward_of(self, candidate: Candidate, accuracy: float) -> float:
        limit_ms = self.turns[-1].budget.search_limit_ms  # one reward for all budgets
        return self.reward(accuracy, candidate.latency_ms * self.budget.correction, limit_ms)

    def _measure(self, number: int, candidate: Candidate) -> None:
        """Measure a network, and hold those to come to what it teaches."""
        self.progress.update(1.0, f"measuring trial {number}")
        began_s = self.clock.elapsed_s()
        (found,) = self.budget.networks([candidate.spec], seconds=MEASURE_S)
        if found.noisy:
            self.is_busy = self.clock.elapsed_s() - began_s > BUSY_S
            rest = ": networks are measured at the end alone" if self.is_busy else ""
            self.progress.line(f"the machine is too noisy to measure trial {number}{rest}")
            return
        record_measured(self.study, number, found, self.budget.table)
        for turn, sampler in zip(self.turns, self.samplers, strict=True):
            turn.budget.learn(*learnt(candidate, found.latency_ms, self.budget.table))
            sampler.limit_ms = turn.budget.prediction_limit_ms
        self.progress.line(
            f"trial {number} measures {found.latency_ms:.2f} ms, {candidate.latency_ms:.2f} were predicted: "
            f"predictions count {self.budget.correction - 1:+.1%} from here on"
        )

    def _end(self, trial: optuna.Trial, state: TrialState, attrs: dict[str, Any], value: float | None = None) -> None:
        for name, attr in attrs.items():
            trial.set_user_attr(name, attr)
        self.study.tell(trial, value, state=state)


def record_measured(study: optuna.Study, number: int, found: Measurement, table: LatencyTable) -> None:
    """Keep what a trial measured, unless the machine was noisy, in the study: a finished trial cannot be written to."""
    if found.rounds and not found.noisy:
        for name, value in ((MEASURED, found.latency_ms), (MEASURED_AT, _speed(table))):
            study.set_user_attr(name, {**study.user_attrs.get(name, {}), str(number): value})


def _speed(table: LatencyTable) -> list[float]:
    return [table.reference_ms, table.drift, *(ms for _, ms in sorted(table.probe_networks_ms.items()))]


def learnt(candidate: Candidate, measured_ms: float, table: LatencyTable) -> Learnt:
    """What a measured candidate teaches of the table."""
    error = table.estimation_error(lower(candidate.spec), candidate.latency_ms)
    return Learnt(candidate.latency_ms, measured_ms, error)


def measured_before(study: optuna.Study, priced: PricedSpace, table: LatencyTable) -> list[Learnt]:
    """What the trials taught that were measured at the table's quiet speed, predicted as now."""
    trials = {str(trial.number): trial for trial in study.get_trials(deepcopy=False)}
    speeds = study.user_attrs.get(MEASURED_AT, {})
    known = {
        number: ms for number, ms in study.user_attrs.get(MEASURED, {}).items() if speeds.get(number) == _speed(table)
    }
    known = {number: ms for number, ms in known.items() if number in trials and is_recorded(trials[number], "spec")}
    specs = {number: NetworkSpec.from_json(trials[number].user_attrs["spec"]) for number in known}
    return [learnt(priced.price_spec(specs[number]), ms, table) for number, ms in known.items()]


def recover(study: optuna.Study) -> tuple[set[str], int]:
    """Bring a study that was cut off in order: (fingerprints tried, trials that were cut off).

    Trials that a crash or Ctrl-C cut off are closed as failed (studies reads them as "interrupted") and their
    choices are queued once, so that they are run again first.
    """
    known: set[str] = set()
    queued: list[int] = study.user_attrs.get(AGAIN, [])
    again: list[FrozenTrial] = []
    for trial in study.get_trials(deepcopy=False):
        if trial.state == TrialState.RUNNING:
            study.tell(trial.number, state=TrialState.FAIL)
        status = trial.user_attrs.get("status")
        if status in (Status.TRAINED, Status.STOPPED_EARLY, Status.FAILED):
            known.add(str(trial.user_attrs.get("fingerprint")))
        elif status == Status.RUNNING and trial.number not in queued and trial.params:
            again.append(trial)  # published networks have no parameters: the search asks for those it lacks
    study.set_user_attr(AGAIN, queued + [trial.number for trial in again])
    for trial in again:
        study.enqueue_trial(trial.params, user_attrs={AGAIN: trial.number})
    return known, len(again)
