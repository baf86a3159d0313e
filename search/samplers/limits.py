"""Costs that are known before a trial: what keeps all limits, the way to it, and what to say where there is none."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from search.samplers.parameters import Parameters, Rows
from searchspace.errors import InfeasibleBudget, InvalidArgument

Cost = Callable[[dict[str, Any]], Mapping[str, Any]]
DESCENTS = 6  # from random points, before a limit counts as out of reach
ENUMERATED = 4096  # points of a space that is looked through wholly before


class Limits:
    """What `cost` says of rows, each asked once, and whether it is within `limits` (name -> highest cost).

    A cost is a number, or an interval (low, high), of which the upper end counts. Choices that `cost` raises for, or
    gives no finite number for, are left out and counted in `without_cost`; `error` is the first one's. What `limits`
    holds may change.
    """

    def __init__(
        self,
        cost: Cost | None,
        limits: Mapping[str, float],
        parameters: Parameters,
        minimize: Sequence[str] = (),
    ) -> None:
        self._cost, self.limits, self.parameters, self._minimize = cost, limits, parameters, minimize
        self._known: dict[bytes, dict[str, float] | None] = {}
        self.asked = cost is not None
        """Whether there are costs at all."""
        self.without_cost = 0
        self.error: Exception | str | None = None

    def costs(self, row: Rows) -> dict[str, float] | None:
        """Name -> cost of a canonical row; None if it has none. Raises InvalidArgument where a limit's is missing."""
        key = row.tobytes()
        if key not in self._known:
            self._known[key] = {} if self._cost is None else self._asked(self.parameters.choices(row))
        found = self._known[key]
        if found is not None and (missing := [name for name in (*self.limits, *self._minimize) if name not in found]):
            raise InvalidArgument(
                f"{'limits' if missing[0] in self.limits else 'minimize'} name {', '.join(sorted(missing))}, but cost "
                f"gives {', '.join(found) or 'nothing'}: name them as the keys of what cost returns"
            )
        return found

    def _asked(self, choices: dict[str, Any]) -> dict[str, float] | None:
        assert self._cost is not None
        try:
            found = {name: upper_end(value) for name, value in self._cost(choices).items()}
        except Exception as error:  # whatever a user's function raises
            self._left_out(error)
            return None
        if not all(map(math.isfinite, found.values())):
            self._left_out(f"cost gave {found}")
            return None
        return found

    def _left_out(self, error: Exception | str) -> None:
        self.without_cost += 1
        self.error = self.error or error

    def fits(self, row: Rows) -> bool:
        """Whether a canonical row keeps every limit."""
        if not self.asked:
            return True
        costs = self.costs(row)
        return costs is not None and all(costs[name] <= limit for name, limit in self.limits.items())

    def _excess(self, row: Rows, names: Sequence[str]) -> float:
        """The largest cost relative to its limit, above 0 where over it; infinite without costs."""
        costs = self.costs(row)
        if costs is None:
            return math.inf
        finite = [(costs[name], limit) for name in names if (limit := self.limits[name]) < math.inf]
        return max(((cost - limit) / (abs(limit) or 1.0) for cost, limit in finite), default=0.0)

    def descend(self, row: Rows, names: Sequence[str], rng: np.random.Generator, fixed: Mapping[int, int]) -> Rows:
        """From a row, by single changes that lower the excess over the limits `names`, till they are kept."""
        full, here = row, self._excess(self.parameters.canonical(row[None])[0], names)
        improved = True
        while improved and here > 0:
            improved = False
            for place in rng.permutation(len(row)):
                if int(place) in fixed:
                    continue
                for value in rng.permutation(self.parameters.sizes[place]):
                    changed = full.copy()
                    changed[place] = value
                    there = self._excess(self.parameters.canonical(changed[None])[0], names)
                    if there < here:
                        full, here, improved = changed, there, True
        return full

    def within(self, rng: np.random.Generator, fixed: Mapping[int, int]) -> Rows:
        """A canonical row that keeps every limit, found by descent.

        Raises InfeasibleBudget, naming the cheapest found and limits that exclude each other; InvalidArgument where
        no row has a cost.
        """
        row = self._reached([*self.limits], rng, fixed)
        if self._excess(row, [*self.limits]) <= 0:
            return row
        if self.costs(row) is None:
            error = self.error if isinstance(self.error, Exception) else None
            raise InvalidArgument(
                f"cost has no number for any of {self.without_cost} choices, such as "
                f"{self.parameters.choices(row)}: {self.error!r}"
            ) from error
        raise InfeasibleBudget(self._explained(row, rng, fixed))

    def _reached(self, names: Sequence[str], rng: np.random.Generator, fixed: Mapping[int, int]) -> Rows:
        """The row of the lowest excess that descents find, or of all where they are few."""
        parameters = self.parameters
        if parameters.count() <= ENUMERATED:
            rows = every_row(parameters)
            for place, code in fixed.items():
                rows[:, place] = code
            rows = parameters.canonical(rows)
            cheapest: Rows = rows[int(np.argmin([self._excess(row, names) for row in rows]))]
            return cheapest
        best: Rows | None = None
        least = math.inf
        for start in parameters.draw(DESCENTS, rng):
            start[list(fixed)] = list(fixed.values())
            row = parameters.canonical(self.descend(start, names, rng, fixed)[None])[0]
            excess = self._excess(row, names)
            if best is None or excess < least:
                best, least = row, excess
            if least <= 0:
                break
        assert best is not None
        return best

    def _explained(self, row: Rows, rng: np.random.Generator, fixed: Mapping[int, int]) -> str:
        texts = [f"{name} <= {limit:g}" for name, limit in self.limits.items()]
        costs = self.costs(row) or {}
        takes = ", ".join(f"{name} {costs[name]:g}" for name in self.limits)
        found = f"no choices are within {' and '.join(texts)}; the cheapest found takes {takes}"
        for count in range(1, len(self.limits) + 1):
            for names in itertools.combinations(self.limits, count):
                reached = self._reached(names, rng, fixed)
                if self._excess(reached, names) > 0:
                    own = self.costs(reached) or {}
                    lowest = ", ".join(f"{name} {own[name]:g}" for name in names)
                    what = (
                        f"{names[0]} alone is not met, at its lowest {lowest}"
                        if count == 1
                        else f"{' and '.join(names)} exclude each other: fewer of them are met, together {lowest}"
                    )
                    return f"{found} ({self.parameters.choices(row)}): {what}. Raise these limits or widen the space"
        return f"{found}. Raise the limits or widen the space"


def every_row(parameters: Parameters) -> Rows:
    """All rows, every parameter present."""
    sizes = parameters.sizes
    below = np.append(np.cumprod(sizes[::-1])[::-1], 1)[1:]  # rows in which a value stays as it is
    return np.asarray(np.arange(int(parameters.count()))[:, None] // below % sizes, dtype=np.int64)


def upper_end(value: Any) -> float:
    """Of a number itself, of an interval (low, high) its higher end."""
    return float(value[-1] if isinstance(value, tuple | list | np.ndarray) and np.ndim(value) else value)
