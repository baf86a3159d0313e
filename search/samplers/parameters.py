"""The choices of a study as rows of integers: which parameters there are, which values, and which are present when."""

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial

Rows = npt.NDArray[np.int64]
Present = Callable[[dict[str, Any]], Collection[str]]
Summaries = Callable[[dict[str, Any]], Sequence[float]]
ABSENT = -1  # the code of a parameter that a trial does not have
WAVES = 8  # most features of an ordered parameter
MOST_VALUES = 4096  # of an integer: more are a range
SUMMARIES = 0.5  # what all summaries together weigh, of all choices
REFERENCE = 48  # random rows that summaries are scaled by
LENGTH = 1.0  # of an ordered parameter's range, within which its values are alike


def is_choice(distribution: BaseDistribution) -> bool:
    """Whether a parameter is a choice: categorical, or an integer of at most MOST_VALUES on an even scale."""
    return isinstance(distribution, CategoricalDistribution) or (
        isinstance(distribution, IntDistribution)
        and not distribution.log
        and (distribution.high - distribution.low) // distribution.step < MOST_VALUES
    )


def choices_of(trials: Iterable[FrozenTrial]) -> dict[str, BaseDistribution]:
    """Every choice that trials were asked for, in the order of its first time, as it was the last time."""
    found: dict[str, BaseDistribution] = {}
    for trial in trials:
        found |= {name: what for name, what in trial.distributions.items() if is_choice(what)}
    return found


class Parameters:
    """The choices by name. A row is a code for each: the index of its value, or ABSENT.

    present: all choices -> the names of those that mean something. Without it that is told by the trials: see
    `learn_conditions`. summaries: the choices -> more numbers to learn from.
    """

    def __init__(
        self,
        distributions: Mapping[str, BaseDistribution],
        present: Present | None = None,
        summaries: Summaries | None = None,
    ) -> None:
        self.distributions = dict(distributions)
        self.names = list(distributions)
        self._values = [_values(distribution) for distribution in distributions.values()]
        self.sizes = np.array([len(values) for values in self._values], dtype=np.int64)
        self._index = [_index(values) for values in self._values]
        self._codes = [_features(distribution) for distribution in distributions.values()]
        self._conditions: list[tuple[int, int, npt.NDArray[np.bool_]]] = []
        self.present, self._known_rows = present, dict[bytes, Rows]()
        self._kinds = _kinds(self.distributions)
        width = max((codes.shape[1] for codes in self._codes), default=0)
        self._table = np.vstack(
            [np.pad(c, ((0, 0), (0, width - c.shape[1]))) for c in self._codes] or [np.zeros((0, 0))]
        )
        """The features of every code of every parameter, ABSENT last, padded with columns of 0."""
        self._starts = np.cumsum([0, *(self.sizes + 1)])[:-1]
        self._groups = np.repeat(np.arange(len(self.names) + len(self._kinds)), width)
        self._summaries, self._summed = summaries, dict[bytes, Sequence[float]]()

    @cached_property
    def groups(self) -> Rows:
        """Of each feature: which parameter, kind of parameters or summary it is of."""
        first = len(self.names) + len(self._kinds)
        return np.concatenate([self._groups, first + np.arange(len(self._scale[0]))])

    @cached_property
    def usual(self) -> npt.NDArray[np.float64]:
        """Of each group the weight before anything is known: together 1, and SUMMARIES for all summaries."""
        own, more = len(self.names) + len(self._kinds), len(self._scale[0])
        return np.concatenate([np.full(own, 1 / max(1, own)), np.full(more, SUMMARIES / max(1, more))])

    @cached_property
    def _scale(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Mean and standard deviation of each summary over random rows."""
        if self._summaries is None:
            return np.zeros(0), np.zeros(0)
        reference = self._raw_summaries(self.canonical(self.draw(REFERENCE, np.random.default_rng(0))))
        return reference.mean(axis=0), reference.std(axis=0) + 1e-9

    def _raw_summaries(self, rows: Rows) -> npt.NDArray[np.float64]:
        assert self._summaries is not None
        found = []
        for row in rows:
            key = row.tobytes()
            if key not in self._summed:
                self._summed[key] = self._summaries(self.choices(row))
            found.append(self._summed[key])
        return np.array(found, dtype=np.float64)

    def row(self, params: Mapping[str, Any]) -> Rows | None:
        """The row of a trial's parameters; None where a value is none of the parameter's as it is now."""
        codes = np.full(len(self.names), ABSENT, dtype=np.int64)
        for place, name in enumerate(self.names):
            if name in params:
                code = self._code(place, params[name])
                if code is None:
                    return None
                codes[place] = code
        return codes

    def _code(self, place: int, value: Any) -> int | None:
        distribution, values = self.distributions[self.names[place]], self._values[place]
        try:
            if isinstance(values, range):
                return values.index(value)
            if (index := self._index[place]) is not None and value in index:
                return index[value]
            assert isinstance(distribution, CategoricalDistribution)
            return values.index(distribution.choices[int(distribution.to_internal_repr(value))])  # of NaN, too
        except (TypeError, ValueError):
            return None

    def choices(self, row: Rows) -> dict[str, Any]:
        """Name -> value of the parameters that are present, as Python's own types."""
        rows = zip(self.names, self._values, row.tolist(), strict=True)
        return {name: values[code] for name, values, code in rows if code != ABSENT}

    def features(self, rows: Rows) -> npt.NDArray[np.float64]:
        """float64 (n, features): of each parameter, then sums over those of a kind, such as the layers of all stages.

        An absent parameter's are 0, the middle of its values.
        """
        if not len(rows):
            return np.zeros((0, len(self.groups)))
        found = self._table[self._starts + rows % (self.sizes + 1)]
        sums = [found[:, kind].sum(axis=1, keepdims=True) / math.sqrt(len(kind)) for kind in self._kinds]
        flat = np.concatenate([found, *sums], axis=1).reshape(len(rows), -1)
        if self._summaries is None:
            return flat
        middle, deviation = self._scale
        return np.hstack([flat, ((self._raw_summaries(rows) - middle) / deviation).clip(-3, 3)])

    def learn_conditions(self, rows: Rows) -> None:
        """Infer which parameters are present when, from rows of finished trials.

        A parameter is absent where another, which is there more often, has a value with which it was seen absent and
        never present. As few others as explain all absences are taken, those that are always there first. Where none
        explains them the parameter is taken to be present.
        """
        if self.present is not None:
            return
        self._conditions = []
        absences = (rows == ABSENT).sum(axis=0)
        for child in np.flatnonzero((absences > 0) & (absences < len(rows))):
            missing = rows[:, child] == ABSENT
            unexplained = missing.copy()
            while unexplained.any():
                others = np.flatnonzero(absences < absences[child])  # two that come together do not explain each other
                allowed = {q: self._allowed(rows[:, q], missing, q) for q in map(int, others)}
                explains = {q: int((unexplained & ~ok[rows[:, q]]).sum()) for q, ok in allowed.items()}
                parent = max(explains, key=lambda q: (explains[q], -absences[q], -q), default=None)
                if parent is None or explains[parent] == 0:
                    break
                self._conditions.append((int(child), parent, allowed[parent]))
                unexplained &= allowed[parent][rows[:, parent]]

    def _allowed(self, codes: Rows, missing: npt.NDArray[np.bool_], place: int) -> npt.NDArray[np.bool_]:
        """By code, ABSENT as the last: False where only missing ones were seen."""
        with_it = np.bincount(codes[~missing] % (self.sizes[place] + 1), minlength=self.sizes[place] + 1)
        without = np.bincount(codes[missing] % (self.sizes[place] + 1), minlength=self.sizes[place] + 1)
        return np.asarray((with_it > 0) | (without == 0))

    def canonical(self, rows: Rows) -> Rows:
        """The rows with what means nothing set to ABSENT."""
        if self.present is not None:
            return np.array([self._told(row) for row in rows], dtype=np.int64).reshape(rows.shape)
        rows = rows.copy()
        for _ in range(len(self.names)):  # a condition may hang on another's outcome
            before = rows.copy()
            for child, parent, allowed in self._conditions:
                rows[~allowed[rows[:, parent]], child] = ABSENT
            if np.array_equal(before, rows):
                break
        return rows

    def _told(self, row: Rows) -> Rows:
        assert self.present is not None
        key = row.tobytes()
        if key not in self._known_rows:
            names = self.present(self.choices(np.maximum(row, 0)))
            self._known_rows[key] = np.where([name in names for name in self.names], row, ABSENT)
        return self._known_rows[key]

    def draw(self, count: int, rng: np.random.Generator) -> Rows:
        """Random rows, every parameter present."""
        return rng.integers(0, self.sizes, (count, len(self.sizes)))

    def is_whole(self, row: Rows) -> bool:
        """Whether the row has a value for all that means something."""
        return bool((self.canonical(np.maximum(row, 0)[None])[0] <= row).all())

    def count(self) -> float:
        """How many rows there are, absent parameters not considered."""
        return math.prod(map(float, self.sizes))


def _kinds(distributions: Mapping[str, BaseDistribution]) -> list[list[int]]:
    """Places of parameters that have the same values and, but for digits, the same name: two or more each."""
    found: dict[tuple[str, str], list[int]] = {}
    for place, (name, distribution) in enumerate(distributions.items()):
        if len(_values(distribution)) > 1:
            found.setdefault((re.sub(r"\d+", "", name), repr(distribution)), []).append(place)
    return [places for places in found.values() if len(places) > 1]


def _values(distribution: BaseDistribution) -> Sequence[Any]:
    """A choice's values; of equal ones, such as True and 1, the first alone, as Optuna stores them."""
    if isinstance(distribution, IntDistribution):
        return range(distribution.low, distribution.high + 1, distribution.step)
    assert isinstance(distribution, CategoricalDistribution)
    choices = distribution.choices
    return [value for place, value in enumerate(choices) if choices.index(value) == place]


def _index(values: Sequence[Any]) -> dict[Any, int] | None:
    """The code of each value, where they can be keys."""
    try:
        return {value: code for code, value in enumerate(values)}
    except TypeError:  # lists
        return None


def _features(distribution: BaseDistribution) -> npt.NDArray[np.float64]:
    """float64 (values + 1, features), of mean squared length 1 over the values; the last row, of an absent one, is 0.

    Names get a feature each; numbers the cosine waves of a process that forgets within LENGTH of their range (the
    spectrum of an exponential kernel), by their place in order.
    """
    size = len(_values(distribution))
    places = _places(distribution)
    if size == 1:
        return np.zeros((2, 0))
    if places is None:
        features = np.eye(size) - 1 / size
    else:
        wave = np.arange(1, min(size, WAVES + 1))[None]
        weights = 1 / (1 + (math.pi * LENGTH * wave) ** 2)
        features = np.sqrt(weights) * np.cos(math.pi * wave * (places[:, None] + 0.5) / size)
    features /= math.sqrt((features**2).sum(axis=1).mean())
    return np.vstack([features, np.zeros((1, features.shape[1]))])


def _places(distribution: BaseDistribution) -> npt.NDArray[np.float64] | None:
    """The place of each value in order; None where values have none."""
    if isinstance(distribution, IntDistribution):
        return np.arange(len(_values(distribution)), dtype=np.float64)
    values = _values(distribution)
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return None
    return np.argsort(np.argsort(np.array(values, dtype=float), kind="stable")).astype(float)
