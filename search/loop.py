"""The search loop: ask Optuna for a network within the budget, train it briefly, tell Optuna how it did.

Every trial is in the study's SQLite file before the next begins, with everything that was known of it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import optuna
import torch

from search.budget import LatencyBudget
from search.candidates import Candidate, PricedSpace
from search.console import Progress, clock_text
from search.reward import by_name
from search.samplers.budget_sampler import BudgetSampler, distributions
from search.samplers.moves import SpaceExhausted
from search.settings import Settings
from search.training.trainer import Outcome, Recipe, TrainingDiverged, train
from searchspace.errors import PhinasError
from searchspace.latency.table import LatencyTable
from searchspace.nn import build
from studies.schema import MEASURED, MEASURED_AT, Status

if TYPE_CHECKING:
    from search.data import Dataset

SEARCH_SHARE = 0.66  # of the time limit, the rest is the winner's
FAILURES_IN_A_ROW = 5
MEASURE_S = 1.5  # timing of a network that is the best so far
LONGER = 4  # the winner's training in short trainings, where no time limit says how long


@dataclass
class Clock:
    """Seconds spent on a study, those of earlier runs of the command included."""

    limit_s: float | None
    spent_before_s: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def elapsed_s(self) -> float:
        """Seconds spent so far."""
        return self.spent_before_s + time.monotonic() - self.started

    def left_s(self, share: float = 1.0) -> float | None:
        """Seconds until `share` of the limit is used; None without a limit."""
        return None if self.limit_s is None else max(0.0, self.limit_s * share - self.elapsed_s())


@dataclass
class Search:
    """One study and what its trials need. Networks that are the best so far are measured at once, and the budget
    learns from them."""

    study: optuna.Study
    settings: Settings
    priced: PricedSpace
    data: Dataset
    recipe: Recipe
    budget: LatencyBudget
    clock: Clock
    progress: Progress
    fingerprints: set[str]
    _ends_at: float | None = None

    def left_s(self) -> float | None:
        """Seconds until the whole command ends: by the time limit, or else by what trainings have taken so far."""
        limit = self.clock.left_s()
        if limit is not None or self._ends_at is None:
            return limit
        return max(0.0, self._ends_at - time.monotonic())

    def _estimate(self) -> None:
        """Work out when a search without a time limit will end."""
        usual = self._usual_s()
        if usual is not None and self.settings.trials is not None:
            trainings = max(0, self.settings.trials - self._attempts()) + LONGER
            self._ends_at = time.monotonic() + trainings * usual

    def _usual_s(self) -> float | None:
        """The median of what whole trainings took."""
        took = sorted(trial.user_attrs["train_s"] for trial in self.finished())
        return took[len(took) // 2] if took else None

    def run(self) -> None:
        """Train candidates until the time for it or the number of trials is reached, or the space is used up."""
        failures = 0
        while not self._done():
            self._estimate()
            try:
                trial = self.study.ask(fixed_distributions=distributions(self.priced.space))
            except SpaceExhausted as end:
                self.progress.line(str(end))
                return
            failures = 0 if self._run_trial(trial) else failures + 1
            self.study.set_user_attr("spent_s", self.clock.elapsed_s())
            if failures == FAILURES_IN_A_ROW:
                last = self.study.get_trials(deepcopy=False)[-1].user_attrs.get("error")
                raise PhinasError(
                    f"{failures} trainings in a row failed; the last one: {last}. The study is kept; mend the "
                    "cause (smaller --proxy-resolution, other data) and run the same command again"
                )

    def finished(self) -> list[optuna.trial.FrozenTrial]:
        """The trials that were trained to their end, best reward first."""
        complete = self.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        return sorted(complete, key=lambda trial: (-(trial.value or 0.0), trial.number))

    def _attempts(self) -> int:
        states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED, optuna.trial.TrialState.FAIL)
        trials = self.study.get_trials(deepcopy=False, states=states)
        return sum(trial.user_attrs.get("status") != Status.RUNNING for trial in trials)

    def _done(self) -> bool:
        if self.settings.trials is not None and self._attempts() >= self.settings.trials:
            return True
        left, usual = self.clock.left_s(SEARCH_SHARE), self._usual_s()
        if left is None or usual is None:
            return False  # at least one network is trained, however short the time
        return left < 0.7 * usual

    def _run_trial(self, trial: optuna.Trial) -> bool:
        """Train one candidate and record how it ended; False if it failed."""
        candidate = self.priced.price(trial.params)
        if candidate.fingerprint in self.fingerprints:
            attrs = {"status": Status.FAILED, "error": "trained already", "fingerprint": candidate.fingerprint}
            self._end(trial, optuna.trial.TrialState.FAIL, attrs)
            return True
        self._describe(trial, candidate)
        what = f"trial {trial.number}: {candidate.macs / 1e6:.0f} M MACs, {candidate.latency_ms:.1f} ms"
        began = time.monotonic()
        history: list[float] = []
        try:
            outcome = self._train(trial, candidate, what, history)
        except optuna.TrialPruned:
            attrs = {"status": Status.STOPPED_EARLY, **_effort(history, began)}
            self._end(trial, optuna.trial.TrialState.PRUNED, attrs)
            self.progress.line(f"{what}: {history[-1]:.1%} after epoch {len(history)}, stopped early")
        except KeyboardInterrupt:
            self._end(trial, optuna.trial.TrialState.FAIL, _effort(history, began))
            raise
        except (TrainingDiverged, MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not out_of_memory(error):
                raise
            attrs = {"status": Status.FAILED, "error": str(error) or type(error).__name__, **_effort(history, began)}
            self._end(trial, optuna.trial.TrialState.FAIL, attrs)
            self.progress.line(f"{what}: failed ({attrs['error']}); the study goes on")
            self.fingerprints.add(candidate.fingerprint)
            return False
        else:
            self._succeed(trial, candidate, outcome, what)
        self.fingerprints.add(candidate.fingerprint)
        return True

    def _describe(self, trial: optuna.Trial, candidate: Candidate) -> None:
        _, low_ms, high_ms, _ = self.budget.table.predict(candidate.spec)
        attrs = {
            "status": Status.RUNNING,
            "choices": candidate.choices,
            "spec": candidate.spec.to_json(),
            "fingerprint": candidate.fingerprint,
            "params": candidate.params,
            "macs": candidate.macs,
            "predicted_latency_ms": candidate.latency_ms,
            "predicted_low_ms": low_ms,
            "predicted_high_ms": high_ms,
            "seed": self.settings.seed,
        }
        for name, value in attrs.items():
            trial.set_user_attr(name, value)

    def _train(self, trial: optuna.Trial, candidate: Candidate, what: str, history: list[float]) -> Outcome:
        reward = by_name(self.settings.reward)

        def on_epoch(epoch: int, accuracy: float) -> None:
            history.append(accuracy)
            trial.report(reward(accuracy, self._expected_ms(candidate), self.budget.search_limit_ms), epoch)
            if epoch < self.recipe.epochs and trial.should_prune():
                raise optuna.TrialPruned

        generator = torch.Generator().manual_seed(self.settings.seed)
        return train(
            build(candidate.spec, generator=generator),
            train=self.data.train,
            validation=self.data.validation,
            recipe=self.recipe,
            seed=self.settings.seed,
            on_epoch=on_epoch,
            on_step=lambda step, total: self.progress.update(step / total, what),
        )

    def _succeed(self, trial: optuna.Trial, candidate: Candidate, outcome: Outcome, what: str) -> None:
        reward = by_name(self.settings.reward)
        value = reward(outcome.accuracy, self._expected_ms(candidate), self.budget.search_limit_ms)
        attrs = {
            "status": Status.TRAINED,
            "accuracy": outcome.accuracy,
            "history": list(outcome.history),
            "train_s": outcome.seconds,
            "epochs": outcome.epochs,
            "reward": value,
        }
        best = self.finished()[:1]
        self._end(trial, optuna.trial.TrialState.COMPLETE, attrs, value)
        is_best = not best or value > (best[0].value or 0.0)
        mark = ", the best so far" if is_best else ""
        took = clock_text(outcome.seconds)
        self.progress.line(f"{what}: {outcome.accuracy:.1%} validation accuracy in {took}{mark}")
        if is_best and self.budget.measures:
            self._measure(trial.number, candidate)

    def _expected_ms(self, candidate: Candidate) -> float:
        return candidate.latency_ms * self.budget.correction

    def _measure(self, number: int, candidate: Candidate) -> None:
        """Measure a network, and hold those to come to what it teaches."""
        self.progress.update(1.0, f"measuring trial {number}")
        (found,) = self.budget.networks([candidate.spec], seconds=MEASURE_S)
        if found.noisy:
            self.progress.line(f"the machine is too noisy to measure trial {number}")
            return
        record_measured(self.study, {number: found.latency_ms}, self.budget.table)
        self.budget.learn(candidate.latency_ms, found.latency_ms)
        sampler = self.study.sampler
        assert isinstance(sampler, BudgetSampler)
        sampler.limit_ms = self.budget.prediction_limit_ms
        self.progress.line(
            f"trial {number} measures {found.latency_ms:.2f} ms, {candidate.latency_ms:.2f} were predicted: "
            f"predictions count {self.budget.correction - 1:+.1%} from here on"
        )

    def _end(
        self, trial: optuna.Trial, state: optuna.trial.TrialState, attrs: dict[str, Any], value: float | None = None
    ) -> None:
        for name, attr in attrs.items():
            trial.set_user_attr(name, attr)
        self.study.tell(trial, value, state=state)


def _effort(history: list[float], began: float) -> dict[str, Any]:
    """What a training that did not reach its end leaves."""
    accuracy = {"accuracy": history[-1]} if history else {}
    return {"history": list(history), "epochs": len(history), "train_s": time.monotonic() - began, **accuracy}


def out_of_memory(error: RuntimeError) -> bool:
    """Whether an error of torch says that memory ran out."""
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in text or "can't allocate memory" in text


def record_measured(study: optuna.Study, found: dict[int, float], table: LatencyTable) -> None:
    """Keep what trials measured, in ms at the table's quiet speed: a trial that is finished cannot be written to."""
    for name, values in ((MEASURED, found), (MEASURED_AT, dict.fromkeys(found, _speed(table)))):
        known = dict(study.user_attrs.get(name, {}))
        study.set_user_attr(name, known | {str(number): ms for number, ms in values.items()})


def _speed(table: LatencyTable) -> list[float]:
    return [table.reference_ms, table.drift, *(ms for _, ms in sorted(table.probe_networks_ms.items()))]


def measured_before(study: optuna.Study, priced: PricedSpace, table: LatencyTable) -> list[tuple[float, float]]:
    """(predicted, measured) ms of the trials that were measured at the table's quiet speed, predicted as now."""
    trials = {str(trial.number): trial for trial in study.get_trials(deepcopy=False)}
    speeds = study.user_attrs.get(MEASURED_AT, {})
    known = {
        number: ms for number, ms in study.user_attrs.get(MEASURED, {}).items() if speeds.get(number) == _speed(table)
    }
    return [(priced.price(trials[number].user_attrs["choices"]).latency_ms, ms) for number, ms in known.items()]


def make_sampler(
    settings: Settings, priced: PricedSpace, budget: LatencyBudget, fingerprints: set[str], starts: list[dict[str, Any]]
) -> BudgetSampler:
    """The sampler of the settings; starting points belong to every sampler but honest random search."""
    return BudgetSampler(
        priced,
        limit_ms=budget.prediction_limit_ms,
        starts_ms=budget.first_prediction_limit_ms,
        seed=settings.seed,
        kind=settings.sampler,
        known=fingerprints,
        starting_points=() if settings.sampler == "random" else starts,
    )


def make_pruner(recipe: Recipe) -> optuna.pruners.BasePruner:
    """Stops a training whose reward after an epoch is below the median of the trials before it."""
    return optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=recipe.epochs // 2)


def recover(study: optuna.Study) -> tuple[set[str], int]:
    """Bring a study that was cut off in order: (fingerprints tried, trials that were cut off).

    Trials that a crash or Ctrl-C cut off are closed as failed (studies reads them as "interrupted") and their
    choices are queued once, so that they are run again first.
    """
    known: set[str] = set()
    queued: list[int] = study.user_attrs.get("queued_again", [])
    again: list[optuna.trial.FrozenTrial] = []
    for trial in study.get_trials(deepcopy=False):
        if trial.state == optuna.trial.TrialState.RUNNING:
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        status = trial.user_attrs.get("status")
        if status in (Status.TRAINED, Status.STOPPED_EARLY, Status.FAILED):
            known.add(trial.user_attrs["fingerprint"])
        elif status == Status.RUNNING and trial.number not in queued:
            again.append(trial)
    study.set_user_attr("queued_again", queued + [trial.number for trial in again])
    for trial in again:
        study.enqueue_trial(trial.params)
    return known, len(again)
