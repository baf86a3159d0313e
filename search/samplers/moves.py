"""Ways from one network to others within the budget."""

import itertools
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from search.candidates import Candidate, PricedSpace
from searchspace.errors import PhinasError
from searchspace.spaces.space import Choices

START_SHARE = 0.97  # of what starting points are brought within: a budget that is corrected a little leaves them
DRAWS = 200  # tries of rejection sampling
WALK_STEPS = 150  # of the random walk that takes over where rejection finds nothing


class SpaceExhausted(PhinasError):
    """Every network within the budget has been tried."""


@dataclass(kw_only=True)
class Moves:
    """Ways to reach networks whose prediction is at most `limit_ms` and that keep the limits on sizes.

    Every loop is bounded.

    taken: fingerprints that are not new. rejected: counts what `fits` refuses.
    """

    priced: PricedSpace
    limit_ms: float
    fastest: Candidate
    rng: random.Random
    taken: set[str]
    rejected: dict[str, int]

    def __post_init__(self) -> None:
        self.price, self.space = self.priced.price, self.priced.space
        self.parameters = self.space.parameters()
        self.open = [name for name, values in self.parameters.items() if len(values) > 1]
        self.fast = {name: values[0] for name, values in self.parameters.items()} | self.fastest.choices

    def fits(self, candidate: Candidate) -> bool:
        """Within the limits and new; counts what is not."""
        over = self.share(candidate) > 1
        if over or candidate.fingerprint in self.taken:
            self.rejected["over_limit" if over else "duplicate"] += 1
            return False
        return True

    def share(self, candidate: Candidate) -> float:
        """The largest share of a limit that it takes."""
        return self.priced.share(candidate, self.limit_ms)

    def draw(self, given: Choices | None = None) -> Choices:
        """Every choice drawn evenly and independently, those of absent stages included; `given` ones are kept."""
        return {name: self.rng.choice(values) for name, values in self.parameters.items()} | (given or {})

    def full(self, choices: Choices) -> Choices:
        """With the fastest network's choices, or the first, for what is left out."""
        return self.fast | choices

    def step(self, choices: Choices) -> Choices:
        """One choice changed."""
        if not self.open:
            return choices
        name = self.rng.choice(self.open)
        others = [value for value in self.parameters[name] if value != choices[name]]
        return {**choices, name: self.rng.choice(others)}

    def uniform(self) -> Candidate | None:
        """A new network within the budget, uniform over the choices of the space given that it fits.

        By rejection; where fewer than about one in DRAWS fits, by a random walk inside the budget from a random
        network brought within it. Its proposals are even and taken if they fit, so it tends to that same uniform law.
        """
        for _ in range(DRAWS):
            if self.fits(candidate := self.price(self.draw())):
                return candidate
        return self.walk(self.within_budget(self.draw()), steps=WALK_STEPS)

    def within_budget(self, choices: Choices, *, floor_ms: float = 0.0) -> Choices:
        """Full choices with as few of the fastest network's as fit, in random order; then upwards to floor_ms."""
        order = self.rng.sample(self.open, len(self.open))
        fewest, most = 0, len(order)
        while fewest < most:  # bisection; all of them give the fastest network, which fits
            half = (fewest + most) // 2
            mixed = choices | {name: self.fast[name] for name in order[:half]}
            fewest, most = (fewest, half) if self.share(self.price(mixed)) <= 1 else (half + 1, most)
        choices = choices | {name: self.fast[name] for name in order[:most]}
        for _ in range(30):
            now_ms = self.price(choices).latency_upper_ms
            if now_ms >= floor_ms:
                break
            changed = self.step(choices)
            there = self.price(changed)
            if there.latency_upper_ms >= now_ms and self.share(there) <= 1:
                choices = changed
        return choices

    def _path(self, choices: Choices, *, steps: int, floor_ms: float) -> Iterator[Candidate]:
        """A random walk inside [floor_ms, limit_ms] (upwards, while below floor_ms)."""
        yield (here := self.price(choices))
        for _ in range(steps):
            changed = self.step(choices)
            there = self.price(changed)
            is_over = self.share(there) > 1
            self.rejected["over_limit"] += is_over
            if min(floor_ms, here.latency_upper_ms) <= there.latency_upper_ms and not is_over:
                choices, here = changed, there
            yield here

    def walk(self, choices: Choices, *, steps: int, floor_ms: float = 0.0) -> Candidate | None:
        """Where a random walk ends, or the first new network in as many steps again."""
        for index, candidate in enumerate(self._path(choices, steps=2 * steps, floor_ms=floor_ms)):
            if index >= steps and self.fits(candidate):
                return candidate
        return None

    def pool(self, *, floor_ms: float) -> Iterator[Candidate]:
        """Networks from all over the space that use the budget."""
        for _ in range(3):
            start = self.within_budget(self.draw(), floor_ms=floor_ms)
            yield from itertools.islice(self._path(start, steps=60, floor_ms=floor_ms), 10, None, 2)

    def around(self, best: list[Candidate], *, floor_ms: float) -> Iterator[Candidate]:
        """New networks that differ from one of `best` in one to three choices and use the budget."""
        for index in range(60):
            choices = self.draw(best[index % len(best)].choices)
            for _ in range(1 + index // len(best) % 3):
                choices = self.step(choices)
            candidate = self.price(choices)
            if self.fits(candidate) and candidate.latency_upper_ms >= floor_ms:
                yield candidate

    def shrink(self, choices: Choices, limit_ms: float) -> Candidate:
        """The network, brought within the limits by the changes that cut about a tenth of what is over each.

        The last change is the one that leaves the most of the limits used.
        """
        here = self.price(choices)
        if self.priced.share(here, limit_ms) <= 1:
            return here
        limit_ms = max(START_SHARE * limit_ms, self.fastest.latency_upper_ms)

        def share(candidate: Candidate) -> float:
            return self.priced.share(candidate, limit_ms)

        while (now := share(here)) > 1:
            around = [self.price(choices) for choices in self.space.neighbours(here.choices)]
            if fitting := [c for c in around if share(c) <= 1]:
                return max(fitting, key=share)
            less = [c for c in around if share(c) < now] or [self.fastest]
            here = min(less, key=lambda c: abs(share(c) - 0.9 * now))
        return here

    def anything_left(self, tried: Iterable[Candidate]) -> Candidate:
        """Some new network within the limits, found from the known ones by single changes; else SpaceExhausted."""
        front = [self.fastest, *tried]
        visited = {candidate.fingerprint for candidate in front}
        while front:
            here = front.pop()
            if self.share(here) <= 1 and here.fingerprint not in self.taken:
                return here
            for there in map(self.price, self.space.neighbours(here.choices)):
                if self.share(there) <= 1 and there.fingerprint not in visited:
                    visited.add(there.fingerprint)
                    front.append(there)
        raise SpaceExhausted(
            f"every network of the space {self.space.name!r} that is predicted within {self.limit_ms:g} ms has "
            f"been tried ({len(self.taken)}); raise --budget-ms or widen the space (--space) to search on"
        )
