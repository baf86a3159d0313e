"""python -m tests.benchmarks.netadapt_retest STUDY --latency TABLE.json: are accepted cuts faster when timed again?

A cut is accepted where it measures no slower than the network before it, and so the ones that luck made look fast are
among the accepted. Each accepted step of finished refinements is timed once more, both networks interleaved beside the
reference, in random order of steps. The table must be of this machine, as it is for the refinement itself.
"""

import json
import random
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from searchspace.command import CommandParser, guarded, integer, show, show_progress
from searchspace.errors import InvalidArgument, InvalidTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from search.netadapt.history import History
    from search.netadapt.timing import PairedTimer


class Step(NamedTuple):
    """An accepted step: the ratio of times after / before that it was accepted by and that of now, with its 95 %
    interval."""

    name: str
    accepted: float
    ratio: float
    low: float
    high: float


def parser() -> CommandParser:
    """The command line."""
    cli = CommandParser(
        "python -m tests.benchmarks.netadapt_retest",
        description=__doc__ or "",
        epilog="asked: 100 % of the accepted cuts not slower. A few seconds a step.",
    )
    cli.add_argument("study", nargs="+", metavar="STUDY", help="refinements: python -m studies lists them")
    cli.add_argument("--latency", type=Path, required=True, metavar="TABLE.json", help="this machine's table")
    cli.add_argument("--seed", type=integer, default=1, metavar="N", help="of the order (default: %(default)s)")
    cli.add_argument("--json", action="store_true", help="print JSON")
    return cli


def retested(histories: "Sequence[History]", timer: "PairedTimer", *, seed: int) -> list[Step]:
    """Every timed and accepted step of the histories."""
    pairs = [
        (before.spec, after.spec, after.accepted.name, after.accepted.timing.ratio)
        for history in histories
        for before, after in zip(history.iterations, history.iterations[1:], strict=False)
        if after.accepted and after.accepted.timing
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
    lines = [f"{'accepted':>9}{'again':>8}   interval          step"]
    lines += [f"{one.accepted:9.3f}{one.ratio:8.3f}   {one.low:.3f} to {one.high:.3f}   {one.name}" for one in steps]
    faster = sum(one.ratio <= 1 for one in steps)
    slower = sum(one.low > 1 for one in steps)
    return "\n".join(
        [
            *lines,
            f"{faster} of {len(steps)} accepted steps ({faster / len(steps):.0%}) are not slower when timed again, "
            f"{slower} surely slower",
        ]
    )


def run(args: Namespace) -> list[Step]:
    """Raises PhinasError."""
    from search.latency.runtimes import is_here
    from search.netadapt.history import History
    from search.netadapt.timing import DeviceTimer
    from searchspace.latency.table import describe, read_table
    from studies.storage import existing

    table = read_table(args.latency)
    if not is_here(table.identity):
        raise InvalidTable(f"--latency must be a table of this machine and setting, got {describe(table.identity)}")
    histories = [History(existing(name), keep_all=True) for name in args.study]
    steps = retested(histories, DeviceTimer(table, seed=args.seed), seed=args.seed)
    if not steps:
        raise InvalidArgument(
            f"STUDY must be refinements whose cuts were timed, got {' '.join(args.study)}: python -m search.netadapt "
            "--budget-ms makes one"
        )
    return steps


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; the exit code."""

    def job() -> int:
        args = parser().parse_args(argv)
        steps = run(args)
        return show(json.dumps([one._asdict() for one in steps], indent=1) if args.json else report(steps))

    return guarded("netadapt_retest", job, stopped="stopped; nothing is kept")


if __name__ == "__main__":
    sys.exit(main())
