"""python -m tests.benchmarks.latency_predictions: does the predicted latency equal the measured one?

Builds a space's table from nothing in a temporary cache, then predicts and measures 40 random networks that it was not
fitted to.
"""

import json
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path

from searchspace.files import write_atomic
from searchspace.latency.table import LatencyTable
from searchspace.spaces.presets import space_of
from searchspace.spaces.space import SearchSpace
from tests.benchmarks.harness import BenchmarkParser, benchmark


def parser() -> BenchmarkParser:
    """The command line."""
    cli = BenchmarkParser("latency_predictions", __doc__)
    cli.count("--networks", 40, "networks")
    cli.number("--seconds", 90.0, "time for them", metavar="S")
    cli.count("--seed", 1, "which networks", least=0)
    cli.flag("--space", None, "which space (default: mnasnet)", metavar="NAME|FILE")
    cli.flag("--cache-dir", None, "use (or keep) the table there", type=Path, metavar="DIR")
    cli.add_argument("--quick", action="store_true", help="10 networks in 10 s, table built in 15 s")
    cli.json("write every number there")
    return cli


def run(args: Namespace) -> str:
    """Build or read the table, predict and measure."""
    with tempfile.TemporaryDirectory() as scratch:
        return _checked(args, args.cache_dir or Path(scratch))


def _checked(args: Namespace, cache_dir: Path) -> str:
    from search.latency.build import shallow
    from search.latency.check import check, networks_to_check
    from search.latency.report import check_text, summary

    space = space_of(args.space, classes=1000, resolution=224)
    table = _built(space, cache_dir, args.quick)
    networks, seconds = (10, 10.0) if args.quick else (args.networks, args.seconds)
    found = check(table, networks_to_check(space, count=networks, seed=args.seed), seconds=seconds, explained=3)
    print(check_text(found), flush=True)
    small = networks_to_check(shallow(space), count=max(5, networks // 3), seed=args.seed)
    low = check(table, small, seconds=seconds / 5)
    if args.json:
        write_atomic(args.json, json.dumps({"table": table.to_dict(), "check": summary(found)}, indent=1))
    return f"the same among the shallowest networks:\n{check_text(low)}"


def _built(space: SearchSpace, cache_dir: Path, quick: bool) -> LatencyTable:
    """The table of the space, with what it took to get it."""
    from search.latency import table_for
    from search.latency.report import table_text

    started = time.perf_counter()
    table = table_for(space, cache_dir=cache_dir, budget_s=15.0 if quick else None)
    print(f"measured in {time.perf_counter() - started:.1f} s", table_text(table), sep="\n", flush=True)
    return table


main = benchmark(parser, run)


if __name__ == "__main__":
    sys.exit(main())
