"""python -m tests.benchmarks.netadapt_versus: is NetAdapt better than a narrower network, and than torch-pruning?

Each network is trained (base) and brought to a share of its latency, as a table predicts it or (--timed) as it is
measured, in these ways:

  netadapt        search.netadapt's iterations, then fine-tuning
  torch-pruning   its global magnitude pruning of the same base in one step (PyPI), then the same fine-tuning
  width           the same network with the widest multiplier that meets the budget, trained from scratch for all the
                  epochs of base, short trainings and fine-tuning together
  torch-pruning+  torch-pruning's network, fine-tuned for as many more epochs as its short trainings came to:
                  no rival has seen fewer images than NetAdapt

All train on the same split with the same recipe; seeds differ in weights and batches. With --minutes no arm begins
after the time, and trainings stop at their next epoch. Every arm is in --json as soon as it is done; the same command
again does what is missing. The final networks are timed afterwards on the table's own device: the same command with
--measure.
"""

import json
import multiprocessing
import os
import statistics
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.cores import available_cores
from searchspace.errors import InvalidArgument, PhinasError
from searchspace.report import count_text, ms_text, paragraphs, table
from tests.benchmarks.harness import CIFAR, BenchmarkParser, Row, benchmark, needed, spread_text
from tests.benchmarks.netadapt_arms import AS_PREDICTED, Pair, Results, networks_of, recipe_of, run_arms, template_of

if TYPE_CHECKING:
    from search.data import Dataset
    from searchspace.latency.table import LatencyTable
    from searchspace.spec import NetworkSpec

ARMS = ("base", "netadapt", "torch-pruning", "width", "torch-pruning+")
SMOKE = {
    "data": "digits",
    "seeds": 1,
    "pixels": 32,
    "epochs": 1,
    "fine": 1,
    "batch": 32,
    "train_images": 320,
    "short_steps": 2,
    "shortlist": 1,
    "images": 100,
    "step": 0.2,
}


def parser() -> BenchmarkParser:
    """The command line."""
    cli = BenchmarkParser("netadapt_versus", __doc__)
    add = cli.add_argument
    add("--json", type=Path, required=True, metavar="FILE", help="every arm's result")
    add("--latency", type=Path, required=True, metavar="TABLE.json", help="latency table that budgets are counted by")
    add("--measure", action="store_true", help="time the networks in --json on this machine, the table's own")
    add("--smoke", action="store_true", help="seconds, not minutes: says that it runs, nothing else")
    network = "a name of the zoo or a spec file; several (default: mobilenet_v1=mobilenet_v1)"
    add("--network", action="append", metavar="NAME=NETWORK", help=network)
    timed = (
        "on the table's own device, with nothing beside it: the budget is of what the base measures, NetAdapt tests "
        "its cuts, rivals are the slowest that measure within the budget; else all are held to what the table predicts"
    )
    add("--timed", action="store_true", help=timed)
    cli.number("--seconds", 40.0, "timing of one seed's networks, with --measure", metavar="S")
    cli.flag("--data", str(CIFAR), "data set")
    cli.count("--train-images", None, "at most so many training images")
    cli.count("--pixels", 48, "trained and tested at", metavar="PX")
    cli.count("--resolution", None, "timed at (default: the network's own, as on ImageNet)", metavar="PX")
    cli.count("--seeds", 3, "weights and batches")
    cli.number("--share", 0.5, "of the base's latency: the budget")
    cli.count("--epochs", 30, "of the base")
    cli.count("--fine", 15, "epochs of fine-tuning")
    cli.count("--batch", 256, "images of a step")
    cli.number("--rate-cap", 0.2, "the recipe's peak rate grows with the batch up to R", metavar="R")
    cli.number("--fine-rate", 0.5, "peak rate of fine-tuning, of the base's, as search.netadapt's", metavar="SHARE")
    same = "of search.netadapt"
    cli.flag("--moves", "channels,se,kernel,block", same)
    cli.flag("--criterion", "l2", same)
    cli.number("--step", 0.05, same)
    cli.number("--decay", 0.98, same)
    cli.count("--shortlist", 4, same)
    cli.count("--short-steps", 40, same, least=0)
    cli.count("--images", 2000, same)
    round_to = "torch-pruning's channel counts are multiples of N, which CPUs like; where the budget needs it, of 1"
    cli.count("--round-to", 8, round_to)
    cli.number("--minutes", None, "wall time of all: no arm begins after it", metavar="M")
    cli.count("--jobs", 1, "processes, each with its share of the cores")
    cli.flag("--work", None, "weights and histories (default: beside --json)", type=Path, metavar="DIR")
    return cli


_HERE: dict[str, Any] = {}


def _begin_worker(args: Namespace, parent: int) -> None:
    import torch

    from search.budget import CostModel
    from search.netadapt.short_training import end_with
    from searchspace.latency.table import read_table

    end_with(parent)
    torch.set_num_threads(max(1, available_cores() // args.jobs))
    images = _images(args)
    table = read_table(args.latency)
    if args.timed:
        table = _own_table(args, table, len(images.classes))
    _HERE.update(images=images, cost_model=CostModel("ms", table))


def _own_table(args: Namespace, table: "LatencyTable", classes: int) -> "LatencyTable":
    """The device's own table, with the kernels of lighter forms of the networks: as search.netadapt has it."""
    from search.latency import table_for
    from search.latency.runtimes import runtime_of
    from searchspace.spaces.mnasnet import mnasnet_space

    space = mnasnet_space(resolution=table.identity["resolution"], classes=classes)
    return table_for(space, runtime=runtime_of(table.identity), networks=lighter_forms(args, classes))


def lighter_forms(args: Namespace, classes: int) -> "list[NetworkSpec]":
    """The networks of --network, each with lighter forms of it."""
    from search.netadapt.variants import shrunk, variants

    specs = [template_of(args, name, classes).expand() for name in networks_of(args)]
    return [each for spec in specs for each in (spec, *shrunk(spec), *variants(spec))]


def _images(args: Namespace) -> "Dataset":
    from search.data import load

    return load(args.data, resolution=args.pixels, images=args.train_images)


def _pair(args: Namespace, name: str, seed: int, about: dict[str, Any], end: float) -> None:
    run_arms(Pair(args, name, seed, _HERE["images"], _HERE["cost_model"], Results(args.json, about), args.work, end))


def about_of(args: Namespace, images: "Dataset") -> dict[str, Any]:
    """What defines the study, as JSON."""
    free = ("json", "measure", "seconds", "smoke", "minutes", "jobs", "work", "latency", "network", "data", "seeds")
    networks = {name: template_of(args, name, len(images.classes)).expand().fingerprint() for name in networks_of(args)}
    return {
        **{name: value for name, value in vars(args).items() if name not in free},
        "arms": list(ARMS),
        "networks": networks,
        "data": images.fingerprint,
        "recipe": asdict(recipe_of(args, 0)),
        "confidence": AS_PREDICTED,
    }


def train_all(args: Namespace) -> None:
    """Every arm of every network and seed. Raises PhinasError."""
    from search.latency.runtimes import is_this_machine
    from searchspace.latency.table import describe, read_table
    from tests.benchmarks.torch_pruned import torch_pruning

    end = time.time() + 60 * args.minutes if args.minutes else float("inf")
    if args.timed and args.jobs > 1:
        raise InvalidArgument(f"--timed needs --jobs 1, as what runs beside disturbs it, got {args.jobs}")
    table = read_table(args.latency)
    if args.timed and not is_this_machine(table.identity):
        raise InvalidArgument(
            f"--timed needs a table of this machine, got one of {describe(table.identity)}: leave --timed out, or make "
            "one with python -m search.latency build --out"
        )
    torch_pruning()
    images = _images(args)
    about = about_of(args, images)
    Results(args.json, about)  # one of other settings is refused before any work
    args.work = args.work or args.json.with_suffix(".work")
    args.work.mkdir(parents=True, exist_ok=True)
    names = list(networks_of(args))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.jobs, context, _begin_worker, (args, os.getpid())) as pool:
        jobs = {
            pool.submit(_pair, args, name, seed, about, end): f"{name} seed {seed}"
            for seed in range(args.seeds)
            for name in names
        }
        for job in as_completed(jobs):
            error = job.exception()
            if isinstance(error, PhinasError):
                print(f"{jobs[job]}: {error}", file=sys.stderr, flush=True)
            elif error is not None:
                raise error


def measure_all(args: Namespace) -> None:
    """Time all networks of each network and seed, interleaved; kept in the file. Raises PhinasError."""
    from search.latency.measurement import measure_specs
    from searchspace.files import read_json
    from searchspace.latency.table import read_table
    from searchspace.spec import NetworkSpec

    latencies = read_table(args.latency)
    results = Results(args.json, read_json(args.json)["about"])
    rows = list(results.rows().values())
    for network, seed in sorted({(row["network"], row["seed"]) for row in rows}):
        own = [row for row in rows if (row["network"], row["seed"]) == (network, seed)]
        if all("measured_ms" in row for row in own):
            continue
        specs = [NetworkSpec.from_json(json.dumps(row["spec"])) for row in own]
        for row, found in zip(own, measure_specs(specs, table=latencies, seconds=args.seconds), strict=True):
            measured = {"measured_ms": found.latency_ms, "noisy": found.noisy}
            results.add(row | measured | {"measured_low_ms": found.low_ms, "measured_high_ms": found.high_ms})
        print(f"{network} seed {seed}: measured", flush=True)


def report(rows: Sequence[Row]) -> str:
    """The comparison for people. A training that the time cut off is named, and counts for nothing."""
    parts = []
    for network in sorted({row["network"] for row in rows}):
        own = [row for row in rows if row["network"] == network]
        cells = [_cells(arm, [row for row in own if row["arm"] == arm and not row["cut"]]) for arm in ARMS]
        headers = ["arm", "test accuracy", "predicted ms", "measured ms", "MACs", "params", "epochs", "seeds"]
        lines = [table(headers, cells, text_columns=(0,), title=network)]
        lines += [_difference(own, rival) for rival in ARMS[2:]]
        lines += [f"  cut off: {row['arm']}, seed {row['seed']}" for row in own if row["cut"]]
        parts.append("\n".join(lines))
    return paragraphs(*parts)


def _cells(arm: str, rows: Sequence[Row]) -> list[str]:
    def mean(field: str) -> float | None:
        values = [row[field] for row in rows if field in row]
        return float(statistics.mean(values)) if values else None

    if not rows:
        return [arm, "none", *[""] * 6]
    figures = [
        ms_text(mean("predicted_ms")),
        ms_text(mean("measured_ms")),
        *map(count_text, map(mean, ("macs", "params"))),
    ]
    return [arm, spread_text([row["test_accuracy"] for row in rows]), *figures, f"{mean('epochs'):.1f}", str(len(rows))]


def _difference(rows: Sequence[Row], rival: str) -> str:
    ended = {(row["arm"], row["seed"]): 100 * row["test_accuracy"] for row in rows if not row["cut"]}
    points = [
        ended["netadapt", seed] - ended[rival, seed]
        for seed in sorted({row["seed"] for row in rows})
        if ("netadapt", seed) in ended and (rival, seed) in ended
    ]
    if not points:
        return f"  netadapt - {rival}: not known"
    each = ", ".join(f"{point:+.2f}" for point in points)
    aim = "1.0 or more" if rival == "width" else "0 or more"
    return f"  netadapt - {rival}: {statistics.mean(points):+.2f} points ({each}; aim: {aim})"


def run(args: Namespace) -> str:
    """Every arm that is missing, or with --measure every network's latency; the comparison."""
    if args.smoke:
        vars(args).update(SMOKE)
    if args.measure:
        measure_all(args)
    else:
        needed(args.data)
        train_all(args)
    return report(list(Results.opened(args.json).rows().values()))


main = benchmark(parser, run, stopped="stopped; every arm that ended is kept, the same command goes on")

if __name__ == "__main__":
    sys.exit(main())
