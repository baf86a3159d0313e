"""What every command shares: mistakes on the command line are one line like every other error of ours."""

import argparse
import math
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from searchspace.errors import InvalidArgument, PhinasError


class CommandParser(argparse.ArgumentParser):
    """An ArgumentParser that keeps the layout of its texts and raises InvalidArgument instead of printing usage."""

    def __init__(self, prog: str, *, description: str, epilog: str) -> None:
        super().__init__(
            prog,
            description=description,
            epilog=epilog,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        """Raises InvalidArgument with argparse's message and where to look."""
        raise InvalidArgument(f"{message}; see {self.prog} --help")


def guarded(name: str, job: Callable[[], int], *, stopped: str) -> int:
    """A command's exit code: that of `job`; 2 with one line `NAME: error: ...` for a PhinasError, 130 with the line
    `stopped`, which says what is kept, for Ctrl-C."""
    try:
        return job()
    except KeyboardInterrupt:
        print(f"\n{stopped}", file=sys.stderr)
        return 130
    except PhinasError as error:
        print(f"{name}: error:", " ".join(str(error).split()), file=sys.stderr)
        return 2


def show(text: str) -> int:
    """Print the result of a command; its exit code. A reader that has seen enough (head, less) is no error; an output
    that cannot be written is, and characters that the terminal does not know become question marks."""
    try:
        try:
            print(text, flush=True)
        except UnicodeEncodeError:
            encoding = sys.stdout.encoding
            print(text.encode(encoding, "replace").decode(encoding), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"cannot write the output: {error.strerror or error}; send it somewhere else", file=sys.stderr)
        return 2
    return 0


def show_progress(fraction: float, what: str) -> None:
    """One line on a terminal that is written over, and cleared by an empty `what`; nothing where nobody watches."""
    if sys.stderr.isatty():
        text = f"{what} {fraction:.0%}" if what else ""
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _typed(rule: str, convert: Callable[[str], Any]) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            return convert(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be {rule}, got {text!r}") from None

    return parse


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


number = _typed("a finite number such as 3 or 1.15", _finite)
integer = _typed("an integer such as 3", int)
