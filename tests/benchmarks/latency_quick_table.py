"""python -m tests.benchmarks.latency_quick_table: how long a search's table takes here, and how wrong it is.

Measures the quick table of a space from nothing in a temporary cache, then predicts and measures random
networks that it was not fitted to.
"""

import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

from searchspace.command import show_progress
from tests.benchmarks.harness import BenchmarkParser, Verdict, benchmark

ASKED_S = 30.0


def parser() -> BenchmarkParser:
    """The command line."""
    cli = BenchmarkParser("latency_quick_table", __doc__, note=f"asked: at most {ASKED_S:.0f} s")
    cli.count("--networks", 40, "networks to measure")
    cli.number("--seconds", 60.0, "for them", metavar="S")
    cli.count("--resolution", 224, "of the images", metavar="PX")
    cli.count("--threads", None, "of the runtime (default: as many as torch uses)")
    cli.flag("--space", None, "which space (default: mnasnet)", metavar="NAME|FILE")
    cli.flag("--runtime", "eager", "which times", metavar="NAME")
    return cli


def run(args: Namespace) -> Verdict:
    """Measure the table, and networks."""
    from search.latency.runtimes import runtime

    return timed(runtime(args.runtime, threads=args.threads), args)


def timed(machine: Any, args: Namespace) -> Verdict:
    """The same by the runtime `machine`."""
    from search.latency.check import check, networks_to_check
    from search.latency.quick import quick_table
    from search.latency.report import check_text, table_text
    from searchspace.spaces.presets import space_of

    space, began = space_of(args.space, resolution=args.resolution, classes=10), time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        table = quick_table(space, cache_dir=Path(scratch), progress=show_progress, runtime=machine)
    took_s = time.monotonic() - began
    specs = networks_to_check(space, count=args.networks)
    found = check(table, specs, seconds=args.seconds, runtime=machine, progress=show_progress)
    text = f"measured in {took_s:.1f} s, {ASKED_S:.0f} s are asked\n{table_text(table)}\n{check_text(found)}"
    return Verdict(text, took_s <= ASKED_S)


main = benchmark(parser, run)


if __name__ == "__main__":
    sys.exit(main())
