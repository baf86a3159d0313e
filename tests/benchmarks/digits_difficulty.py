"""python -m tests.benchmarks.digits_difficulty: does the embedded task tell networks apart at the default effort?

It trains networks of the default space by the default recipe, each from two seeds (first weights, order and
augmentation; the images are the same), and shows three figures with their targets: the accuracy between the largest
and the smallest corner (at least 5 points), the highest accuracy (at most 97 %), and the median difference between
two seeds of one network (below 1 point).
"""

import random
import statistics
import sys
from argparse import Namespace
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING

from searchspace.report import count_text, paragraphs, percent_text, table
from tests.benchmarks.harness import BenchmarkParser, Kept, Verdict, benchmark

if TYPE_CHECKING:
    from search.data import Dataset
    from search.training.recipe import Recipe
    from searchspace.spec import NetworkSpec

SEEDS = (0, 1)
Results = dict[str, list[dict[str, float]]]


def parser() -> BenchmarkParser:
    """The command line."""
    cli = BenchmarkParser("digits_difficulty", __doc__)
    cli.count("--random", 6, "random networks", least=0)
    cli.add_argument("--quick", action="store_true", help="a tenth of the images, no random networks: does it run?")
    cli.json()
    return cli


def networks(count: int) -> dict[str, "NetworkSpec"]:
    """The corners, the known networks and `count` random ones, by name."""
    from searchspace.spaces.mnasnet import KNOWN, mnasnet_space

    space = mnasnet_space(classes=10)
    choices = {which: space.corner(which) for which in ("smallest", "largest")} | KNOWN
    choices |= {f"random {number}": space.sample(random.Random(number)) for number in range(count)}
    return {name: space.spec(chosen) for name, chosen in choices.items()}


def measure(specs: dict[str, "NetworkSpec"], data: "Dataset", recipe: "Recipe", kept: Kept) -> Results:
    """By network, for each seed: accuracy and seconds. Trainings that are kept are not repeated."""
    from search.accuracy import EstimatorSettings, estimator

    def trained(spec: "NetworkSpec", seed: int) -> dict[str, float]:
        judge = estimator("training", EstimatorSettings(recipe=recipe, seed=seed))
        judge.prepare(data)
        found = judge.score(spec)
        return {"accuracy": found.mean, "seconds": found.seconds}

    results: Results = {}
    for name, spec in specs.items():
        for seed in SEEDS:
            run = kept.once(f"{spec.fingerprint()} {seed}", partial(trained, spec, seed))
            results.setdefault(name, []).append(run)
            print(f"{name}, seed {seed}: {percent_text(run['accuracy'])}", file=sys.stderr, flush=True)
    return results


def figures(results: Results) -> list[tuple[str, float, str, bool]]:
    """(what, value in points or percent, target, whether it is reached)."""
    mean = {name: 100 * statistics.fmean(run["accuracy"] for run in runs) for name, runs in results.items()}
    gap = abs(mean["largest"] - mean["smallest"])
    highest = max(100 * run["accuracy"] for runs in results.values() for run in runs)
    between = statistics.median(100 * abs(runs[0]["accuracy"] - runs[1]["accuracy"]) for runs in results.values())
    return [
        ("between the corners, points", gap, "at least 5", gap >= 5),
        ("highest accuracy, %", highest, "at most 97", highest <= 97),
        ("median between two seeds, points", between, "below 1", between < 1),
    ]


def report(specs: dict[str, "NetworkSpec"], results: Results) -> Verdict:
    """Each network's trainings, and the figures with their targets."""
    from searchspace import macs

    rows = [
        [
            name,
            count_text(macs(specs[name])),
            f"{statistics.fmean(run['seconds'] for run in runs):.1f}",
            *(percent_text(run["accuracy"]) for run in runs),
            f"{100 * abs(runs[0]['accuracy'] - runs[1]['accuracy']):.2f}",
        ]
        for name, runs in results.items()
    ]
    headers = ["network", "MACs (224)", "a trial, s", *(f"seed {seed}" for seed in SEEDS), "points"]
    found = figures(results)
    verdicts = [
        [what, f"{value:.2f}", target, "reached" if reached else "missed"] for what, value, target, reached in found
    ]
    text = paragraphs(
        table(headers, rows, text_columns=(0,)), table(["", "value", "target", ""], verdicts, text_columns=(0, 2, 3))
    )
    return Verdict(text, all(reached for *_, reached in found))


def run(args: Namespace) -> Verdict:
    """Every training that is missing, and the figures."""
    from search.data import load
    from search.data.digits import DEFAULT_PROXY_RESOLUTION
    from search.training.recipe import Recipe

    recipe = Recipe()
    data = load(None, resolution=DEFAULT_PROXY_RESOLUTION, images=600 if args.quick else None)
    if args.quick:
        recipe = replace(recipe, epoch_images=recipe.epoch_images // 10)
    kept = Kept(args.json, {"recipe": asdict(recipe), "data": data.fingerprint})
    specs = networks(0 if args.quick else args.random)
    found = report(specs, measure(specs, data, recipe, kept))
    images = f"{len(data.train)} training and {len(data.validation)} validation images of {data.resolution} px"
    return Verdict(f"{images}\n\n{found.text}", args.quick or found.reached)


main = benchmark(parser, run, stopped="stopped; every training that ended is kept where --json says")


if __name__ == "__main__":
    sys.exit(main())
