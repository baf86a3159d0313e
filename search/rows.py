"""Candidates as a person sees them while a search runs: a table that grows in a terminal, aligned lines elsewhere."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rich.table import Table

BEST = "best so far"  # how the status of a row begins that is better than all before it
SHOWN = 12  # rows of the table in a terminal, and the best
_TITLES = ("no.", "network", "accuracy", "latency (interval)", "time", "")
_ALIGNED = (">4", "<30", ">13", "<25", ">6", "<")  # of each column, and its width


class Row(NamedTuple):
    """One candidate. None is what is not known.

    Attributes:
        number: Of the trial.
        name: What network it is, in a few words.
        accuracy: A fraction.
        deviation: The standard deviation of that, a fraction.
        latency_ms: Measured, or predicted.
        low_ms: The lower end of its interval.
        high_ms: The upper end.
        seconds: That it took to judge it.
        status: What became of it; begins with BEST where it is better than all before it.
    """

    number: str
    name: str
    accuracy: float | None
    deviation: float | None
    latency_ms: float | None
    low_ms: float | None
    high_ms: float | None
    seconds: float
    status: str

    @property
    def cells(self) -> tuple[str, ...]:
        """As text, by column."""
        accuracy = "" if self.accuracy is None else f"{100 * self.accuracy:.1f} %"
        accuracy += "" if self.deviation is None else f" ± {100 * self.deviation:.1f}"
        latency = "" if self.latency_ms is None else f"{self.latency_ms:.1f} ms"
        if self.low_ms is not None and self.high_ms is not None:
            latency += f" ({self.low_ms:.1f} to {self.high_ms:.1f})"
        return self.number, self.name, accuracy, latency, f"{self.seconds:.0f} s", self.status


def plain(cells: tuple[str, ...] = _TITLES) -> str:
    """Cells in columns of one width, those of a table's head by default; a long name is cut."""
    name = cells[1] if len(cells[1]) <= 30 else f"{cells[1][:29]}…"
    aligned = zip((cells[0], name, *cells[2:]), _ALIGNED, strict=True)
    return "  ".join(f"{cell:{how}}" for cell, how in aligned).rstrip()


def table_of(rows: list[Row], most: int = SHOWN) -> "Table":
    """The last `most` rows as a table, below the best so far where that is not among them."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for title, how in zip(_TITLES, _ALIGNED, strict=True):
        table.add_column(title, justify="right" if how[0] == ">" else "left", no_wrap=True)
    best = max((at for at, row in enumerate(rows) if row.status.startswith(BEST)), default=None)
    first = max(0, len(rows) - most)
    shown = [] if best is None or best >= first else [best]
    for at in shown + list(range(first, len(rows))):
        table.add_row(*map(Text, rows[at].cells), style="bold green" if at == best else "")
    return table
