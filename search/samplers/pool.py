"""Candidates for the next trial: drawn fresh, changed from the best, climbed to."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from search.samplers.limits import Limits, every_row
from search.samplers.parameters import ABSENT, Parameters, Rows

Score = Callable[[Rows], npt.NDArray[np.float64]]
FEW = 1500  # rows of a space that are all candidates
FRESH = 40  # candidates that are drawn fresh
CHANGED = 120  # candidates that differ from one of the best in one to three choices
CLIMBS, CLIMB_STEPS = 2, 4  # from the best candidates, by the best single change each step
LOOKED_AT = 20_000  # rows that are looked through, at most, for one that is new


@dataclass
class Pool:
    """Rows that keep the limits and are not `taken` (bytes of canonical rows); `fixed`: place -> code that is given."""

    parameters: Parameters
    limits: Limits
    rng: np.random.Generator
    taken: set[bytes]
    fixed: Mapping[int, int] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=lambda: {"over_limit": 0, "duplicate": 0})
    climbs: int = CLIMBS

    def _usable(self, rows: Rows) -> Rows:
        """Canonical, each once, new and within the limits."""
        for place, code in self.fixed.items():
            rows[:, place] = code
        unique = {row.tobytes(): row for row in self.parameters.canonical(rows)}
        new = [row for key, row in unique.items() if key not in self.taken]
        self.rejected["duplicate"] += len(rows) - len(new)
        fitting = [row for row in new if self.limits.fits(row)] if self.limits.asked else new
        self.rejected["over_limit"] += len(new) - len(fitting)
        return np.array(fitting, dtype=np.int64).reshape(len(fitting), len(self.parameters.names))

    def _filled(self, rows: Rows) -> Rows:
        """With a random value for what is absent."""
        return np.where(rows == ABSENT, self.parameters.draw(len(rows), self.rng), rows)

    def fresh(self, count: int) -> Rows:
        """Random rows; where few random ones keep the limits, from walks within them."""
        found = self._usable(self.parameters.draw(4 * count, self.rng))[:count]
        if self.limits.limits and len(found) < count // 4:
            start = found[0] if len(found) else self.limits.within(self.rng, self.fixed)
            walks = np.repeat(start[None], count, axis=0)
            ends = [walks]
            for _ in range(12):
                changed = self.changed(walks, len(walks), most=2)
                if len(changed):
                    walks = changed[self.rng.integers(0, len(changed), count)]
                    ends.append(changed)
            everything = self._usable(np.concatenate([found, *ends[-4:]]))
            found = everything[self.rng.permutation(len(everything))[:count]]
        return found

    def changed(self, parents: Rows, count: int, *, most: int = 3) -> Rows:
        """`count` rows that differ from one of `parents` in 1 to `most` choices, half of them in one; those usable."""
        sizes = self.parameters.sizes
        open_places = np.array([p for p in np.flatnonzero(sizes > 1) if p not in self.fixed], dtype=np.int64)
        if not len(open_places) or not len(parents):
            return np.zeros((0, len(sizes)), dtype=np.int64)
        rows = self._filled(parents[self.rng.integers(0, len(parents), count)])
        most = min(most, len(open_places))
        order = self.rng.random((count, len(open_places))).argpartition(most - 1, axis=1)[:, :most]
        changes = np.minimum(self.rng.geometric(0.5, count), most)
        for turn in range(most):
            at = np.flatnonzero(changes > turn)
            places = open_places[order[at, turn]]
            steps = self.rng.integers(1, sizes[places])
            rows[at, places] = (rows[at, places] + steps) % sizes[places]
        return self._usable(rows)

    def around(self, row: Rows) -> Rows:
        """Usable rows that differ in one choice."""
        return self._usable(neighbours(self._filled(row[None])[0], self.parameters.sizes))

    def candidates(self, best: Rows) -> Rows:
        """Rows to choose from: all where there are few."""
        if self.parameters.count() <= FEW:
            return self._usable(every_row(self.parameters))
        return self._usable(np.concatenate([self.changed(best, CHANGED), self.fresh(FRESH)]))

    def climbed(self, rows: Rows, score: Score) -> Iterator[Rows]:
        """`rows` and what is climbed to from the best of them, the highest score first."""
        if not len(rows):
            return
        scores = score(rows)
        found = {row.tobytes(): (value, row) for value, row in zip(scores.tolist(), rows, strict=True)}
        places = np.argsort(-scores, kind="stable")[: self.climbs if self.parameters.count() > FEW else 0]
        climbers = [(float(scores[place]), rows[place]) for place in places]
        for _ in range(CLIMB_STEPS):
            climbers = self._step(climbers, score)
            found |= {row.tobytes(): (value, row) for value, row in climbers}
        for _, row in sorted(found.values(), key=lambda pair: -pair[0]):
            yield row

    def _step(self, climbers: list[tuple[float, Rows]], score: Score) -> list[tuple[float, Rows]]:
        """Each one's best single change; without those that are at their top."""
        around = [self.around(row) for _, row in climbers]
        counts = np.cumsum([len(rows) for rows in around], dtype=int)
        if not len(counts) or counts[-1] == 0:
            return []
        scores = np.split(score(np.concatenate(around)), counts[:-1])
        return [
            (float(values.max()), rows[int(values.argmax())])
            for (here, _), rows, values in zip(climbers, around, scores, strict=True)
            if len(values) and values.max() > here
        ]

    def anything_new(self, known: Iterable[Rows]) -> Iterator[Rows]:
        """New rows within the limits, found from known ones by single changes; none where all are taken."""
        if self.parameters.count() <= LOOKED_AT:
            yield from self._usable(every_row(self.parameters))
            return
        front, visited = [row for row in known if self.limits.fits(row)], set[bytes]()
        front = front or [self.limits.within(self.rng, self.fixed)]
        while front and len(visited) < LOOKED_AT:
            row = front.pop()
            for there in self.parameters.canonical(neighbours(self._filled(row[None])[0], self.parameters.sizes)):
                key = there.tobytes()
                given = all(there[place] in (code, ABSENT) for place, code in self.fixed.items())
                if key not in visited and given and self.limits.fits(there):
                    visited.add(key)
                    front.append(there)
                    if key not in self.taken:
                        yield there


def neighbours(row: Rows, sizes: npt.NDArray[np.int64]) -> Rows:
    """All rows that differ in one choice."""
    places = np.repeat(np.arange(len(sizes)), sizes - 1)
    steps = np.concatenate([np.arange(1, size) for size in sizes]) if len(sizes) else np.zeros(0, dtype=np.int64)
    rows = np.repeat(row[None], len(places), axis=0)
    rows[np.arange(len(places)), places] = (row[places] + steps) % sizes[places]
    return rows
