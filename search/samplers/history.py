"""What a study's trials teach: rows of choices, their outcomes, and what runs now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from search.samplers.outcomes import clipped, outcomes
from search.samplers.parameters import ABSENT, Parameters, Present, Rows, Summaries, choices_of, is_choice
from search.samplers.surrogate import MOST, Levels, Slope, Surrogate, fit_levels, fit_slope
from searchspace.errors import StudyMismatch

PROPOSED = "block_sampler:proposed"  # system attribute of a trial: the codes of its choices by name, told to others
GROWTH = 1.15  # the levels are fitted anew when there are so many times more values
KEPT = 300  # rows that a proposal is by; of more, each costs too long
LEAST_EARLIER = 6  # trials of an earlier study that tell something
Places = npt.NDArray[np.int64]


class Fitted(NamedTuple):
    """Of one objective: the levels, and how much of an earlier study holds, where there is one."""

    levels: Levels
    slope: Slope | None


@dataclass(frozen=True)
class History:
    """What was tried, by trial number, and what it gave.

    rows (n, choices) and values (n, objectives) are of `numbers`. running: rows without a value yet. tried: of any
    trial. whole: of trials that were asked for all. counted: numbers of trials that did not fail. A trial with a value
    that its parameter no longer has is left out. fitted_rows and fitted_values: what the levels are fitted to.
    """

    parameters: Parameters
    numbers: list[int]
    rows: Rows
    values: npt.NDArray[np.float64]
    running: Rows
    counted: list[int]
    tried: dict[int, Rows]
    whole: Rows
    fitted_rows: Rows
    fitted_values: npt.NDArray[np.float64]

    def has(self, row: Rows) -> bool:
        """Whether some trial was asked for nothing but values of this row, so that it is the same again."""
        return bool(((self.whole == row) | (self.whole == ABSENT)).all(axis=1).any())

    def telling(self) -> Places:
        """Places of all rows, or of the KEPT that tell the most of where the best is: the best half, and the latest."""
        count = len(self.numbers)
        if count <= KEPT:
            return np.arange(count)
        worse = np.argsort(np.argsort(-self.values, axis=0), axis=0).sum(axis=1)  # by rank in every objective
        return np.union1d(np.argsort(worse, kind="stable")[: KEPT // 2], np.arange(count - KEPT // 2, count))


class Reader:
    """Reads a study's trials again and again; what is finished is looked at once."""

    def __init__(
        self,
        space: Mapping[str, BaseDistribution],
        present: Present | None = None,
        summaries: Summaries | None = None,
        prior: optuna.Study | None = None,
    ) -> None:
        self._space, self._present, self._summaries, self._prior = dict(space), present, summaries, prior
        if prior is not None and not space:
            self._space = choices_of(filter(_is_whole, prior.get_trials(deepcopy=False)))
        self.is_closed = present is not None
        """Whether the space is known wholly, so that no trial adds to it."""
        self._study: tuple[Any, int] | None = None
        self._forget()

    def _forget(self) -> None:
        self.parameters = Parameters(self._space, self._present, self._summaries)
        self.has_others = False
        """Whether trials have parameters that are no choices."""
        self._rows: dict[int, Rows | None] = {}
        self._levels: dict[tuple[int, int], list[Fitted]] = {}
        self._looked_at: set[int] = set()
        self.__dict__.pop("earlier", None)

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
        running = [tried[t.number] for t in trials if t.state == TrialState.RUNNING and t.number in tried]
        numbers, rows, values = self._outcomes(study, finished, tried)
        last = numbers[_fitted_to(len(numbers)) - 1] if numbers else -1
        _, fitted_rows, fitted_values = self._outcomes(study, [t for t in finished if t.number <= last], tried)
        return History(
            self.parameters,
            numbers,
            rows,
            values,
            self._table([row for row in running if self.parameters.is_whole(row)]),
            [t.number for t in trials if t.state != TrialState.FAIL],
            tried,
            self._table(whole),
            fitted_rows,
            fitted_values,
        )

    def _outcomes(
        self, study: optuna.Study, trials: Sequence[FrozenTrial], tried: Mapping[int, Rows]
    ) -> tuple[list[int], Rows, npt.NDArray[np.float64]]:
        """Numbers, rows and values of finished trials that gave one."""
        found = {n: v for n, v in outcomes(study, trials).items() if n in tried}
        values = np.array([*found.values()]).reshape(len(found), len(study.directions))
        return [*found], self._table([tried[number] for number in found]), values

    def add(self, found: Mapping[str, BaseDistribution]) -> None:
        """Choices that no whole trial has yet, of the study that was read last."""
        if self.is_closed:
            return
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
        if self.is_closed:
            return
        self.has_others |= any(not is_choice(what) for t in fresh for what in t.distributions.values())
        self._widen(choices_of(fresh))

    def _widen(self, found: dict[str, BaseDistribution]) -> None:
        known = self.parameters.distributions
        if any(name not in known or known[name] != what for name, what in found.items()):
            self.parameters = Parameters(known | found, self._present, self._summaries)
            self._rows.clear()
            self._levels.clear()
            self.__dict__.pop("earlier", None)

    def row(self, trial: FrozenTrial) -> Rows | None:
        """The trial's row; of one that runs, with what was proposed for it."""
        if trial.number in self._rows:
            return self._rows[trial.number]
        row = self._canonical(self.parameters.row(trial.params))
        if not trial.state.is_finished():
            if row is not None:
                fixed = self.parameters.row(trial.system_attrs.get("fixed_params", {}))
                proposed = trial.system_attrs.get(PROPOSED, {})
                for place, name in enumerate(self.parameters.names):
                    if row[place] < 0 and fixed is not None and fixed[place] >= 0:
                        row[place] = fixed[place]
                    elif row[place] < 0 and 0 <= proposed.get(name, -1) < self.parameters.sizes[place]:
                        row[place] = proposed[name]
            return self._canonical(row)
        self._rows[trial.number] = row
        return row

    def _canonical(self, row: Rows | None) -> Rows | None:
        """Without what means nothing, where that is known: trials that others bring in may have it."""
        return row if row is None or self.parameters.present is None else self.parameters.canonical(row[None])[0]

    def _table(self, rows: list[Rows]) -> Rows:
        return np.array(rows, dtype=np.int64).reshape(len(rows), len(self.parameters.names))

    def surrogates(self, history: History, places: Places | None = None) -> list[Surrogate]:
        """One for each objective, of all rows or those at `places`; their levels are by all."""
        features, running = self.parameters.features(history.rows), self.parameters.features(history.running)
        some = slice(None) if places is None else places
        return [
            Surrogate(features[some], self.parameters.groups, clipped(values)[some], levels, running, slope)
            for values, (levels, slope) in zip(history.values.T, self.fitted(history), strict=True)
        ]

    def fitted(self, history: History) -> list[Fitted]:
        """By the first values, so many that a study that goes on has the same as an undisturbed one."""
        rows, values = history.fitted_rows, history.fitted_values
        key = (len(rows), hash(rows.tobytes() + values.tobytes()))
        if key not in self._levels:
            columns = [clipped(column[-MOST:]) for column in values.T]
            features = self.parameters.features(rows[-MOST:])
            fit = self._fit if len(columns) == 1 else self._fit_alone  # an earlier study is of one objective
            self._levels = {key: [fit(features, column) for column in columns]}
        return self._levels[key]

    def _fit_alone(self, features: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> Fitted:
        return Fitted(fit_levels(features, self.parameters.groups, values, self.parameters.usual), None)

    def _fit(self, features: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> Fitted:
        if self.earlier is None:
            return self._fit_alone(features, values)
        found = fit_slope(features, self.parameters.groups, values, self.parameters.usual, self.earlier.mean)
        return Fitted(*found)

    @cached_property
    def earlier(self) -> Surrogate | None:
        """What an earlier study of the same choices taught; None where there is none, or too few trials to learn from.

        Raises StudyMismatch where its choices are others.
        """
        if self._prior is None:
            return None
        reader = Reader(self._space, self._present, self._summaries)
        trials = self._prior.get_trials(deepcopy=False)
        check_alike(self._prior.study_name, self.parameters.distributions, choices_of(filter(_is_whole, trials)))
        history = reader.read(self._prior, trials)
        if history.values.shape[1] != 1 or len(history.numbers) < LEAST_EARLIER:
            return None
        return reader.surrogates(history)[0]


def _fitted_to(count: int) -> int:
    """How many of so many values, at most, the levels are fitted to."""
    used = min(count, 4)
    while (larger := max(used + 1, int(used * GROWTH))) <= count:
        used = larger
    return used


def check_alike(name: str, own: Mapping[str, BaseDistribution], earlier: Mapping[str, BaseDistribution]) -> None:
    """Raises StudyMismatch where an earlier study has other choices, naming the difference."""
    if not earlier or not own:
        return
    for choice in sorted(own.keys() | earlier.keys()):
        here, there = own.get(choice), earlier.get(choice)
        if here is None or there is None or here != there:
            raise StudyMismatch(
                f"a prior must be a study of the same choices, and of {choice!r} the study {name!r} has "
                f"{'nothing' if there is None else there}, this one {'nothing' if here is None else here}: give another"
            )


def _is_whole(trial: FrozenTrial) -> bool:
    """Whether a trial was asked for all its parameters: it came to its end, or to a report."""
    return trial.state == TrialState.COMPLETE or (trial.state == TrialState.PRUNED and trial.last_step is not None)
