"""python -m tests.benchmarks.detector_accuracy: how good is a detector after some minutes on two cores?

Each seed trains one on the training images, from packaged weights and from random ones, and tests it once on the
source's own test images. Runs go one after the other, each on all cores; finished ones are kept. Targets: mean AP50.
Seen, on BCCD: 87.5 % after 20 minutes of one core, 82.0 and 76.0 % after 8 (with random depthwise kernels, before they
began near the identity). Digits: scaling/efficientdet/README.md. Not seen: three seeds of one length, any from
scratch.
"""

import sys
from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import Any

from searchspace.report import percent_text, table
from tests.benchmarks.harness import BenchmarkParser, Kept, Row, Verdict, benchmark, needed, spread_text

BCCD = Path("../shared/data/bccd.tar")


def parser() -> BenchmarkParser:
    """The command line."""
    cli = BenchmarkParser("detector_accuracy", __doc__)
    cli.json()
    cli.flag("--data", str(BCCD), "images with boxes; digits are scenes made here")
    cli.flag("--weights", "auto,none", "where backbones start from")
    cli.flag("--targets", "0.80,0.70", "mean AP50 to reach with each of them, fractions")
    cli.flag("--seeds", "0,1,2", "of each run")
    cli.number("--minutes", 30.0, "of each run", metavar="M")
    cli.count("--phi", 0, "of neck and heads", least=0)
    cli.count("--resolution", None, "pixels; the default is that of training", metavar="PX")
    cli.count("--batch-size", 8, "images of a step")
    cli.flag("--backbone", None, "a spec file or a name of the zoo; the default is that of training")
    cli.number("--learning-rate", 2e-3, "at its highest", metavar="X")
    return cli


def run(args: Namespace) -> Verdict:
    """What is missing, and the table. Raises Skipped, PhinasError."""
    needed(args.data)
    names = ("data", "minutes", "phi", "resolution", "batch_size", "backbone", "learning_rate")
    kept = Kept(args.json, {name: getattr(args, name) for name in names})
    seeds = [int(seed) for seed in args.seeds.split(",")]
    texts, reached, lines = [], True, []
    for weights, target in zip(args.weights.split(","), map(float, args.targets.split(",")), strict=True):
        own = []
        for seed in seeds:
            row = kept.once(f"{weights}, seed {seed}", partial(trained, args, weights, seed))
            print(f"{weights}, seed {seed}: AP50 {percent_text(row['ap50'])}", file=sys.stderr, flush=True)
            own.append(row)
            cells = [percent_text(row["ap50"]), percent_text(row["ap"]), f"{row['minutes']:.1f}", str(row["steps"])]
            lines.append([f"{weights}, seed {seed}", row["detector"], *cells])
        mean = sum(row["ap50"] for row in own) / len(own)
        reached &= mean >= target
        texts.append(f"weights {weights}: AP50 {spread_text([row['ap50'] for row in own])}, to reach {target:.0%}")
    head = table(["run", "detector", "AP50", "AP", "minutes", "steps"], lines, text_columns=(0, 1))
    return Verdict("\n".join([head, *texts]), reached)


def trained(args: Namespace, weights: str, seed: int) -> Row:
    """One training and its test."""
    from scaling.efficientdet.job import Settings, train

    settings = Settings(
        data=args.data,
        phi=args.phi,
        backbone=args.backbone,
        resolution=args.resolution,
        weights=weights,
        minutes=args.minutes,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        seed=seed,
    )
    found = train(settings, Path("detectors") / f"{settings.name}-{args.minutes:g}min-{weights}-{seed}")
    test: dict[str, Any] = found.summary["test"]
    return {
        "detector": found.summary["detector"],
        "ap50": test["ap50"],
        "ap": test["ap"],
        "ap50_of": test["ap50_of"],
        "minutes": found.summary["seconds"] / 60,
        "steps": found.summary["steps"],
    }


main = benchmark(parser, run, stopped="stopped; finished runs are kept, the same command goes on")


if __name__ == "__main__":
    sys.exit(main())
