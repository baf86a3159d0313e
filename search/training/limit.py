"""The time that a training may take: what of it is left, at the speeds seen."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

EVALUATION = 0.35  # of the time of a training image: what it takes to tell one right; the first guess
LEAST_LOOK = 100  # validation images, or all there are, however late it is
BATCH = 50  # images between two looks at the clock while validating or testing
WINDOW = 4  # steps that a speed is taken over


@dataclass
class TimeLimit:
    """At most `seconds` from now (None: no limit) for a training of which the share `done` is over.

    `then_s` seconds of other work follow, at the speed that the machine has at best. While it is slower they would take
    longer, and the training ends so much earlier.
    """

    seconds: float | None
    clock: Callable[[], float]
    then_s: float = 0.0
    done: float = 0.0
    unit_s: float = 0.0  # seconds of one unit of work (an image, or a pixel of one) lately; 0 until it is known
    _fastest_s: float = math.inf
    _began: float = field(init=False)
    _window: tuple[int, float, float] = (0, 0.0, 0.0)  # steps, their work, when the first began

    def __post_init__(self) -> None:
        self._began = self.clock()

    def begin(self) -> None:
        """Steps follow; what was done since the last one was something else."""
        self._window = (0, 0.0, self.clock())

    def step(self, work: float) -> None:
        """Note a step over so many units of work."""
        if self.seconds is None:
            return
        steps, before, began = self._window
        self._window = (steps + 1, before + work, began)
        if steps + 1 == WINDOW or not self.unit_s:
            self.unit_s = (self.clock() - began) / (before + work)
            self._fastest_s = min(self._fastest_s, self.unit_s)
            self.begin()

    def whole_s(self) -> float:
        """Seconds of the training, its last validation included, at the present speed; infinite without a limit."""
        if self.seconds is None:
            return math.inf
        slower = self.unit_s / self._fastest_s if self.unit_s else 1.0
        return self.seconds - (slower - 1) * self.then_s

    def share(self, last_images: int) -> float:
        """Of the training that is over by the clock, where it ends by validating so many images; 0 without a limit."""
        if self.seconds is None:
            return 0.0
        spent_s, whole_s = self.clock() - self._began, self.whole_s() - last_images * EVALUATION * self.unit_s
        return self.done + (1 - self.done) * (spent_s / whole_s if whole_s > spent_s else 1.0)

    def enough(self, told: int) -> bool:
        """Whether a validation ends with so many images, as the time is over."""
        return told >= LEAST_LOOK and self.clock() - self._began >= self.whole_s()
