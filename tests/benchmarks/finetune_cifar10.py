"""python -m tests.benchmarks.finetune_cifar10: what a published network reaches in so many minutes.

Runs `search.finetune` for several seeds, one after the other, each on all cores. A seed decides the splits too: the
50,000 training images of CIFAR-10 that this machine has are split 70/15/15 into train, validation and test. A run that
is finished is not run again. Target: the mean test accuracy at the deployed size.
"""

import sys
from argparse import Namespace
from pathlib import Path

from searchspace.report import interval_text, percent_text, table
from tests.benchmarks.harness import CIFAR, BenchmarkParser, Verdict, benchmark, needed, spread_text

TARGET = 0.87


def parser() -> BenchmarkParser:
    """The command line."""
    cli = BenchmarkParser("finetune_cifar10", __doc__)
    cli.flag("--data", str(CIFAR), "data set")
    cli.flag("--network", "efficientnet_lite0", "network, or a spec file")
    cli.flag("--weights", "auto", "where it starts from")
    cli.flag("--seeds", "0,1,2", "of each run")
    cli.number("--minutes", 30.0, "of each run", metavar="M")
    cli.number("--target", TARGET, "mean test accuracy to reach, a fraction")
    cli.count("--resolution", None, "pixels it is deployed at (default: by the images' own size)", metavar="PX")
    return cli


def run(args: Namespace) -> Verdict:
    """What is missing, and what all runs reached. Raises Skipped, PhinasError."""
    from search.finetune import finetune

    stem = Path(needed(args.data)).name.partition(".")[0].partition(":")[0]
    rows, reached, px = [], [], 0
    for seed in map(int, args.seeds.split(",")):
        found = finetune(
            args.data,
            network=args.network,
            weights=args.weights,
            minutes=args.minutes,
            resolution=args.resolution,
            seed=seed,
            study=f"tuned-{stem}-{args.minutes:g}min-{seed}",
        ).summary
        reached.append(found["test_accuracy"])
        px = found["resolution"]
        rows.append(
            [
                str(seed),
                percent_text(found["test_accuracy"], 2),
                interval_text(found["test_low"], found["test_high"], percent_text),
                percent_text(found["validation_accuracy"], 2),
                str(found["images_seen"]),
                f"{found['spent_s'] / 60:.2f}",
            ]
        )
    mean = sum(reached) / len(reached)
    headers = ["seed", f"test at {px} px", "95 % interval", "validation", "images seen", "minutes"]
    spread = f"mean {spread_text(reached)} points (sd of {len(reached)} seeds)" if len(reached) > 1 else ""
    verdict = f"target {percent_text(args.target)}: {'reached' if mean >= args.target else 'missed'}"
    return Verdict("\n".join(filter(None, [table(headers, rows), spread, verdict])), mean >= args.target)


main = benchmark(parser, run, stopped="stopped; finished runs are kept, the same command goes on")


if __name__ == "__main__":
    sys.exit(main())
