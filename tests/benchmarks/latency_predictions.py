"""python -m tests.benchmarks.latency_predictions: does the predicted latency equal the measured one?

Builds the default space's table from nothing in a temporary cache, then predicts and measures 40 random networks that
it was not fitted to.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from searchspace.command import CommandParser, integer, number
from searchspace.errors import PhinasError
from searchspace.latency.table import LatencyTable
from searchspace.spaces.mnasnet import mnasnet_space
from searchspace.spaces.space import SearchSpace


def parser() -> CommandParser:
    """The command line."""
    cli = CommandParser(
        "python -m tests.benchmarks.latency_predictions",
        description=__doc__ or "",
        epilog="exit codes: 0 done, 2 wrong",
    )
    cli.add_argument("--networks", type=integer, default=40, metavar="N", help="networks (default: %(default)s)")
    cli.add_argument("--seconds", type=number, default=90.0, metavar="S", help="time for them (default: %(default)g)")
    cli.add_argument("--seed", type=integer, default=1, metavar="N", help="which networks (default: %(default)s)")
    cli.add_argument("--cache-dir", type=Path, metavar="DIR", help="use (or keep) the table there")
    cli.add_argument("--quick", action="store_true", help="10 networks in 10 s, table built in 15 s")
    cli.add_argument("--json", type=Path, metavar="FILE", help="write every number there")
    return cli


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; the exit code."""
    try:
        args = parser().parse_args(argv)
        with tempfile.TemporaryDirectory() as scratch:
            _run(args, args.cache_dir or Path(scratch))
    except PhinasError as error:
        print(f"latency_predictions: {error}", file=sys.stderr)
        return 2
    return 0


def _run(args: argparse.Namespace, cache_dir: Path) -> None:
    from search.latency.build import shallow
    from search.latency.check import check, networks_to_check
    from search.latency.report import check_text, summary

    space = mnasnet_space()
    table = _built(space, cache_dir, args.quick)
    networks, seconds = (10, 10.0) if args.quick else (args.networks, args.seconds)
    found = check(table, networks_to_check(space, count=networks, seed=args.seed), seconds=seconds, explained=3)
    print(check_text(found), flush=True)
    small = networks_to_check(shallow(space), count=max(5, networks // 3), seed=args.seed)
    low = check(table, small, seconds=seconds / 5)
    print(f"the same among the shallowest networks:\n{check_text(low)}", flush=True)
    if args.json:
        args.json.write_text(json.dumps({"table": table.to_dict(), "check": summary(found)}, indent=1))


def _built(space: SearchSpace, cache_dir: Path, quick: bool) -> LatencyTable:
    """The table of the space, with what it took to get it."""
    from search.latency import table_for

    started = time.perf_counter()
    table = table_for(space, cache_dir=cache_dir, budget_s=15.0 if quick else None)
    scale, network_ms, error = table.correction
    print(
        f"table: {len(table.kernels)} kernels in {time.perf_counter() - started:.1f} s; "
        f"reference {table.reference_ms:.2f} ms; network = {network_ms:.2f} ms + {scale:.3f} x sum of kernels; "
        f"own error {error:.1%}; drift {table.drift:.2f}",
        flush=True,
    )
    return table


if __name__ == "__main__":
    sys.exit(main())
