"""python -m tests.benchmarks.search_versus_random: is the search worth its minutes?

Runs `search.run` with the default sampler and with honest random search, with the same data, minutes, estimator
and pruner, for several seeds, each pair at the same time on half of the cores each, so that drift of the machine
hits both alike. Prints the winners' test accuracies with mean and spread. A run that is finished is not run again.
"""

import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from search.cores import available_cores
from searchspace.errors import PhinasError
from searchspace.files import read_json
from searchspace.report import ms_text, percent_text, table
from studies.storage import SUMMARY, folder
from tests.benchmarks.harness import CIFAR, BenchmarkParser, benchmark, needed, spread_text


def parser() -> BenchmarkParser:
    """The command line."""
    cli = BenchmarkParser("search_versus_random", __doc__)
    cli.flag("--data", str(CIFAR), "data set")
    cli.number("--budget-ms", 20.0, "latency budget", metavar="MS")
    cli.number("--minutes", 30.0, "of each run", metavar="M")
    cli.count("--proxy-resolution", 48, "training pixels", metavar="PX")
    cli.count("--seeds", 3, "runs of each sampler")
    cli.flag("--weights", "none", "where candidates start from")
    cli.flag("--samplers", "block,random", "compared samplers")
    cli.add_argument("--one-at-a-time", action="store_true", help="one run after the other, each on all cores")
    return cli


def study_of(args: Namespace, sampler: str, seed: int) -> str:
    """The study of one run."""
    stem = Path(args.data).name.partition(".")[0]
    return f"versus-{stem}-{args.minutes:g}min-{sampler}-{seed}"


def start(args: Namespace, sampler: str, seed: int, threads: int) -> "subprocess.Popen[bytes]":
    """One run of search.run in the background; its log stands beside its study."""
    name = study_of(args, sampler, seed)
    same = ("budget_ms", "data", "minutes", "proxy_resolution", "weights")
    flags = {f"--{flag.replace('_', '-')}": getattr(args, flag) for flag in same}
    flags |= {"--sampler": sampler, "--seed": seed, "--study": name}
    command = [sys.executable, "-m", "search.run", *(str(word) for pair in flags.items() for word in pair)]
    folder(name).mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    with open(folder(name) / "log.txt", "ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment)


def summary_of(args: Namespace, sampler: str, seed: int) -> dict[str, Any] | None:
    """The summary of a finished run."""
    path = folder(study_of(args, sampler, seed)) / SUMMARY
    return read_json(path) if path.exists() else None


def run_missing(args: Namespace, samplers: list[str]) -> None:
    """Run what has no summary yet, a seed's samplers side by side (or one after the other)."""
    cores = available_cores()
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


def report(args: Namespace, samplers: list[str]) -> str:
    """Test accuracy of every finished run, mean and standard deviation by sampler."""
    rows, means = [], []
    for sampler in samplers:
        found = {seed: summary_of(args, sampler, seed) for seed in range(args.seeds)}
        finished = {seed: summary for seed, summary in found.items() if summary is not None}
        for seed, summary in finished.items():
            winner, trials = summary["winner"], summary["trials"]
            rows.append(
                [
                    sampler,
                    str(seed),
                    percent_text(winner["test_accuracy"], 2),
                    percent_text(winner["validation_accuracy"], 2),
                    ms_text(winner["measured_latency_ms"]),
                    str(trials.get("trained", 0)),
                    str(trials.get("stopped_early", 0)),
                ]
            )
        accuracies = [summary["winner"]["test_accuracy"] for summary in finished.values()]
        means.append(f"{sampler}: mean {spread_text(accuracies)} points (sd of {len(accuracies)} seeds)")
    headers = ["sampler", "seed", "test", "validation", "measured ms", "trained", "stopped"]
    return "\n".join([table(headers, rows, text_columns=(0,)), *means])


def run(args: Namespace) -> str:
    """What is missing, and the comparison. Raises Skipped, PhinasError."""
    samplers = args.samplers.split(",")
    needed(args.data)
    run_missing(args, samplers)
    rows = [summary_of(args, sampler, seed) for sampler in samplers for seed in range(args.seeds)]
    print(json.dumps([row["winner"] for row in rows if row]), file=sys.stderr)
    return report(args, samplers)


main = benchmark(parser, run, stopped="stopped; finished runs are kept, the same command goes on")


if __name__ == "__main__":
    sys.exit(main())
