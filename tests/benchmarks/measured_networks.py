"""python -m tests.benchmarks.measured_networks: how well surrogates rank networks that they were not shown.

Fits to nine tenths of a table of measured networks, by a fixed seed, and ranks the rest: Kendall's tau for the accuracy
and for every latency. The TPUs' columns are noisy: they are shown and have no target.
"""

import sys
import time
from argparse import Namespace
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau

from search.measured.features import StageFeatures
from search.measured.networks import read_measured
from search.measured.surrogate import Surrogate
from searchspace.report import table
from tests.benchmarks.harness import BenchmarkParser, Verdict, benchmark, needed

ACCEL = Path("../shared/data/accel-nasbench-dev.csv")
LATENCIES = ("latency_zcu102", "latency_vck190", "throughput_a100", "throughput_tpuv2", "throughput_tpuv3")
ACCURACY_TAU, LATENCY_TAU, FIT_S, SCORES_A_SECOND = 0.92, 0.96, 20.0, 10_000
_SCORED = 20_000


def parser() -> BenchmarkParser:
    """The command line."""
    cli = BenchmarkParser("measured_networks", __doc__)
    cli.flag("--table", str(ACCEL), "CSV of measured networks")
    cli.flag("--accuracy", "top1", "its column of accuracies")
    cli.flag(
        "--latencies", "latency_zcu102,latency_vck190,throughput_a100,throughput_tpuv2,throughput_tpuv3", "columns"
    )
    cli.flag("--seed", 0, "of what is held back", type=int)
    return cli


def run(args: Namespace) -> Verdict:
    """One row for each column. Raises Skipped, PhinasError."""
    networks = read_measured(needed(args.table))
    order = np.random.default_rng(args.seed).permutation(len(networks.choices)).tolist()
    held_back, shown = order[: len(order) // 10], order[len(order) // 10 :]
    features, rows, missed = StageFeatures(networks.space), [], []
    for name in (args.accuracy, *args.latencies.split(",")):
        is_accuracy = name == args.accuracy
        values = networks.accuracy(name) if is_accuracy else networks.latency_ms(name)
        began = time.perf_counter()
        surrogate = Surrogate(features, [networks.choices[i] for i in shown], values[shown], positive=not is_accuracy)
        fit_s = time.perf_counter() - began
        asked = [networks.choices[i] for i in held_back]
        known = ~np.isnan(values[held_back])
        tau = float(kendalltau(surrogate.predict(asked)[known], values[held_back][known])[0])
        low, high = surrogate.interval(asked)
        inside = float(((low <= values[held_back]) & (values[held_back] <= high))[known].mean())
        many = [asked[i % len(asked)] for i in range(_SCORED)]
        began = time.perf_counter()
        surrogate.predict(many)
        speed = _SCORED / (time.perf_counter() - began)
        target = ACCURACY_TAU if is_accuracy else None if "tpu" in name else LATENCY_TAU
        if (target and tau < target) or fit_s > FIT_S or speed < SCORES_A_SECOND:
            missed.append(name)
        rows.append([name, f"{tau:.4f}", f"{target or '-'}", f"{inside:.0%}", f"{fit_s:.1f}", f"{speed:,.0f}"])
    headers = ["column", "tau", "target", "in its 95 % interval", "fit s", "scores/s"]
    text = table(headers, rows, text_columns=(0,), title=f"{len(shown)} networks shown, {len(held_back)} held back")
    return Verdict(f"{text}\n{'missed: ' + ', '.join(missed) if missed else 'all targets reached'}", not missed)


main = benchmark(parser, run)


if __name__ == "__main__":
    sys.exit(main())
