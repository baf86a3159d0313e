"""The candidates that a search shows: a table that grows on a terminal, lines elsewhere."""

import io

import pytest
from rich.console import Console

from search import console
from search.console import Progress
from search.rows import BEST, Row, plain, table_of


def row(number: int, status: str = "", *, accuracy: float | None = 0.613) -> Row:
    return Row(str(number), "mbconv 84 M MACs", accuracy, accuracy and 0.0152, 12.14, 11.6, 12.7, 8.2, status)


def shown(rows: list[Row], **most: int) -> list[str]:
    """The numbers of the table's rows."""
    drawn = Console(file=io.StringIO(), width=120)
    drawn.print(table_of(rows, **most))
    assert isinstance(drawn.file, io.StringIO)
    return [line.split()[0] for line in drawn.file.getvalue().splitlines()[1:]]


def test_a_row_says_accuracy_with_its_error_and_latency_with_its_interval() -> None:
    line = plain(row(7, BEST).cells)
    assert line.split("  ")[0:2] == ["", " 7"]
    assert " ".join(line.split()) == "7 mbconv 84 M MACs 61.3 % ± 1.5 12.1 ms (11.6 to 12.7) 8 s best so far"


def test_what_is_not_known_is_left_empty_and_columns_stay_where_they_are() -> None:
    failed = Row("12", "a name that is much too long for its column", None, None, 9.0, None, None, 125.0, "failed")
    first, second = plain(row(7, BEST).cells), plain(failed.cells)
    assert "None" not in second
    assert second.index("9.0 ms") == first.index("12.1 ms") == plain().index("latency")
    assert second.index("failed") == first.index("best")


def test_the_table_shows_the_last_rows_and_the_best_above_them() -> None:
    rows = [row(0, BEST), row(1, BEST), *map(row, range(2, 20))]
    assert shown(rows, most=4) == ["1", "16", "17", "18", "19"]
    assert shown([*rows, row(20, f"{BEST}, measured")], most=4) == ["17", "18", "19", "20"]
    assert shown(rows[:3]) == ["0", "1", "2"]
    assert shown([row(0, "failed", accuracy=None)]) == ["0"]


def test_without_a_terminal_every_candidate_is_one_line_and_a_plan_is_told_when_it_changes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Progress(lambda: None) as progress:
        for text in ("the search has 5:10 left", "the search has 5:10 left", "the winner has 12:00"):
            progress.plan(text)
        progress.candidate(row(0, BEST))
        progress.candidate(row(1))
    told = capsys.readouterr().err.splitlines()
    assert [line.partition("] ")[2] for line in told[:2]] == ["the search has 5:10 left", "the winner has 12:00"]
    assert told[2:] == [plain(), plain(row(0, BEST).cells), plain(row(1).cells)]


def test_a_quiet_search_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(lambda: None, quiet=True) as progress:
        progress.plan("the search has 5:10 left")
        progress.candidate(row(0))
    assert capsys.readouterr().err == ""


class Terminal(io.StringIO):
    """A file that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_table_grows_over_the_bar_and_stays_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(console.sys, "stderr", screen)
    for name, value in (("TERM", "xterm"), ("COLUMNS", "120"), ("LINES", "40")):
        monkeypatch.setenv(name, value)
    with Progress(lambda: 60.0) as progress:
        progress.update(0.5, "trial 1")
        progress.plan("the search has 5:10 left")
        progress.candidate(row(0, BEST))
        progress.candidate(row(1, "[worse]"))  # no markup
        progress.line("a line that stays")
        before = len(screen.getvalue())
    while_it_ran, at_the_end = screen.getvalue()[:before], screen.getvalue()[before:]
    for text in ("trial 1", "the search has 5:10 left", "61.3 % ± 1.5", "a line that stays"):
        assert text in while_it_ran
    assert "network" in at_the_end
    assert "[worse]" in at_the_end
