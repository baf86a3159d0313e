"""python -m tests.benchmarks.netadapt_retest STUDY --latency TABLE.json: are accepted cuts faster when timed again?

A cut is accepted where it measures no slower than the network before it, and so the ones that luck made look fast are
among the accepted. Each accepted step of finished prunings is timed once more, both networks interleaved beside the
reference, in random order of steps. The table must be of this machine, as it is for the pruning itself.
"""

import json
import random
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from searchspace.command import show_progress
from searchspace.errors import InvalidArgument, InvalidTable
from searchspace.report import interval_text, percent_text, table
from tests.benchmarks.harness import BenchmarkParser, benchmark

if TYPE_CHECKING:
    from collections.abc import Sequence

    from search.netadapt.history import StoredHistory
    from search.netadapt.timing import PairedTimer


class Step(NamedTuple):
    """An accepted step: the ratio of times after / before that it was accepted by, and that of now.

    `low` and `high` are the ends of the 95 % interval of `ratio`.
    """

    name: str
    accepted: float
    ratio: float
    low: float
    high: float


def parser() -> BenchmarkParser:
    """The command line."""
    note = "asked: 100 % of the accepted cuts not slower. A few seconds a step."
    cli = BenchmarkParser("netadapt_retest", __doc__, note=note)
    cli.add_argument("study", nargs="+", metavar="STUDY", help="prunings: python -m studies lists them")
    cli.add_argument("--latency", type=Path, required=True, metavar="TABLE.json", help="this machine's table")
    cli.count("--seed", 1, "of the order", least=0)
    cli.add_argument("--json", action="store_true", help="print JSON")
    return cli


def retested(histories: "Sequence[StoredHistory]", timer: "PairedTimer", *, seed: int) -> list[Step]:
    """Every timed and accepted step of the histories."""
    pairs = [
        (before.spec, after.spec, after.accepted.name, after.accepted.timing.ratio)
        for history in histories
        for before, after in zip(history.iterations, history.iterations[1:], strict=False)
        if before.spec and after.spec and after.accepted and after.accepted.timing
    ]
    found: dict[int, Step] = {}
    for done, place in enumerate(random.Random(seed).sample(range(len(pairs)), len(pairs))):
        before, after, name, accepted = pairs[place]
        now = timer.pair(before, after)
        found[place] = Step(name, accepted, now.ratio, now.low, now.high)
        show_progress((done + 1) / len(pairs), "timing accepted steps again")
    return [found[place] for place in sorted(found)]


def report(steps: list[Step]) -> str:
    """Each step and the shares."""

    def ratio(value: float) -> str:
        return f"{value:.3f}"

    rows = [[ratio(one.accepted), ratio(one.ratio), interval_text(one.low, one.high, ratio), one.name] for one in steps]
    faster = sum(one.ratio <= 1 for one in steps)
    slower = sum(one.low > 1 for one in steps)
    return (
        f"{table(['accepted', 'again', 'interval', 'step'], rows, text_columns=(2, 3))}\n"
        f"{faster} of {len(steps)} accepted steps ({percent_text(faster / len(steps), 0)}) are not slower when timed "
        f"again, {slower} surely slower"
    )


def run(args: Namespace) -> str:
    """The report. Raises PhinasError."""
    from search.latency.runtimes import is_this_machine
    from search.netadapt.history import StoredHistory
    from search.netadapt.timing import DeviceTimer
    from searchspace.latency.table import describe, read_table
    from studies.storage import existing

    latencies = read_table(args.latency)
    if not is_this_machine(latencies.identity):
        raise InvalidTable(f"--latency must be a table of this machine and setting, got {describe(latencies.identity)}")
    histories = [StoredHistory(existing(name), keep_all=True) for name in args.study]
    steps = retested(histories, DeviceTimer(latencies, seed=args.seed), seed=args.seed)
    if not steps:
        raise InvalidArgument(
            f"STUDY must be prunings whose cuts were timed, got {' '.join(args.study)}: python -m search.netadapt "
            "--budget-ms makes one"
        )
    return json.dumps([one._asdict() for one in steps], indent=1) if args.json else report(steps)


main = benchmark(parser, run)


if __name__ == "__main__":
    sys.exit(main())
