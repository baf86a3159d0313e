"""What every command shares: output that nobody reads, that cannot be written or cannot be encoded."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = "import sys; from searchspace.command import show; sys.exit(show('größe ' + 'x' * 100_000))"


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
