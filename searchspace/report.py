"""The one report layer: tables, key/value blocks, notes, next steps, and each number format once.

Everything returns plain ASCII-friendly text without colour codes, the same in a terminal, in a pipe and in a file.
rich lays out the tables; it is imported when the first one is printed.
"""

import io
import textwrap
from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest

WIDTH = 100
"""Columns that a table or a note may take."""
FACTS_WIDTH = 120
"""Columns that a fact with its label may take: one line each, where it can be, is easier to search."""

_NO_VALUE = "-"
_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def table(
    headers: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    text_columns: Sequence[int] = (),
    total: Sequence[str] | None = None,
    title: str = "",
    gap: int = 2,
) -> str:
    """A table with a rule below its headers: numbers right, `text_columns` left, `total` as the last row.

    `gap` is the number of spaces between columns. Cells are never wrapped or shortened.
    """
    from rich.console import Console
    from rich.rule import Rule
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, gap, 0, 0))
    for index in range(len(headers)):
        grid.add_column(justify="left" if index in text_columns else "right", no_wrap=True)
    grid.add_row(*map(Text, headers))
    grid.add_row(*(Rule(characters="-") for _ in headers))
    for row in [*rows, *([total] if total else [])]:
        if len(row) != len(headers):
            raise ValueError(f"a table of {len(headers)} columns got a row of {len(row)}: {list(row)}")
        grid.add_row(*map(Text, row))
    # Wide enough that nothing is folded: a line that a terminal is too narrow for is the terminal's to wrap.
    text = io.StringIO()
    Console(file=text, width=10_000, color_system=None, force_jupyter=False).print(grid)
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    return "\n".join([title, *lines] if title else lines)


def fields(pairs: Iterable[tuple[str, str]], *, title: str = "", width: int | None = FACTS_WIDTH) -> str:
    """Labels with their values below each other; a pair without a label continues the one above.

    A value is wrapped at `width` columns (None: not at all) below itself; words and paths stay whole.
    """
    pairs = list(pairs)
    indent = max([10, *(len(label) for label, _ in pairs)]) + 1
    lines = [_fill(value, width or len(value) + indent, f"{label:{indent}}", " " * indent) for label, value in pairs]
    return "\n".join([title, *lines] if title else lines)


def notes(*texts: str, width: int = WIDTH) -> str:
    """Sentences below a table, each beginning on its own line and wrapped at `width` columns; "" is left out."""
    return "\n".join(_fill(text, width) for text in texts if text)


def _fill(text: str, width: int, first: str = "", further: str = "") -> str:
    wrapper = textwrap.TextWrapper(width, first, further, break_long_words=False, break_on_hyphens=False)
    return wrapper.fill(text)


def next_steps(steps: Iterable[str | tuple[str, str]]) -> str:
    """Commands to go on with, each with what it is for where that is given; "" for no commands."""
    pairs = [(step, "") if isinstance(step, str) else step for step in steps]
    width = max((len(command) for command, purpose in pairs if purpose), default=0)
    lines = [f"  {command:{width}}  # {purpose}" if purpose else f"  {command}" for command, purpose in pairs]
    return "\n".join(["Next:", *lines]) if lines else ""


def beside(blocks: Iterable[str], *, gap: str = " | ") -> str:
    """Blocks of text side by side, as many lines as the longest has."""
    columns = [block.splitlines() for block in blocks]
    widths = [max(map(len, column)) for column in columns]
    lines = zip_longest(*columns, fillvalue="")
    return "\n".join(gap.join(map(str.ljust, line, widths)).rstrip() for line in lines)


def paragraphs(*parts: str) -> str:
    """The parts that are not empty, with a blank line between them."""
    return "\n\n".join(part for part in parts if part)


def shortened(text: str, width: int) -> str:
    """At most `width` printable ASCII characters of a name, which may hold anything; the cut shows as "..".."""
    plain = "".join(c if c.isascii() and c.isprintable() else "?" for c in text)
    return plain if len(plain) <= width else plain[: width - 2] + ".."


def ms_text(value: float | None, *, unit: bool = False) -> str:
    """Milliseconds to the hundredth, "12.34", with " ms" where `unit`; "-" for None."""
    return _NO_VALUE if value is None else f"{value:.2f}{' ms' if unit else ''}"


def interval_text(low: float | None, high: float | None, show: Callable[[float], str] = ms_text) -> str:
    """Both ends of an interval, "11.90 to 12.80", of milliseconds or as `show` writes a number; "-" for None."""
    return _NO_VALUE if low is None or high is None else f"{show(low)} to {show(high)}"


def percent_text(share: float | None, digits: int = 1) -> str:
    """A share as a percentage, 0.912 as "91.2%"; "-" for None."""
    return _NO_VALUE if share is None else f"{share:.{digits}%}"


def signed_percent_text(change: float | None, digits: int = 1) -> str:
    """A relative change with its sign, -0.034 as "-3.4%"; "-" for None."""
    return _NO_VALUE if change is None else f"{change:+.{digits}%}"


def count_text(count: float | None) -> str:
    """A count in three digits, 1827141392 as "1.83 G"; "-" for None."""
    if count is None:
        return _NO_VALUE
    for size, unit in _UNITS:
        if count >= 0.9995 * size:
            return f"{_three_digits(count / size)} {unit}"
    return f"{count:.0f}"


def _three_digits(value: float) -> str:
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"


def megabytes_text(size: float) -> str:
    """Bytes as megabytes of 10^6, "1,234.5 MB"."""
    return f"{size / 1e6:,.1f} MB"


def ratio_text(value: float | None) -> str:
    """A ratio in three digits at most, 6.0 as "6", 0.25 as "0.25"; "-" for none."""
    return f"{value:.{3 if value >= 1 else 2}g}" if value else _NO_VALUE


def multiple_text(value: float, base: float) -> str:
    """`value` as a multiple of `base`, "2.05"; two digits where it is below 0.1."""
    multiple = value / base
    return f"{multiple:.2f}" if multiple >= 0.1 else f"{multiple:.2g}"
