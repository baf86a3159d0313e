"""What all benchmarks share: flags, the run and its exit code, calls in turns, kept results, spread."""

import fcntl
import json
import statistics
import time
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from searchspace.command import CommandParser, integer, number, run_command, show_progress
from searchspace.errors import InvalidArgument
from searchspace.files import read_json, write_atomic
from searchspace.report import percent_text

if TYPE_CHECKING:
    from search.latency.interleave import Reading, Runtime

CIFAR = Path("../shared/data/cifar10-train.tar")
SCHEMA = 2
Row = dict[str, Any]


class Verdict(NamedTuple):
    """What a benchmark prints, and whether its target is reached; the exit code is 1 where it is not."""

    text: str
    reached: bool


class Skipped(Exception):
    """This machine lacks what the benchmark needs; the exit code is 0."""


class BenchmarkParser(CommandParser):
    """The command line of `tests.benchmarks.NAME`; every flag's help ends with its default."""

    def __init__(self, name: str, description: str | None, *, note: str = "") -> None:
        codes = "exit codes: 0 done or skipped, 1 a target is missed, 2 the input is wrong"
        super().__init__(
            f"python -m tests.benchmarks.{name}", description=description or "", epilog=f"{note}\n{codes}".strip()
        )

    def flag(self, name: str, default: Any, help: str, *, type: Any = str, metavar: str | None = None) -> None:
        """A flag with a value; where the default is None, the help itself says what holds."""
        shown = "" if default is None else " (default: %(default)s)"
        self.add_argument(name, default=default, help=help + shown, type=type, metavar=metavar)

    def count(self, name: str, default: int | None, help: str, *, metavar: str = "N", least: int = 1) -> None:
        """A flag for an integer of at least `least`."""
        self.flag(name, default, help, type=_at_least(integer, least), metavar=metavar)

    def number(self, name: str, default: float | None, help: str, *, metavar: str = "X", least: float = 1e-9) -> None:
        """A flag for a number of at least `least`: above 0."""
        self.flag(name, default, help, type=_at_least(number, least), metavar=metavar)

    def json(self, help: str = "keep every result there as it comes; the same command goes on") -> None:
        """`--json FILE`."""
        self.flag("--json", None, help, type=Path, metavar="FILE")


def _at_least(convert: Callable[[str], Any], least: float) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        value = convert(text)
        if value < least:
            raise ArgumentTypeError(f"must be {'above 0' if 0 < least < 1 else f'at least {least:g}'}, got {text}")
        return value

    return parse


def benchmark(
    parser: Callable[[], CommandParser],
    run: Callable[[Namespace], str | Verdict],
    *,
    stopped: str = "stopped; nothing is kept",
) -> Callable[..., int]:
    """The `main(argv)` of a benchmark: it parses, prints what `run(args)` returns, and gives the exit code."""

    def main(argv: list[str] | None = None) -> int:
        reached = True

        def text(args: Namespace) -> str:
            nonlocal reached
            try:
                found = run(args)
            except Skipped as why:
                return f"skipped: {why}"
            if isinstance(found, str):
                return found
            reached = found.reached
            return found.text

        return run_command(parser(), argv, run=text, stopped=stopped) or int(not reached)

    return main


def needed(data: str) -> str:
    """`data` of --data. Raises Skipped where it is a file that this machine lacks."""
    if data.partition(":")[0] != "digits" and not Path(data).exists():
        raise Skipped(f"this benchmark needs {data}, which is not on this machine (--data names another)")
    return data


class Kept:
    """Rows by key in a JSON file, each on disk before the next; several processes may write. Without a path: in memory.

    Raises InvalidArgument for a file of other settings (`about`) or of another schema.
    """

    def __init__(self, path: Path | None, about: dict[str, Any]) -> None:
        self.path = path
        self._content: dict[str, Any] = {"schema": SCHEMA, "about": json.loads(json.dumps(about)), "rows": {}}
        if path is not None and path.exists():
            found = read_json(path)
            if not isinstance(found, dict) or any(found.get(key) != self._content[key] for key in ("schema", "about")):
                raise InvalidArgument(f"{path} is of other settings, data or version: name another file with --json")

    @classmethod
    def opened(cls, path: Path) -> "Kept":
        """What is in the file, whatever its settings are."""
        return cls(path, read_json(path)["about"])

    @contextmanager
    def changed(self) -> Iterator[dict[str, Any]]:
        """The rows, written back afterwards; one process at a time."""
        if self.path is None:
            yield self._content["rows"]
            return
        with open(self.path.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            content = {**self._content, "rows": self.rows()}
            yield content["rows"]
            write_atomic(self.path, json.dumps(content, indent=1))

    def rows(self) -> dict[str, Any]:
        """All rows by key, as they stand now."""
        content = read_json(self.path) if self.path is not None and self.path.exists() else self._content
        rows: dict[str, Any] = content["rows"]
        return rows

    def put(self, key: str, row: Any) -> None:
        """Keep a row, in the place of an earlier one of the same key."""
        with self.changed() as rows:
            rows[key] = row

    def once(self, key: str, make: Callable[[], Any]) -> Any:
        """The row of `key`, made now if it is not there."""
        rows = self.rows()
        if key not in rows:
            self.put(key, make())
            rows = self.rows()
        return rows[key]


def turns(calls: Sequence[Callable[[], object]], *, fewest: int, seconds: float = 0.0) -> list[list[float]]:
    """Milliseconds of each call, turn by turn: all calls once a turn, `fewest` turns and for `seconds` at least."""
    found: list[list[float]] = []
    began = time.perf_counter()
    while len(found) < fewest or time.perf_counter() - began < seconds:
        turn = []
        for call in calls:
            start = time.perf_counter()
            call()
            turn.append(1e3 * (time.perf_counter() - start))
        found.append(turn)
    return found


def device_rounds(
    timers: "Sequence[Callable[[], Sequence[int]]]", runtime: "Runtime", seconds: float, *, fewest: int = 1
) -> "list[tuple[float, list[Reading]]]":
    """Readings of all timers beside the reference network, round by round, each with its second since the start."""
    from search.latency.interleave import Interleaver
    from search.latency.reference import REFERENCE

    interleaver = Interleaver(runtime.network(REFERENCE), seed=0)
    rounds: list[tuple[float, list[Reading]]] = []
    with runtime.quiet():
        interleaver.warm(timers)
        began = time.monotonic()
        while len(rounds) < fewest or time.monotonic() - began < seconds:
            at = time.monotonic() - began
            rounds.append((at, interleaver.round(timers)))
            show_progress(min(1.0, at / seconds), f"round {len(rounds)}")
    return rounds


def in_reference_units(
    timers: "Sequence[Callable[[], Sequence[int]]]", runtime: "Runtime", seconds: float
) -> list[list[float]]:
    """The parts of each timer in units of the reference network's time, all timers interleaved."""
    from search.latency.robust import weighted_median

    rounds = [readings for _, readings in device_rounds(timers, runtime, seconds, fewest=5)]
    return [
        [weighted_median([(one.ratios[part], one.weight) for one in own]) for part in range(len(own[0].ratios))]
        for own in zip(*rounds, strict=True)
    ]


def spread_text(shares: Sequence[float]) -> str:
    """The mean of shares with their standard deviation in points, "80.20% +- 0.31"; "-" for none."""
    if not shares:
        return "-"
    deviation = statistics.stdev(shares) if len(shares) > 1 else 0.0
    return f"{percent_text(statistics.mean(shares), 2)} +- {100 * deviation:.2f}"
