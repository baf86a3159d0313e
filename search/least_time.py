"""The least time that a search makes sense in here, so that a limit below it is told before work begins."""

from typing import NamedTuple

from search.plan import CLOSING_S
from searchspace.errors import InvalidArgument

TRAINED = 1.0  # an image's training in a batch, in times of telling one alone, of a small network; candidates are larger
TESTED = 0.5  # the same of a test
LEAST_TESTED = 1000


class LeastTime(NamedTuple):
    """Seconds at least: of a latency table, of one candidate, of as long a training of the winner, and of its test."""

    table_s: float
    training_s: float
    test_s: float

    @classmethod
    def of(cls, *, table_s: float, learnt: int, learns_ms: float, tested: int, tells_ms: float) -> "LeastTime":
        """For `learnt` images of a short training and `tested` test images.

        learns_ms, tells_ms: what a small network takes to tell an image of the training's and of the deployed size.
        """
        test_s = TESTED * min(tested, LEAST_TESTED) * tells_ms / 1000
        return cls(table_s, TRAINED * learnt * learns_ms / 1000, test_s)

    @property
    def seconds(self) -> float:
        """Of all."""
        return self.table_s + 2 * self.training_s + self.test_s + CLOSING_S

    def check(self, left_s: float, limit_s: float) -> None:
        """Raises InvalidArgument where less is left of the time limit."""
        if left_s >= self.seconds:
            return
        table = f"a latency table takes {self.table_s:.0f} s, " if self.table_s else ""
        spent_s = limit_s - left_s
        spent = f" and {spent_s / 60:.1f} are spent" if spent_s >= 6 else ""
        raise InvalidArgument(
            f"--minutes must be at least about {(spent_s + self.seconds) / 60 + 0.05:.1f} on this machine, got "
            f"{limit_s / 60:.2g}{spent}: {table}judging one network about {self.training_s:.0f} s, training the winner "
            f"as long again, measuring and testing it {self.test_s + CLOSING_S:.0f} s; give more --minutes, or --trials "
            "in their place for no limit"
        )
