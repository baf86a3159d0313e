"""python -m tests.benchmarks.netadapt_versus: is NetAdapt better than a narrower network, and than torch-pruning?

Each network is trained (base) and brought to a share of its latency, as a table predicts it or (--timed) as it is
measured, in these ways:

  netadapt        search.netadapt's descent, then fine-tuning
  torch-pruning   its global magnitude pruning of the same base in one step (PyPI), then the same fine-tuning
  width           the same network with the widest multiplier that meets the budget, trained from scratch for all the
                  epochs of base, short trainings and fine-tuning together
  torch-pruning+  torch-pruning's network, fine-tuned for as many more epochs as the descent's short trainings came to:
                  no rival has seen fewer images than NetAdapt

All train on the same split with the same recipe; seeds differ in weights and batches.
With --minutes the epochs are cut down beforehand to what the time allows, in proportion, by a
trial of this machine's speed. Every arm is in --json as soon as it is done; the same command again does what is
missing. The final networks are timed afterwards on the table's own device: the same command with --measure.
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
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from searchspace.command import CommandParser, integer, number
from searchspace.errors import InvalidArgument, PhinasError
from tests.benchmarks.netadapt_arms import (
    AS_PREDICTED,
    Pair,
    Results,
    Row,
    key_of,
    networks_of,
    recipe_of,
    template_of,
)

if TYPE_CHECKING:
    from search.data import Dataset
    from searchspace.latency.table import LatencyTable

CIFAR = Path("../shared/data/cifar10-train.tar")
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
TRIAL_STEPS = 150
TRIAL_WAIT_S = 120.0
FILL = 0.85  # of the time: what the trial makes the epochs for
SHORT_OVERHEAD = 2.0  # times the steps of a short training: its evaluations, and the screening


def parser() -> CommandParser:
    """The command line."""
    cli = CommandParser("python -m tests.benchmarks.netadapt_versus", description=__doc__ or "")
    add = cli.add_argument
    add("--json", type=Path, required=True, metavar="FILE", help="every arm's result")
    add("--latency", type=Path, required=True, metavar="TABLE.json", help="latency table that budgets are counted by")
    add("--measure", action="store_true", help="time the networks in --json on this machine, the table's own")
    add(
        "--seconds", type=number, default=40.0, metavar="S", help="timing of one seed's networks (default: %(default)g)"
    )
    add("--smoke", action="store_true", help="seconds, not minutes: says that it runs, nothing else")
    add(
        "--network",
        action="append",
        metavar="NAME=NETWORK",
        help="a name of the zoo or a spec file; several (default: mobilenet_v1=mobilenet_v1)",
    )
    add("--data", default=str(CIFAR), help="data set (default: %(default)s)")
    add("--train-images", type=integer, metavar="N", help="at most so many training images")
    add("--pixels", type=integer, default=48, metavar="PX", help="trained and tested at (default: %(default)s)")
    add("--resolution", type=integer, metavar="PX", help="timed at (default: the network's own, as on ImageNet)")
    add(
        "--timed",
        action="store_true",
        help="on the table's own device, with nothing beside it: the budget is of "
        "what the base measures, NetAdapt tests its cuts, rivals are the slowest that measure within the budget; "
        "else all are held to what the table predicts",
    )
    add("--seeds", type=integer, default=3, help="default: %(default)s")
    add("--share", type=number, default=0.5, help="of the base's latency: the budget (default: %(default)g)")
    add("--epochs", type=integer, default=30, help="of the base (default: %(default)s)")
    add("--fine", type=integer, default=15, help="epochs of fine-tuning (default: %(default)s)")
    add("--batch", type=integer, default=256, help="default: %(default)s")
    add(
        "--rate-cap",
        type=number,
        default=0.2,
        metavar="R",
        help="the recipe's peak rate grows with the batch up to R (default: %(default)g)",
    )
    add(
        "--fine-rate",
        type=number,
        default=0.5,
        metavar="SHARE",
        help="peak rate of fine-tuning, of the base's (default: %(default)g, as search.netadapt's)",
    )
    add("--moves", default="channels,se,kernel,block", help="of search.netadapt (default: %(default)s)")
    add("--criterion", default="l2", help="of search.netadapt (default: %(default)s)")
    add("--step", type=number, default=0.05, help="of search.netadapt (default: %(default)g)")
    add("--decay", type=number, default=0.98, help="of search.netadapt (default: %(default)g)")
    add("--shortlist", type=integer, default=4, help="of search.netadapt (default: %(default)s)")
    add("--short-steps", type=integer, default=40, help="of search.netadapt (default: %(default)s)")
    add("--images", type=integer, default=2000, help="of search.netadapt (default: %(default)s)")
    add(
        "--round-to",
        type=integer,
        default=8,
        metavar="N",
        help="torch-pruning's channel counts are multiples of N, "
        "which CPUs like (default: %(default)s); where the budget cannot be met so, of 1",
    )
    add(
        "--minutes",
        type=number,
        metavar="M",
        help="wall time of all: epochs are cut down to it, no arm begins after "
        "it and trainings stop at their next epoch",
    )
    add("--jobs", type=integer, default=1, help="processes, each with its share of the cores (default: %(default)s)")
    add("--work", type=Path, metavar="DIR", help="weights and histories (default: beside --json)")
    return cli


def short_steps_of(args: Namespace) -> int:
    """Steps of all short trainings of a descent, if every iteration meets its target."""
    left, step, iterations = 1.0 - args.share, args.step, 0
    while left > 1e-9 and iterations < 1000:
        left, step, iterations = left - step, step * args.decay, iterations + 1
    return int(iterations * args.shortlist * args.short_steps)


def fitted(args: Namespace, *, train_images: int, step_s: float, left_s: float, pairs: int) -> tuple[int, int]:
    """(epochs of the base, of fine-tuning): those asked for, or both cut down in proportion to the seconds left.

    A pair trains the base, three networks to fine-tune, the width's once more from scratch for as long as base and
    fine-tuning, and the short trainings three times: by NetAdapt, and as many images for two rivals.
    """
    rounds = -(-pairs // args.jobs)
    steps = FILL * left_s / rounds / step_s - (2 + SHORT_OVERHEAD) * short_steps_of(args)
    each = max(1, train_images // args.batch)
    share = min(1.0, steps / (each * (2 * args.epochs + 4 * args.fine)))
    return max(1, int(share * args.epochs)), max(1, int(share * args.fine))


_HERE: dict[str, Any] = {}


def _begin_worker(args: Namespace, barrier: Any, parent: int) -> None:
    import torch

    from search.budget import CostModel
    from search.netadapt.short_training import end_with
    from searchspace.latency.table import read_table

    end_with(parent)
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // args.jobs))
    images = _images(args)
    table = read_table(args.latency)
    if args.timed:
        table = _with_lighter(args, table, len(images.classes))
    _HERE.update(images=images, cost_model=CostModel("ms", table), barrier=barrier)


def _with_lighter(args: Namespace, table: "LatencyTable", classes: int) -> "LatencyTable":
    """The device's own table, with the kernels of lighter forms of the networks: as search.netadapt has it."""
    from search.latency import table_for
    from search.latency.runtimes import runtime_of
    from search.netadapt.variants import shrunk, variants
    from searchspace.spaces.mnasnet import mnasnet_space

    specs = [template_of(args, name, classes).expand() for name in networks_of(args)]
    return table_for(
        mnasnet_space(resolution=table.identity["resolution"], classes=classes),
        runtime=runtime_of(table.identity),
        networks=[each for spec in specs for each in (spec, *shrunk(spec), *variants(spec))],
    )


def _images(args: Namespace) -> "Dataset":
    from search.data import load

    return load(args.data, resolution=args.pixels, images=args.train_images)


def _trial(args: Namespace, name: str) -> tuple[str, float]:
    """(name, seconds of a training step of the network's) while all workers train; once to warm up."""
    from search.netadapt.short_training import first
    from search.training.trainer import Trainer
    from searchspace.nn import build

    images = _HERE["images"]
    network = build(template_of(args, name, len(images.classes)).expand())
    recipe = replace(recipe_of(args, TRIAL_STEPS * args.batch), epochs=1)
    some = first(images.validation, recipe.epoch_validation)
    trainer = Trainer(train=images.train, validation=some, recipe=recipe, seed=0)
    for _ in range(2):
        _HERE["barrier"].wait(TRIAL_WAIT_S)
        outcome = trainer.fit(network)
    return name, outcome.seconds / min(TRIAL_STEPS, len(images.train) // args.batch)


def _pair(args: Namespace, name: str, seed: int, about: dict[str, Any], end: float) -> None:
    Pair(args, name, seed, _HERE["images"], _HERE["cost_model"], Results(args.json, about), args.work, end).run()


def about_of(args: Namespace, images: "Dataset") -> dict[str, Any]:
    """What defines the study, as JSON."""
    free = ("json", "measure", "seconds", "smoke", "minutes", "jobs", "work", "latency", "network", "data", "seeds")
    networks = {name: template_of(args, name, len(images.classes)).expand().fingerprint() for name in networks_of(args)}
    since = ("timed", "resolution")  # older files do not say
    settings = {name: value for name, value in vars(args).items() if name not in free and (value or name not in since)}
    return {
        **settings,
        "arms": list(ARMS),
        "networks": networks,
        "data": images.fingerprint,
        "recipe": asdict(recipe_of(args, 0)),
        "confidence": AS_PREDICTED,
    }


def run(args: Namespace) -> None:
    """Every arm of every network and seed. Raises PhinasError."""
    from search.latency.runtimes import is_here
    from searchspace.latency.table import describe, read_table
    from tests.benchmarks.torch_pruned import torch_pruning

    end = time.time() + 60 * args.minutes if args.minutes else float("inf")
    if args.timed and args.jobs > 1:
        raise InvalidArgument(f"--timed needs --jobs 1, as what runs beside disturbs it, got {args.jobs}")
    table = read_table(args.latency)
    if args.timed and not is_here(table.identity):
        raise InvalidArgument(
            f"--timed needs a table of this machine, got one of {describe(table.identity)}: leave --timed out, or make "
            "one with python -m search.latency build --out"
        )
    torch_pruning()
    images = _images(args)
    about = about_of(args, images)
    results = Results(args.json, about)
    args.work = args.work or args.json.with_suffix(".work")
    args.work.mkdir(parents=True, exist_ok=True)
    names = list(networks_of(args))
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(args.jobs)
    with ProcessPoolExecutor(args.jobs, context, _begin_worker, (args, barrier, os.getpid())) as pool:
        with results.changed() as content:
            known = content["epochs"]
        if known is None:
            known = _fit(args, pool, names, len(images.train), end)
            with results.changed() as content:
                content["epochs"] = known
        args.epochs, args.fine = known
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


def _fit(
    args: Namespace, pool: ProcessPoolExecutor, names: Sequence[str], train_images: int, end: float
) -> tuple[int, int]:
    if end == float("inf"):
        return args.epochs, args.fine
    trials = [pool.submit(_trial, args, names[index % len(names)]) for index in range(args.jobs)]
    speeds: dict[str, list[float]] = {}
    for trial in trials:
        name, seconds = trial.result()
        speeds.setdefault(name, []).append(seconds)
    means = [statistics.mean(seconds) for seconds in speeds.values()]
    step_s = (statistics.mean(means) + max(means)) / 2  # when the faster networks are done, the slower have more room
    found = fitted(
        args, train_images=train_images, step_s=step_s, left_s=end - time.time(), pairs=len(names) * args.seeds
    )
    for name, mean in zip(speeds, means, strict=True):
        print(f"{name}: {1000 * mean:.1f} ms a step with {args.jobs} at a time", flush=True)
    print(
        f"{end - time.time():.0f} s left: {found[0]} epochs of {train_images} images, {found[1]} of fine-tuning "
        f"(asked for: {args.epochs}, {args.fine})",
        flush=True,
    )
    return found


def measure_all(args: Namespace) -> None:
    """Time all networks of each network and seed, interleaved; kept in the file. Raises PhinasError."""
    from search.latency.measurement import measure_specs
    from searchspace.files import read_json
    from searchspace.latency.table import read_table
    from searchspace.spec import NetworkSpec

    table = read_table(args.latency)
    results = Results(args.json, read_json(args.json)["about"])
    rows = results.rows()
    for pair in sorted({key_of(row)[:2] for row in rows}):
        own = [row for row in rows if key_of(row)[:2] == pair]
        if all("measured_ms" in row for row in own):
            continue
        specs = [NetworkSpec.from_json(json.dumps(row["spec"])) for row in own]
        for row, found in zip(own, measure_specs(specs, table=table, seconds=args.seconds), strict=True):
            results.put(
                {
                    **row,
                    "measured_ms": found.latency_ms,
                    "measured_low_ms": found.low_ms,
                    "measured_high_ms": found.high_ms,
                    "noisy": found.noisy,
                }
            )
        print(f"{pair[0]} seed {pair[1]}: measured", flush=True)


def report(rows: Sequence[Row]) -> str:
    """The comparison for people. A training that the time cut off is named, and counts for nothing."""
    lines = []
    for network in sorted({row["network"] for row in rows}):
        own = [row for row in rows if row["network"] == network]
        lines += [
            f"\n{network}",
            f"{'arm':15}{'test accuracy':>22}{'predicted ms':>14}{'measured ms':>14}"
            f"{'M MACs':>9}{'M params':>10}{'epochs':>8}{'seeds':>7}",
        ]
        lines += [_line(arm, [row for row in own if row["arm"] == arm and not row["cut"]]) for arm in ARMS]
        lines += [_difference(own, rival) for rival in ARMS[2:]]
        lines += [f"  cut off: {row['arm']}, seed {row['seed']}" for row in own if row["cut"]]
    return "\n".join(lines)


def _line(arm: str, rows: Sequence[Row]) -> str:
    if not rows:
        return f"{arm:15}{'none':>22}"
    accuracies = [100 * row["test_accuracy"] for row in rows]
    spread = statistics.stdev(accuracies) if len(rows) > 1 else 0.0
    measured = [row["measured_ms"] for row in rows if "measured_ms" in row]

    def mean(field: str) -> float:
        return float(statistics.mean(row[field] for row in rows))

    return (
        f"{arm:15}{statistics.mean(accuracies):>13.2f} +- {spread:4.2f}%{mean('predicted_ms'):>14.2f}"
        f"{f'{statistics.mean(measured):.2f}' if measured else '-':>14}{mean('macs') / 1e6:>9.1f}"
        f"{mean('params') / 1e6:>10.2f}{mean('epochs'):>8.1f}{len(rows):>7}"
    )


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


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; the exit code."""
    try:
        args = parser().parse_args(argv)
        if args.smoke:
            vars(args).update(SMOKE)
        if not args.measure and args.data != "digits" and not Path(args.data).exists():
            print(f"skipped: this study needs {args.data}, which is not on this machine (--data names another)")
            return 0
        (measure_all if args.measure else run)(args)
        from searchspace.files import read_json

        print(report(read_json(args.json)["rows"]))
    except PhinasError as error:
        print(f"netadapt_versus: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
