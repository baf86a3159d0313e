"""What all commands share: parse the flags, call one function, print its text, return an exit code.

0: done. 2: the input is wrong, said in one line. 130: stopped by Ctrl-C, and a line says what is kept.
"""

import argparse
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from searchspace.arguments import MOST_THREADS
from searchspace.errors import InvalidArgument, PhinasError
from searchspace.files import system_error

Run = Callable[[argparse.Namespace], str]
STOPPED = "stopped; nothing is kept"
EMA_HELP = "where a file holds averaged weights (EMA) and others: take the averaged; --no-ema: the others"


class CommandParser(argparse.ArgumentParser):
    """An ArgumentParser that keeps the layout of its texts and raises InvalidArgument instead of printing usage."""

    def __init__(self, prog: str, *, description: str = "", epilog: str = "") -> None:
        super().__init__(
            prog,
            description=description,
            epilog=epilog,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.register("type", Path, path)
        self.register("type", str, word)
        self._commands: argparse._SubParsersAction[CommandParser] | None = None

    def subcommand(self, name: str, *, run: Run, help: str, epilog: str = "", stopped: str = "") -> "CommandParser":
        """Add the sub-command `name`, to which flags of its own can be added.

        `run_command` calls `run` with its arguments; `stopped` is the line for Ctrl-C where it differs from the others.
        """
        if self._commands is None:
            self._commands = self.add_subparsers(metavar="COMMAND", required=True)
        command = self._commands.add_parser(name, help=help, description=help, epilog=epilog)
        command.set_defaults(command=name, run=run, **({"stopped": stopped} if stopped else {}))
        return command

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse; an unknown flag is an error that names the sub-commands which have it."""
        for flag, _, value in (each.partition("=") for each in (sys.argv[1:] if args is None else args)):
            if flag.startswith("--") and value == "--":  # argparse takes it for the end of the flags, and gives []
                self.error(f"argument {flag}: must be a value, got '--'")
        found, unknown = self.parse_known_args(args, namespace)
        if not unknown:
            return found
        flag, commands = unknown[0].partition("=")[0], self._commands.choices if self._commands else {}
        owners = [name for name, one in commands.items() if flag in one._option_string_actions]
        if owners:
            *first, last = owners
            listed = f"{', '.join(first)} and {last}" if first else last
            raise InvalidArgument(f"{flag} belongs to {listed}, got {found.command}; see {self.prog} --help")
        self.error(f"unrecognized arguments: {' '.join(unknown)}")

    def error(self, message: str) -> NoReturn:
        """Raise InvalidArgument with argparse's message and where to look."""
        raise InvalidArgument(f"{message}; see {self.prog} --help")


def run_command(
    cli: CommandParser, argv: list[str] | None = None, *, run: Run | None = None, stopped: str = STOPPED
) -> int:
    """Parse `argv` (None: the command line), print what `run(args)` returns, and return the exit code.

    `run` None calls the function of the sub-command that was given. A PhinasError becomes one line on stderr, and so
    does what the system refuses (a name that is too long, a full disk). Ctrl-C prints the line `stopped`, which says
    what is kept. A progress line is cleared first.
    """
    name = cli.prog.removeprefix("python -m ")
    try:
        args = cli.parse_args(argv)
        stopped = getattr(args, "stopped", stopped)
        text = (run or args.run)(args)
    except KeyboardInterrupt:
        print(f"\n{stopped}", file=sys.stderr)
        return 130
    except (PhinasError, OSError) as caught:
        error = system_error(caught) if isinstance(caught, OSError) else caught
        if error is None:
            raise
        show_progress(1.0, "")
        text = " ".join(str(error).split()).encode(errors="backslashreplace").decode()  # a path may be no UTF-8
        print(f"{name}: error: {text}", file=sys.stderr)
        return 2
    show_progress(1.0, "")
    return show(text)


def show(text: str) -> int:
    """Print the result of a command and return its exit code.

    A reader that has seen enough (head, less) is no error. An output that cannot be written is. Characters that the
    terminal does not know become question marks.
    """
    try:
        try:
            print(text, flush=True)
        except UnicodeEncodeError:
            encoding = sys.stdout.encoding
            print(text.encode(encoding, "replace").decode(encoding), flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return 0
        print(f"cannot write the output: {error.strerror or error}; send it somewhere else", file=sys.stderr)
        return 2
    return 0


def show_progress(fraction: float, what: str) -> None:
    """Write one line over on a terminal, or clear it for an empty `what`; nothing where nobody watches."""
    if sys.stderr.isatty():
        text = f"{what} {fraction:.0%}" if what else ""
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _typed(
    rule: str, convert: Callable[[str], Any], *, above: float = -math.inf, most: float = math.inf
) -> Callable[[str], Any]:
    """A type of a flag. Integers have 31 bits: no count is larger, and nothing that takes them has fewer."""

    def parse(text: str) -> Any:
        try:
            value = convert(text)
        except ValueError:
            value = math.nan
        if not (above < value <= most and value < (math.inf if convert is float else 2**31)):
            raise argparse.ArgumentTypeError(f"must be {rule}, got {text!r:.80}")
        return value

    return parse


def path(text: str) -> Path:
    """The type of a flag that names a file or folder, for which `type=Path` stands; an empty text is not the folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"must be the path of a file or folder, got {text!r}")
    return Path(text)


def word(text: str) -> str:
    """The type of a flag that takes a text, for which `type=str` stands; an empty one does not mean the default."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"must not be empty, got {text!r}")
    return text


number = _typed("a finite number such as 3 or 1.15", float)
integer = _typed("an integer such as 3", int)
positive_number = _typed("a number above 0", float, above=0)
positive_integer = _typed("an integer above 0", int, above=0)
threads = _typed(f"an integer from 1 to {MOST_THREADS}", int, above=0, most=MOST_THREADS)
seconds = _typed("a number of seconds above 0, at most a million", float, above=0, most=1e6)
minutes = _typed("a number of minutes above 0, at most a million", float, above=0, most=1e6)
seed = _typed("an integer from 0 to 2147483647", int, above=-1, most=2**31 - 1)
