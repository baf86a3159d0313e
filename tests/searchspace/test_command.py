"""What every command shares: sub-commands, exit codes, and output that nobody reads or that cannot be written."""

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from searchspace.command import CommandParser, integer, run_command
from searchspace.errors import InvalidSpec

PROGRAM = "import sys; from searchspace.command import show; sys.exit(show('größe ' + 'x' * 100_000))"


def parser() -> CommandParser:
    cli = CommandParser("python -m search.toy")
    build = cli.subcommand("build", run=lambda args: f"built {args.count}", help="build some")
    build.add_argument("--count", type=integer, default=1)
    cli.subcommand("check", run=refused, help="check them")
    cli.subcommand("measure", run=interrupted, help="measure them", stopped="stopped; what was measured is kept")
    return cli


def refused(args: argparse.Namespace) -> str:
    raise InvalidSpec("a network must\n have layers, got none: give some")


def interrupted(args: argparse.Namespace) -> str:
    raise KeyboardInterrupt


def test_a_subcommand_runs_its_function_with_its_own_flags(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(parser(), ["build", "--count", "3"]) == 0
    assert capsys.readouterr().out == "built 3\n"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["build", "--count", "x"], "must be an integer such as 3, got 'x'; see python -m search.toy build --help"),
        (["build", "--cou", "3"], "unrecognized arguments: --cou 3; see python -m search.toy --help"),
        ([], "the following arguments are required: COMMAND; see python -m search.toy --help"),
        (["buil"], "invalid choice: 'buil' (choose from"),
        (["check"], "search.toy: error: a network must have layers, got none: give some\n"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(parser(), argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


def test_ctrl_c_says_what_is_kept_and_is_exit_code_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(parser(), ["measure"]) == 130
    assert capsys.readouterr().err == "\nstopped; what was measured is kept\n"
    assert run_command(parser(), ["build"], run=interrupted, stopped="stopped; nothing is written") == 130
    assert capsys.readouterr().err == "\nstopped; nothing is written\n"


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    program = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert program.stdout is not None
    assert program.stderr is not None
    program.stdout.read(10)
    program.stdout.close()
    assert program.wait(timeout=60) == 0
    assert program.stderr.read() == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
def test_an_output_that_cannot_be_written_is_one_line_and_exit_code_2() -> None:
    with open("/dev/full", "w") as full:
        program = subprocess.run([sys.executable, "-c", PROGRAM], stdout=full, stderr=subprocess.PIPE, text=True)
    assert program.returncode == 2
    assert program.stderr == "cannot write the output: No space left on device; send it somewhere else\n"


def test_characters_that_the_terminal_does_not_know_become_question_marks() -> None:
    environment = {"PYTHONIOENCODING": "ascii"}
    program = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment)
    assert program.returncode == 0
    assert program.stdout.startswith("gr??e x")
