"""The report layer: tables, fields, notes, next steps and number formats."""

import subprocess
import sys

import pytest

from searchspace.report import (
    FACTS_WIDTH,
    beside,
    count_text,
    fields,
    interval_text,
    ms_text,
    multiple_text,
    next_steps,
    notes,
    percent_text,
    ratio_text,
    shortened,
    signed_percent_text,
    table,
)


def test_numbers_stand_right_texts_left_and_the_total_last() -> None:
    text = table(["network", "ms"], [["a", "1.50"], ["[bold]b", "10.25"]], text_columns=(0,), total=["total", "11.75"])
    assert text.splitlines() == [
        "network     ms",
        "-------  -----",
        "a         1.50",
        "[bold]b  10.25",
        "total    11.75",
    ]


def test_no_cell_is_folded_or_shortened_however_long() -> None:
    path = "/very/long " * 30
    assert path.rstrip() in table(["file", "n"], [[path, "1"]], text_columns=(0,))


def test_a_row_of_other_length_than_the_headers_is_an_error() -> None:
    with pytest.raises(ValueError, match="2 columns got a row of 1"):
        table(["a", "b"], [["1"]])


def test_a_table_is_plain_text_even_where_colours_are_forced() -> None:
    code = "from searchspace.report import table; print(table(['a'], [['1']]))"
    env = {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": "10"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "a\n-\n1\n"


def test_fields_wrap_below_their_own_value() -> None:
    text = fields([("accuracy", "word " * 40), ("", "continued")], title="Winner")
    title, *lines = text.splitlines()
    assert title == "Winner"
    assert lines[0].startswith("accuracy   word")
    assert all(line.startswith(" " * 11) for line in lines[1:])
    assert max(map(len, lines)) <= FACTS_WIDTH
    assert len(fields([("files", "word " * 40)], width=None).splitlines()) == 1


def test_notes_and_next_steps_are_lines_that_can_be_copied() -> None:
    assert notes("a  file /" + "x" * 120, "", "b").splitlines()[-2:] == ["/" + "x" * 120, "b"]
    assert next_steps(
        [("python -m studies", "all of them"), "python -m searchspace.zoo mobilenet_v2"]
    ).splitlines() == [
        "Next:",
        "  python -m studies  # all of them",
        "  python -m searchspace.zoo mobilenet_v2",
    ]
    assert next_steps([]) == ""
    assert beside(["a\nbb", "c"]) == "a  | c\nbb |"
    assert shortened("bad\nnet work", 8) == "bad?ne.."


def test_each_number_has_one_format() -> None:
    assert ms_text(12.345) == "12.35"
    assert ms_text(3.0, unit=True) == "3.00 ms"
    assert interval_text(1.0, 2.0) == "1.00 to 2.00"
    assert interval_text(0.5, 0.75, percent_text) == "50.0% to 75.0%"
    assert percent_text(0.9123) == "91.2%"
    assert percent_text(0.9123, 0) == "91%"
    assert signed_percent_text(-0.034) == "-3.4%"
    assert [count_text(n) for n in (0, 999, 1_000, 1_827_141_392, 5_483_032)] == [
        "0",
        "999",
        "1.00 k",
        "1.83 G",
        "5.48 M",
    ]
    assert [ratio_text(x) for x in (6.0, 0.25, 0, None)] == ["6", "0.25", "-", "-"]
    assert [multiple_text(x, 2.0) for x in (4.1, 0.1)] == ["2.05", "0.05"]
    assert {
        ms_text(None),
        percent_text(None),
        signed_percent_text(None),
        count_text(None),
        interval_text(None, 1.0),
    } == {"-"}
