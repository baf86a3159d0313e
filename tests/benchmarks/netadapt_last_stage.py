"""python -m tests.benchmarks.netadapt_last_stage: is a search that prunes its winner better, at equal minutes?

The whole of search.run for the embedded task, with its last stage (--overshoot 1.15, the default: networks a little
over the budget are looked at and the winner is pruned down to it) and without (--overshoot 1), for several seeds: in
turn, or with --together both at the same time, each on one thread, which halves the time and disturbs both alike. Each
search is a study of its own (stage-20ms-SEED-with, -without), so the same command goes on where it stopped.
"""

import json
import os
import statistics
import subprocess
import sys
from argparse import Namespace
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from searchspace.errors import InvalidArgument, PhinasError
from searchspace.report import ms_text, percent_text, table
from tests.benchmarks.harness import BenchmarkParser, Row, benchmark

ARMS = {"with": "1.15", "without": "1"}


def parser() -> BenchmarkParser:
    """The command line."""
    note = "asked: report. With its defaults 54 minutes of a quiet machine."
    cli = BenchmarkParser("netadapt_last_stage", __doc__, note=note)
    cli.number("--budget-ms", 20.0, "latency budget", metavar="MS")
    cli.number("--minutes", 9.0, "of each search", metavar="M")
    cli.count("--seeds", 3, "pairs of searches")
    cli.add_argument("--together", action="store_true", help="both searches of a seed at once, with one thread each")
    cli.flag("--data", None, "as search.run's (default: the embedded task)", metavar="SOURCE")
    more = "further flags of search.run, without their dashes, as resolution=64"
    cli.add_argument("--more", nargs="*", default=[], metavar="FLAG", help=more)
    cli.add_argument("--json", action="store_true", help="print JSON")
    return cli


def searched(args: Namespace, seed: int, arm: str) -> dict[str, Any]:
    """The summary of one search. Raises PhinasError with what the search said."""
    name = f"stage-{args.budget_ms:g}ms-{seed}-{arm}" + "-together" * args.together
    flags = f"--json --budget-ms {args.budget_ms:g} --seed {seed} --overshoot {ARMS[arm]} --study {name}"
    words = [sys.executable, "-m", "search.run", *flags.split()]
    given = more_of(args)
    words += [] if "trials" in given else ["--minutes", f"{args.minutes:g}"]
    words += ["--data", args.data] if args.data else []
    words += [word for flag, value in given.items() for word in (f"--{flag}", value)]
    ended = subprocess.run(words, capture_output=True, text=True, check=False, env=_environment(args))
    if ended.returncode:
        raise PhinasError(f"{' '.join(words[1:])} ended with {ended.returncode}: {ended.stderr.strip()[-500:]}")
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def more_of(args: Namespace) -> dict[str, str]:
    """{flag: value} of --more. Raises InvalidArgument."""
    if args.together and (args.more or args.data):
        raise InvalidArgument("--together is for the embedded task as it is, got --more or --data: leave one out")
    for flag in args.more:
        if "=" not in flag:
            raise InvalidArgument(f"--more takes FLAG=VALUE, such as resolution=64, got {flag!r}")
    return dict(flag.split("=", 1) for flag in args.more)


def _environment(args: Namespace) -> dict[str, str]:
    return {**os.environ, **({"OMP_NUM_THREADS": "1"} if args.together else {})}


def pair(args: Namespace, seed: int) -> list[Row]:
    """The rows of a seed. Raises PhinasError."""
    if not args.together:
        arms = [*ARMS][:: 1 if seed % 2 == 0 else -1]
        return [row_of(searched(args, seed, arm), seed, arm) for arm in arms]
    # The table once, with nothing beside it.
    words = [sys.executable, "-m", "search.latency", "build", "--no-zoo", "--classes", "10"]
    built = subprocess.run(words, check=False, capture_output=True, text=True, env=_environment(args))
    if built.returncode:
        raise PhinasError(f"the table could not be measured: {built.stderr.strip()[-500:]}")
    with ThreadPoolExecutor(len(ARMS)) as pool:
        found = pool.map(partial(searched, args, seed), ARMS)
        return [row_of(summary, seed, arm) for arm, summary in zip(ARMS, found, strict=True)]


def row_of(summary: dict[str, Any], seed: int, arm: str) -> Row:
    """What is compared of a search."""
    winner = summary["winner"]
    ms = winner["measured_latency_ms"] or winner["predicted_latency_ms"]
    return {
        "seed": seed,
        "arm": arm,
        "test_accuracy": winner["test_accuracy"],
        "validation_accuracy": winner["validation_accuracy"],
        "measured_ms": ms,
        "used": ms / summary["budget_ms"],
        "within": summary["within_budget"],
        "pruned": bool(summary["refined"]),
        "trained": summary["trials"].get("trained", 0),
        "minutes": summary["spent_s"] / 60,
    }


def report(rows: list[Row]) -> str:
    """The comparison for people."""
    cells = [
        [
            str(row["seed"]),
            row["arm"],
            percent_text(row["test_accuracy"]),
            percent_text(row["validation_accuracy"]),
            ms_text(row["measured_ms"]),
            percent_text(row["used"]),
            str(row["trained"]),
            f"{row['minutes']:.1f}",
            "pruned" * row["pruned"],
            "" if row["within"] else "NOT within the budget",
        ]
        for row in rows
    ]
    headers = ["seed", "stage", "test", "validation", "ms", "used", "trained", "minutes", "", ""]
    means = {arm: 100 * statistics.mean(row["test_accuracy"] for row in rows if row["arm"] == arm) for arm in ARMS}
    return (
        f"{table(headers, cells, text_columns=(1, 8, 9))}\n"
        f"mean test accuracy: {means['with']:.2f} % with the stage, {means['without']:.2f} % without"
    )


def run(args: Namespace) -> str:
    """All searches. Raises PhinasError."""
    more_of(args)  # a mistake is reported before minutes of measuring
    rows: list[Row] = []
    for seed in range(args.seeds):
        rows += pair(args, seed)
        found = ", ".join(f"{row['arm']} the stage {percent_text(row['test_accuracy'])}" for row in rows[-len(ARMS) :])
        print(f"seed {seed}: {found}", file=sys.stderr, flush=True)
    return json.dumps(rows, indent=1) if args.json else report(rows)


main = benchmark(parser, run, stopped="stopped; what was searched is kept, the same command goes on")


if __name__ == "__main__":
    sys.exit(main())
