"""What a person sees while a job runs, on stderr: a live bar on a terminal, elsewhere a line now and then."""

import sys
import time
from collections.abc import Callable
from typing import Any

Now = Callable[[], float]
LINE_EVERY_S = 15.0


def clock_text(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, seconds = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


class TimeLeft:
    """The seconds until a job ends, guessed from the share of it that is done since it began or went on.

    `limit_s`: at most so many seconds in all. `now` gives seconds from any start.
    """

    def __init__(self, limit_s: float | None = None, *, now: Now = time.monotonic) -> None:
        self._now, self._began = now, now()
        self._limit_s = limit_s
        self._first: float | None = None
        self._share = 0.0

    def at(self, share: float) -> float:
        """Note the share done, from 0 to 1; it is handed on. The first one is where this run began."""
        if self._first is None:
            self._first = share
        self._share = share
        return share

    def over(self) -> bool:
        """Whether the limit has passed."""
        return self._limit_s is not None and self._now() - self._began >= self._limit_s

    def left_s(self) -> float | None:
        """None until something is known."""
        spent = self._now() - self._began
        done = self._share - (self._first or 0.0)
        guess = [spent * (1 - self._share) / done] if done > 0 else []
        limit = [] if self._limit_s is None else [max(0.0, self._limit_s - spent)]
        return min(guess + limit, default=None)


class Progress:
    """Phases with the time left. `left_s` estimates the seconds until the whole command ends (None: unknown)."""

    def __init__(self, left_s: Callable[[], float | None], *, quiet: bool = False) -> None:
        self.left_s = left_s
        self._start = time.monotonic()
        self._last_line = -LINE_EVERY_S
        self._quiet = quiet
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> "Progress":
        if sys.stderr.isatty() and not self._quiet:
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[left]}"))
            self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task("starting", total=1.0, left="")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def line(self, text: str) -> None:
        """Print one line that stays."""
        if self._quiet:
            return
        self._last_line = time.monotonic()
        stamped = f"[{self._time()}] {text}"
        if self._bar is not None:
            self._bar.console.print(stamped, highlight=False, markup=False)
        else:
            print(stamped, file=sys.stderr, flush=True)

    def update(self, fraction: float, what: str) -> None:
        """Show that the present phase is done to `fraction` (0 to 1)."""
        if self._bar is not None:
            self._bar.update(self._task, completed=fraction, description=what, left=self._time())
        elif time.monotonic() - self._last_line >= LINE_EVERY_S:
            self.line(f"{what}: {fraction:.0%}")

    def _time(self) -> str:
        left = self.left_s()
        known = f", about {clock_text(left)} left" if left is not None else ""
        return f"{clock_text(time.monotonic() - self._start)}{known}"
