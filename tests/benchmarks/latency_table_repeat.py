"""python -m tests.benchmarks.latency_table_repeat FIRST.json SECOND.json: do tables of different moments say the same?

Two tables of one device and setting that search.latency build --out wrote at different moments, on 200 random networks
of the default space: in ms, and in units of the reference (where each was built with a cache of its own, they may have
seen different quiet speeds of it).
"""

import json
import random
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from searchspace.errors import InvalidTable
from searchspace.report import interval_text, ms_text, signed_percent_text
from tests.benchmarks.harness import BenchmarkParser, benchmark

if TYPE_CHECKING:
    from searchspace.latency.table import LatencyTable

SHARES = (0.05, 0.5, 0.95)


def parser() -> BenchmarkParser:
    """The command line."""
    cli = BenchmarkParser(
        "latency_table_repeat",
        __doc__,
        note="asked: a median difference of at most 3 % an hour apart (python -m search.latency build --again --out "
        "SECOND.json measures anew). A second.",
    )
    cli.add_argument("first", type=Path, metavar="FIRST.json")
    cli.add_argument("second", type=Path, metavar="SECOND.json")
    cli.count("--networks", 200, "random networks")
    cli.add_argument("--json", action="store_true", help="print JSON")
    return cli


def compared(first: "LatencyTable", second: "LatencyTable", networks: int) -> dict[str, list[float]]:
    """The second table's predictions over the first's, less 1, at the quantiles of SHARES.

    In ms and in units of the reference.
    """
    from searchspace.graph import lower
    from searchspace.spaces.mnasnet import mnasnet_space

    space, rng = mnasnet_space(resolution=first.identity["resolution"]), random.Random("networks to compare")
    graphs = [lower(space.spec(space.sample(rng))) for _ in range(networks)]
    ratios = sorted(second.predict(graph).latency_ms / first.predict(graph).latency_ms for graph in graphs)
    units = {"ms": 1.0, "units of the reference": first.reference_ms / second.reference_ms}
    return {
        name: [unit * ratios[round(share * (len(ratios) - 1))] - 1 for share in SHARES] for name, unit in units.items()
    }


def run(args: Namespace) -> str:
    """The report. Raises InvalidTable for tables that cannot be compared."""
    from searchspace.latency.table import describe, read_table

    first, second = read_table(args.first), read_table(args.second)
    if first.identity != second.identity:
        raise InvalidTable(
            f"two tables of one device and setting can be compared, {args.first} is of {describe(first.identity)}, "
            f"{args.second} of {describe(second.identity)}"
        )
    found = compared(first, second, args.networks)
    if args.json:
        return json.dumps({"reference_ms": [first.reference_ms, second.reference_ms], **found}, indent=1)
    lines = [
        f"in {name}: {signed_percent_text(middle)}, 90 % of the networks "
        f"{interval_text(low, high, signed_percent_text)}"
        for name, (low, middle, high) in found.items()
    ]
    head = f"the second table against the first, {args.networks} networks"
    quiet = f"the reference takes {ms_text(first.reference_ms)} and {ms_text(second.reference_ms)} ms in them"
    return "\n".join([head, *lines, quiet])


main = benchmark(parser, run)


if __name__ == "__main__":
    sys.exit(main())
