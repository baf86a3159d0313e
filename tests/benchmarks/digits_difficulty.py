"""python -m tests.benchmarks.digits_difficulty: does the embedded task tell networks apart at the default effort?

It trains networks of the default space by the default recipe, each from two seeds (first weights, order and
augmentation; the images are the same), and shows three figures with their targets: the accuracy between the largest
and the smallest corner (at least 5 points), the highest accuracy (at most 97 %), and the median difference between
two seeds of one network (below 1 point).
"""

import argparse
import json
import random
import statistics
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from searchspace.errors import PhinasError

if TYPE_CHECKING:
    from search.data import Dataset
    from search.training.recipe import Recipe
    from searchspace.spec import NetworkSpec

SEEDS = (0, 1)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    cli = argparse.ArgumentParser(
        "python -m tests.benchmarks.digits_difficulty",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    cli.add_argument("--random", type=int, default=6, metavar="N", help="random networks (default: %(default)s)")
    cli.add_argument("--quick", action="store_true", help="a tenth of the images, no random networks: does it run?")
    cli.add_argument("--json", type=Path, metavar="FILE", help="keep results here; what stands there is not repeated")
    return cli


def networks(count: int) -> dict[str, "NetworkSpec"]:
    """The corners, the known networks and `count` random ones, by name."""
    from searchspace.spaces.mnasnet import KNOWN, mnasnet_space

    space = mnasnet_space(classes=10)
    choices = {which: space.corner(which) for which in ("smallest", "largest")} | KNOWN
    choices |= {f"random {number}": space.sample(random.Random(number)) for number in range(count)}
    return {name: space.spec(chosen) for name, chosen in choices.items()}


def measure(
    specs: dict[str, "NetworkSpec"], data: "Dataset", recipe: "Recipe", path: Path | None
) -> dict[str, list[dict[str, float]]]:
    """By network, for each seed: accuracy and seconds. Trainings that stand in `path` are taken from there."""
    from search.accuracy import EstimatorSettings, estimator
    from searchspace.files import read_json, write_atomic

    about = {"recipe": asdict(recipe), "data": data.fingerprint}
    stored: dict[str, Any] = read_json(path) if path is not None and path.exists() else {}
    trainings: dict[str, dict[str, float]] = stored["trainings"] if stored.get("about") == about else {}
    results: dict[str, list[dict[str, float]]] = {}
    for name, spec in specs.items():
        for seed in SEEDS:
            key = f"{spec.fingerprint()} {seed}"
            if key not in trainings:
                judge = estimator("training", EstimatorSettings(recipe=recipe, seed=seed))
                judge.prepare(data)
                found = judge.score(spec)
                trainings[key] = {"accuracy": found.mean, "seconds": found.seconds}
                if path is not None:
                    write_atomic(path, json.dumps({"about": about, "trainings": trainings}, indent=1))
            results.setdefault(name, []).append(trainings[key])
        print(row(name, spec, results[name]), flush=True)
    return results


def row(name: str, spec: "NetworkSpec", runs: list[dict[str, float]]) -> str:
    """One line of the table."""
    from searchspace.cost import costs
    from searchspace.graph import lower

    macs = costs(lower(spec)).macs
    first, second = (run["accuracy"] for run in runs)
    seconds = sum(run["seconds"] for run in runs) / len(runs)
    gap = 100 * abs(first - second)
    return f"{name:18}{macs / 1e6:8.0f} M{seconds:9.1f} s{first:10.1%}{second:10.1%}{gap:8.2f}"


def figures(results: dict[str, list[dict[str, float]]]) -> list[tuple[str, float, str, bool]]:
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


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code: 0 all targets are reached, 1 one is not, 2 the input is wrong."""
    args = parser().parse_args(argv)
    from search.data import load
    from search.data.digits import DEFAULT_PROXY_RESOLUTION
    from search.training.recipe import Recipe

    recipe = Recipe()
    try:
        data = load(None, resolution=DEFAULT_PROXY_RESOLUTION, images=600 if args.quick else None)
        if args.quick:
            recipe = replace(recipe, epoch_images=recipe.epoch_images // 10)
        print(f"{len(data.train)} training and {len(data.validation)} validation images of {data.resolution} px")
        print(f"{'network':18}{'MACs (224)':>10}{'a trial':>11}{'seed 0':>10}{'seed 1':>10}{'points':>8}")
        results = measure(networks(0 if args.quick else args.random), data, recipe, args.json)
    except PhinasError as error:
        print(f"digits_difficulty: error: {error}", file=sys.stderr)
        return 2
    print()
    rows = figures(results)
    for what, value, target, reached in rows:
        print(f"{what:36}{value:7.2f}   target {target:12} {'reached' if reached else 'missed'}")
    return 0 if args.quick or all(reached for *_, reached in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
