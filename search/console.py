"""What a person sees while a job runs, on stderr: on a terminal a table that grows over a live bar, elsewhere lines."""

import sys
import time
from collections.abc import Callable
from typing import Any

from search.rows import SHOWN, Row, plain, table_of

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
    """Phases with the time left, and the candidates of a search.

    `left_s` estimates the seconds until the whole command ends (None: unknown). `about`: what lines are about at
    present, such as one of several budgets; it stands before them.
    """

    def __init__(self, left_s: Callable[[], float | None], *, quiet: bool = False) -> None:
        self.left_s = left_s
        self.about = ""
        self._start = time.monotonic()
        self._last_line = -LINE_EVERY_S
        self._quiet = quiet
        self._live: Any = None  # what draws the table and the bar on a terminal
        self._bar: Any = None
        self._task: Any = None
        self._rows: list[Row] = []
        self._plan = ""

    def __enter__(self) -> "Progress":
        if sys.stderr.isatty() and not self._quiet:
            from rich.console import Console
            from rich.live import Live
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[left]}"))
            self._bar = Bar(*columns)
            self._task = self._bar.add_task("starting", total=1.0, left="")
            console = Console(stderr=True)
            self._live = Live(self._bar, console=console, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            if self._rows:
                self._live.console.print(table_of(self._rows))

    def line(self, text: str) -> None:
        """Print one line that stays."""
        if self._quiet:
            return
        self._last_line = time.monotonic()
        self._print(f"[{self._time()}] {self._about(text)}")

    def candidate(self, row: Row) -> None:
        """Show one more candidate: a row of the table on a terminal, a line elsewhere."""
        self._rows.append(row)
        if self._live is not None:
            self._draw()
        elif not self._quiet:
            self._last_line = time.monotonic()
            if len(self._rows) == 1:
                self._print(plain())
            self._print(plain(row.cells))

    def plan(self, text: str) -> None:
        """Say what is done with the time left, and why: below a table on a terminal, elsewhere a line if it is new."""
        if text == self._plan:
            return
        self._plan = text
        if self._live is not None:
            self._draw()
        else:
            self.line(text)

    def update(self, fraction: float, what: str) -> None:
        """Show that the present phase is done to `fraction` (0 to 1)."""
        if self._bar is not None:
            self._bar.update(self._task, completed=fraction, description=self._about(what), left=self._time())
        elif time.monotonic() - self._last_line >= LINE_EVERY_S:
            self.line(f"{what}: {fraction:.0%}")

    def _about(self, text: str) -> str:
        return f"{self.about}: {text}" if self.about else text

    def _print(self, text: str) -> None:
        if self._live is not None:
            self._live.console.print(text, highlight=False, markup=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def _draw(self) -> None:
        """The table, as much of it as the terminal has room for, the plan and the bar."""
        from rich.console import Group
        from rich.text import Text

        room = max(3, min(SHOWN, self._live.console.height - 8))
        table = [table_of(self._rows, room)] if self._rows else []
        self._live.update(Group(*table, *([Text(self._plan)] if self._plan else []), self._bar), refresh=True)

    def _time(self) -> str:
        left = self.left_s()
        known = f", about {clock_text(left)} left" if left is not None else ""
        return f"{clock_text(time.monotonic() - self._start)}{known}"
