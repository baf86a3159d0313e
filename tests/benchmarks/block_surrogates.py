"""python -m tests.benchmarks.block_surrogates: which surrogate orders points by few noisy values.

Each learns from 40 and from 120 random points of a landscape (0.2 points of noise) and orders the best third of 3,000
others; Spearman's correlation with the noise-free values, mean of the seeds, and the milliseconds of CPU of a fit.

Seen (8 seeds): the sum of all parts with weights is first or within 0.02 of it everywhere but on "widths", where
trees are 0.06 better after 120 points; trees are 0.1 to 0.3 worse elsewhere, and take 4 to 16 times as long.
"""

import contextlib
import sys
import time
from argparse import Namespace
from pathlib import Path
from unittest import mock

import numpy as np

from searchspace.report import paragraphs, table
from tests.benchmarks.block_landscapes import NAMES, NOISE, Landscape, landscape
from tests.benchmarks.harness import BenchmarkParser, benchmark

CSV = Path("../shared/data/accel-nasbench-dev.csv")
COUNTS = (40, 120)
OFF = (1e-6, 0.05)  # prior median of a level that is out of use, and the deviation of its logarithm
VARIANTS = {
    "main effects": {"pairs": OFF, "smooth": OFF},
    "ridge regression with pairs": {"smooth": OFF},
    "smooth alone": {"main": OFF, "pairs": OFF},
    "all, equal weights": {},
    "extra trees": {},
    "all, fitted weights (the sampler's)": {},
}


def parser() -> BenchmarkParser:
    """The command line."""
    cli = BenchmarkParser("block_surrogates", __doc__)
    cli.count("--seeds", 8, "landscapes or draws of each")
    cli.flag("--csv", CSV, "Accel-NASBench's networks", type=Path, metavar="FILE")
    return cli


def correlation(variant: str, name: str, land: Landscape, seed: int, count: int) -> tuple[float, float]:
    """Spearman's correlation and the seconds of the fit."""
    from optuna.distributions import CategoricalDistribution
    from scipy.stats import spearmanr
    from sklearn.ensemble import ExtraTreesRegressor

    from search.samplers import surrogate
    from search.samplers.outcomes import clipped
    from search.samplers.parameters import Parameters

    rng = np.random.default_rng([seed, count, 3])
    rows, others = land.draw(count, rng), land.draw(3000, rng)
    values = clipped(land.values(rows) + rng.normal(0, NOISE, count))
    true = land.values(others)
    best = np.argsort(-true)[:1000]
    parameters = Parameters({n: CategoricalDistribution(choices) for n, choices in land.parameters.items()})
    if variant == "extra trees":  # numbers where all choices are numbers, else a column for each value
        coded = name in ("accel", "widths")
        x, y = (of if coded else parameters.features(of) for of in (rows, others[best]))
        began = time.process_time()
        predicted = ExtraTreesRegressor(100, random_state=0).fit(x, values).predict(y)
        return float(spearmanr(predicted, true[best]).statistic), time.process_time() - began
    relevance = 0.02 if variant == "all, equal weights" else surrogate.RELEVANCE
    with contextlib.ExitStack() as changed:
        changed.enter_context(mock.patch.dict(surrogate.LEVELS, VARIANTS[variant]))
        changed.enter_context(mock.patch.object(surrogate, "RELEVANCE", relevance))
        features, began = parameters.features(rows), time.process_time()
        levels = surrogate.fit_levels(features, parameters.groups, values, parameters.usual)
        model = surrogate.Surrogate(features, parameters.groups, values, levels, features[:0])
        took = time.process_time() - began
    return float(spearmanr(model.mean(parameters.features(others[best])), true[best]).statistic), took


def run(args: Namespace) -> str:
    """The table."""
    names = [name for name in NAMES if name != "accel" or args.csv.exists()]
    lines = [] if "accel" in names else [f"accel is skipped: it needs {args.csv}, which is not on this machine"]
    rows = []
    for variant in VARIANTS:
        cells, seconds = [], []
        for name in names:
            for count in COUNTS:
                found = [
                    correlation(variant, name, landscape(name, seed, args.csv), seed, count)
                    for seed in range(args.seeds)
                ]
                cells.append(f"{np.mean([value for value, _ in found]):.3f}")
                seconds += [took for _, took in found]
        rows.append([variant, *cells, f"{1e3 * np.mean(seconds):.0f}"])
    headers = ["surrogate", *(f"{name} {count}" for name in names for count in COUNTS), "ms"]
    return paragraphs(*lines, table(headers, rows, text_columns=(0,)))


main = benchmark(parser, run)


if __name__ == "__main__":
    sys.exit(main())
