"""What a study's trials teach: rows of choices, their outcomes, and what runs now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from search.samplers.outcomes import clipped, outcomes
from search.samplers.parameters import Parameters, Rows, choices_of, is_choice
from search.samplers.surrogate import MOST, Levels, Surrogate, fit_levels

PROPOSED = "block_sampler:proposed"  # system attribute of a trial: the codes of its choices by name, told to others
GROWTH = 1.15  # the levels are fitted anew when there are so many times more values
KEPT = 300  # rows that a proposal is by; of more, each costs too long
Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class History:
    """What was tried, by trial number, and what it gave.

    rows (n, choices) and values (n, objectives) are of `numbers`. running: rows without a value yet. tried: of any
    trial. counted: numbers of trials that did not fail. A trial with a value that its parameter no longer has is left
    out.
    """

    parameters: Parameters
    numbers: list[int]
    rows: Rows
    values: npt.NDArray[np.float64]
    running: Rows
    counted: list[int]
    tried: dict[int, Rows]

    def telling(self) -> Places:
        """Places of all rows, or of the KEPT that tell the most of where the best is: the best half, and the latest."""
        count = len(self.numbers)
        if count <= KEPT:
            return np.arange(count)
        worse = np.argsort(np.argsort(-self.values, axis=0), axis=0).sum(axis=1)  # by rank in every objective
        return np.union1d(np.argsort(worse, kind="stable")[: KEPT // 2], np.arange(count - KEPT // 2, count))


class Reader:
    """Reads a study's trials again and again; what is finished is looked at once."""

    def __init__(self, space: Mapping[str, BaseDistribution]) -> None:
        self._space = dict(space)
        self._study: tuple[Any, int] | None = None
        self._forget()

    def _forget(self) -> None:
        self.parameters = Parameters(self._space)
        self.has_others = False
        """Whether trials have parameters that are no choices."""
        self._rows: dict[int, Rows | None] = {}
        self._levels: dict[tuple[int, int], list[Levels]] = {}
        self._looked_at: set[int] = set()

    def read(self, study: optuna.Study, trials: Sequence[FrozenTrial]) -> History:
        """The history of `trials`, in the order of their numbers."""
        self._open(study)
        self._learn_space(trials)
        finished = [t for t in trials if t.state.is_finished()]
        tried: dict[int, Rows] = {}
        for trial in trials:
            row = self.row(trial)
            if row is not None and (row >= 0).any():
                tried[trial.number] = row
        whole = [tried[t.number] for t in finished if _is_whole(t) and t.number in tried]
        self.parameters.learn_conditions(self._table(whole))
        found = {n: v for n, v in outcomes(study, finished).items() if n in tried}
        counted = [t.number for t in trials if t.state != TrialState.FAIL]
        running = [tried[t.number] for t in trials if t.state == TrialState.RUNNING and t.number in tried]
        values = np.array([*found.values()]).reshape(len(found), len(study.directions))
        rows = self._table([tried[number] for number in found])
        return History(self.parameters, [*found], rows, values, self._table(running), counted, tried)

    def add(self, found: Mapping[str, BaseDistribution]) -> None:
        """Choices that no whole trial has yet, of the study that was read last."""
        self._widen(
            {n: what for n, what in found.items() if is_choice(what) and n not in self.parameters.distributions}
        )

    def _open(self, study: optuna.Study) -> None:
        """Forget another study's trials."""
        now = (study._storage, study._study_id)
        if self._study is None or self._study[0] is not now[0] or self._study[1] != now[1]:
            self._forget()
            self._study = now

    def _learn_space(self, trials: Sequence[FrozenTrial]) -> None:
        fresh = [t for t in trials if _is_whole(t) and t.number not in self._looked_at]
        self._looked_at |= {t.number for t in fresh}
        self.has_others |= any(not is_choice(what) for t in fresh for what in t.distributions.values())
        self._widen(choices_of(fresh))

    def _widen(self, found: dict[str, BaseDistribution]) -> None:
        known = self.parameters.distributions
        if any(name not in known or vars(known[name]) != vars(what) for name, what in found.items()):
            self.parameters = Parameters(known | found)
            self._rows.clear()
            self._levels.clear()

    def row(self, trial: FrozenTrial) -> Rows | None:
        """The trial's row; of one that runs, with what was proposed for it."""
        if trial.number in self._rows:
            return self._rows[trial.number]
        row = self.parameters.row(trial.params)
        if not trial.state.is_finished():
            if row is not None:
                fixed = self.parameters.row(trial.system_attrs.get("fixed_params", {}))
                proposed = trial.system_attrs.get(PROPOSED, {})
                for place, name in enumerate(self.parameters.names):
                    if row[place] < 0 and fixed is not None and fixed[place] >= 0:
                        row[place] = fixed[place]
                    elif row[place] < 0 and 0 <= proposed.get(name, -1) < self.parameters.sizes[place]:
                        row[place] = proposed[name]
            return row
        self._rows[trial.number] = row
        return row

    def _table(self, rows: list[Rows]) -> Rows:
        return np.array(rows, dtype=np.int64).reshape(len(rows), len(self.parameters.names))

    def surrogates(self, history: History, places: Places | None = None) -> list[Surrogate]:
        """One for each objective, of all rows or those at `places`; their levels are by all."""
        features, running = self.parameters.features(history.rows), self.parameters.features(history.running)
        some = slice(None) if places is None else places
        return [
            Surrogate(features[some], self.parameters.groups, clipped(values)[some], levels, running)
            for values, levels in zip(history.values.T, self._fitted(features, history), strict=True)
        ]

    def _fitted(self, features: npt.NDArray[np.float64], history: History) -> list[Levels]:
        """Levels by the first values, so many that a study that goes on has the same as an undisturbed one."""
        count, used = len(features), 4
        while (larger := max(used + 1, int(used * GROWTH))) <= count:
            used = larger
        key = (used, hash(history.rows[:used].tobytes() + history.values[:used].tobytes()))
        if key not in self._levels:
            last = slice(max(0, used - MOST), used)
            columns = [clipped(column[last]) for column in history.values.T]
            self._levels = {key: [fit_levels(features[last], self.parameters.groups, c) for c in columns]}
        return self._levels[key]


def _is_whole(trial: FrozenTrial) -> bool:
    """Whether a trial was asked for all its parameters: it came to its end, or to a report."""
    return trial.state == TrialState.COMPLETE or (trial.state == TrialState.PRUNED and trial.last_step is not None)
