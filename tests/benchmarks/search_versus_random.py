"""python -m tests.benchmarks.search_versus_random: is the search worth its minutes?

Runs `search.run` with the default sampler and with honest random search, with the same data, minutes, estimator
and pruner, for several seeds, each pair at the same time on half of the cores each, so that drift of the machine
hits both alike. Prints the winners' test accuracies with mean and spread. A run that is finished is not run again.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from searchspace.errors import PhinasError
from searchspace.files import read_json
from studies.storage import folder

CIFAR = Path("../shared/data/cifar10-train.tar")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    cli = argparse.ArgumentParser(
        "python -m tests.benchmarks.search_versus_random",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    cli.add_argument("--data", default=str(CIFAR), help="data set (default: %(default)s)")
    cli.add_argument("--budget-ms", type=float, default=20.0, help="latency budget (default: %(default)s)")
    cli.add_argument("--minutes", type=float, default=30.0, help="minutes of each run (default: %(default)s)")
    cli.add_argument("--proxy-resolution", type=int, default=48, help="training pixels (default: %(default)s)")
    cli.add_argument("--seeds", type=int, default=3, help="number of seeds (default: %(default)s)")
    cli.add_argument("--samplers", default="gp,random", help="compared samplers (default: %(default)s)")
    cli.add_argument("--one-at-a-time", action="store_true", help="one run after the other, each on all cores")
    return cli


def study_of(args: argparse.Namespace, sampler: str, seed: int) -> str:
    """The study of one run."""
    stem = Path(args.data).name.partition(".")[0]
    return f"versus-{stem}-{args.minutes:g}min-{sampler}-{seed}"


def start(args: argparse.Namespace, sampler: str, seed: int, threads: int) -> "subprocess.Popen[bytes]":
    """One run of search.run in the background; its log stands beside its study."""
    name = study_of(args, sampler, seed)
    command = [
        sys.executable,
        "-m",
        "search.run",
        "--budget-ms",
        str(args.budget_ms),
        "--data",
        args.data,
        "--minutes",
        str(args.minutes),
        "--proxy-resolution",
        str(args.proxy_resolution),
        "--sampler",
        sampler,
        "--seed",
        str(seed),
        "--study",
        name,
    ]
    folder(name).mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    with open(folder(name) / "log.txt", "ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment)


def summary_of(args: argparse.Namespace, sampler: str, seed: int) -> dict[str, Any] | None:
    """The summary of a finished run."""
    path = folder(study_of(args, sampler, seed)) / "summary.json"
    if not path.exists():
        return None
    summary: dict[str, Any] = read_json(path)
    return summary


def run_missing(args: argparse.Namespace, samplers: list[str]) -> None:
    """Run what has no summary yet, a seed's samplers side by side (or one after the other)."""
    cores = os.cpu_count() or 1
    side_by_side = 1 if args.one_at_a_time else len(samplers)
    for seed in range(args.seeds):
        todo = [sampler for sampler in samplers if summary_of(args, sampler, seed) is None]
        while todo:
            now, todo = todo[:side_by_side], todo[side_by_side:]
            print(f"seed {seed}: running {', '.join(now)} for {args.minutes:g} minutes", file=sys.stderr, flush=True)
            runs = [start(args, sampler, seed, max(1, cores // side_by_side)) for sampler in now]
            for sampler, run in zip(now, runs, strict=True):
                if run.wait() != 0:
                    raise PhinasError(
                        f"{sampler} seed {seed} failed; see {folder(study_of(args, sampler, seed))}/log.txt"
                    )


def table(args: argparse.Namespace, samplers: list[str]) -> str:
    """Test accuracy of every finished run, mean and standard deviation by sampler."""
    lines = [f"{'sampler':10} {'seed':>4} {'test':>7} {'validation':>10} {'measured':>9} {'trained':>7} {'stopped':>7}"]
    for sampler in samplers:
        accuracies = []
        for seed in range(args.seeds):
            summary = summary_of(args, sampler, seed)
            if summary is None:
                continue
            winner, trials = summary["winner"], summary["trials"]
            accuracies.append(winner["test_accuracy"])
            lines.append(
                f"{sampler:10} {seed:4} {winner['test_accuracy']:7.2%} {winner['validation_accuracy']:10.2%} "
                f"{winner['measured_latency_ms']:6.2f} ms {trials.get('trained', 0):7} "
                f"{trials.get('stopped_early', 0):7}"
            )
        if len(accuracies) > 1:
            mean, spread = statistics.mean(accuracies), statistics.stdev(accuracies)
            lines.append(f"{sampler:10} mean {mean:7.2%} +- {100 * spread:.2f} points (sd of {len(accuracies)} seeds)")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run the comparison; the exit code."""
    args = parser().parse_args(argv)
    samplers = args.samplers.split(",")
    if not Path(args.data).exists():
        print(f"skipped: this study needs {args.data}, which is not on this machine (--data names another)")
        return 0
    try:
        run_missing(args, samplers)
    except PhinasError as error:
        print(error, file=sys.stderr)
        return 2
    print(table(args, samplers))
    rows = [summary_of(args, sampler, seed) for sampler in samplers for seed in range(args.seeds)]
    print(json.dumps([row["winner"] for row in rows if row]), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
