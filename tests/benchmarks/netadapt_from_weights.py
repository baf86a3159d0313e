"""python -m tests.benchmarks.netadapt_from_weights: NetAdapt from published weights, beside the simpler ways.

For each seed EfficientNet-Lite0 starts from its published weights and comes to a share of its latency on images of
another task, each arm in the same minutes:

  netadapt   search.netadapt: fine-tuned, pruned to the budget, fine-tuned, all of it within the minutes
  width      the widest multiplier of the network within the budget; weights transferred to it, then fine-tuned
  original   the network itself, fine-tuned: what the budget costs

Tested at the deployed size. Every arm is in --json as soon as it is done; the same command again does what is missing.
"""

import json
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from searchspace.errors import InfeasibleBudget
from searchspace.report import table
from tests.benchmarks.harness import CIFAR, BenchmarkParser, Kept, Row, benchmark, needed, spread_text

if TYPE_CHECKING:
    from search.budget import CostModel
    from search.data import Dataset
    from search.netadapt.timing import PairedTimer
    from searchspace.nn.weights.sources import Parent
    from searchspace.spec import NetworkSpec
    from searchspace.template import Template

ARMS = ("netadapt", "width", "original")
LOOKS = 4  # networks that are timed for one that uses the budget
ENOUGH = 0.97  # of the budget
SMOKE = {"data": "digits:100", "seeds": 1, "resolution": 32, "minutes": 0.1, "macs": True, "share": 0.9}


def parser() -> BenchmarkParser:
    """The command line."""
    cli = BenchmarkParser("netadapt_from_weights", __doc__)
    cli.json()
    cli.flag("--network", "efficientnet_lite0", "a published network whose weights can be had", metavar="NAME")
    cli.flag("--data", str(CIFAR), "data set")
    cli.count("--seeds", 3, "of splits, heads and batches")
    cli.count("--first-seed", 0, "the first of them", least=0)
    cli.number("--minutes", 6.0, "of each arm", metavar="M")
    cli.count("--resolution", 96, "deployed size", metavar="PX")
    cli.number("--share", 0.7, "of the network's latency: the budget")
    cli.flag("--latency", None, "latency table (default: this machine's own)", metavar="T.json")
    cli.add_argument("--macs", action="store_true", help="a budget in multiply-adds: nothing is timed")
    cli.add_argument("--smoke", action="store_true", help="a minute, not an hour: says that it runs, nothing else")
    return cli


def run(args: Namespace) -> str:
    """All arms of all seeds. Raises PhinasError."""
    if args.smoke:
        vars(args).update(SMOKE)
    needed(args.data.partition(":")[0])
    free = ("json", "seeds", "first_seed", "smoke", "latency")
    kept = Kept(args.json, {name: value for name, value in vars(args).items() if name not in free})
    comparison = Comparison(args)
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        for arm in ARMS:
            row = kept.once(f"{seed} {arm}", partial(comparison.row, arm, seed))
            print(f"seed {seed} {arm}: test {row['test_accuracy']:.1%}, {row['cost']:.4g}", flush=True)
    return report(list(kept.rows().values()), "MACs" if args.macs else "ms")


class Comparison:
    """The network with its weights, the budget, and what its arms come to."""

    def __init__(self, args: Namespace) -> None:
        from scaling.base import base_template
        from scaling.weights import published_start

        self.args = args
        self.parent, self.template = self._start(base_template(args.network), published_start)
        self.template = self.template.with_classes(len(self.images(args.first_seed).classes))
        self.spec = self.template.expand(resolution=args.resolution)
        self.cost_model, self.timer = self._costs()
        self.budget = args.share * self.cost(self.spec)

    def _start(self, template: "Template", start: "Callable[..., Any]") -> "tuple[Parent, Template]":
        found: tuple[Parent, Template] = start(template, "auto", name=self.args.network, ema=None, quiet=True)
        return found

    def _costs(self) -> "tuple[CostModel, PairedTimer | None]":
        from search.budget import CostModel
        from search.latency import table_for
        from search.latency.runtimes import is_this_machine
        from search.netadapt.timing import DeviceTimer
        from search.netadapt.variants import shrunk, variants
        from searchspace.latency.table import read_table
        from searchspace.spaces.mnasnet import mnasnet_space

        if self.args.macs:
            return CostModel("macs"), None
        networks = [self.spec, *shrunk(self.spec), *variants(self.spec)]
        latencies = (
            read_table(Path(self.args.latency))
            if self.args.latency
            else table_for(mnasnet_space(), networks=networks, note=lambda text: print(text, file=sys.stderr))
        )
        own = is_this_machine(latencies.identity)
        return CostModel("ms", latencies), DeviceTimer(
            latencies, seed=0, resolution=self.args.resolution
        ) if own else None

    def images(self, seed: int) -> "Dataset":
        """The images, no larger than they are."""
        from search.data import load, native_resolution

        args = self.args
        return load(args.data, resolution=min(native_resolution(args.data), args.resolution), seed=seed)

    def predicted(self, spec: "NetworkSpec") -> float:
        """What the table or a count says."""
        from searchspace.graph import lower

        return self.cost_model.cost(lower(spec))

    def cost(self, spec: "NetworkSpec") -> float:
        """What it measures, where networks are timed: the upper end, which NetAdapt is held to as well."""
        return self.timer.alone(spec).latency_upper_ms if self.timer else self.predicted(spec)

    def narrowed(self) -> "NetworkSpec":
        """The dearest of the network's narrower forms that costs no more than the budget."""
        from dataclasses import replace

        from tests.benchmarks.netadapt_arms import width_for

        template = replace(self.template, resolution=self.args.resolution)
        target, best, most = self.budget, None, 0.0
        for _ in range(LOOKS):
            spec = width_for(template, self.predicted, target)
            cost = self.cost(spec)
            if most < cost <= self.budget:
                best, most = spec, cost
            if ENOUGH * self.budget <= cost <= self.budget or self.timer is None:
                break
            target *= (1 + ENOUGH) / 2 * self.budget / cost
        if best is None:
            raise InfeasibleBudget(f"none of the narrower networks measured within {self.budget:g}")
        return best

    def row(self, arm: str, seed: int) -> Row:
        """An arm's network: accuracy, cost, seconds."""
        began = time.monotonic()
        found = self._pruned(seed) if arm == "netadapt" else self._fine_tuned(arm, seed)
        return {"arm": arm, "seed": seed, "budget": self.budget, "seconds": time.monotonic() - began, **found}

    def _fine_tuned(self, arm: str, seed: int) -> Row:
        import torch

        from search.training.handover import Handover
        from search.training.recipe import Recipe
        from searchspace.nn.weights.transfer import transfer

        args = self.args
        images, spec = self.images(seed), self.spec if arm == "original" else self.narrowed()
        network = transfer(self.parent.network, spec, generator=torch.Generator().manual_seed(seed)).network
        handover = Handover(
            images=images,
            recipe=Recipe.for_data(args.data),
            seed=seed,
            trained_px=args.resolution,
            deployed_px=args.resolution,
        )
        tuned = handover.fine_tune(network, 60 * args.minutes, new_head=True)
        test, _, _ = handover.test(network)
        row = {"test_accuracy": test.value, "validation_accuracy": tuned.accuracy, "cost": self.cost(spec)}
        return row | {"spec": json.loads(spec.to_json())}

    def _pruned(self, seed: int) -> Row:
        import search

        args = self.args
        budget = {"budget_macs": self.budget} if args.macs else {"budget_ms": self.budget}
        found = search.prune(
            args.network,
            weights="auto",
            data=args.data,
            minutes=args.minutes,
            resolution=args.resolution,
            seed=seed,
            latency=self.cost_model.table,
            study=f"from-weights-{seed}-{args.minutes:g}m-{args.resolution}px",
            **budget,
        )
        winner = found.summary["winner"]
        row = {name: winner[name] for name in ("test_accuracy", "validation_accuracy", "cost", "iteration")}
        assert found.spec is not None
        return row | {"spec": json.loads(found.spec.to_json())}


def report(rows: list[Row], unit: str) -> str:
    """The arms beside each other, means over seeds."""
    lines = []
    for arm in ARMS:
        own = [row for row in rows if row["arm"] == arm]
        if own:
            mean = {name: sum(row[name] for row in own) / len(own) for name in ("cost", "seconds")}
            accuracy = spread_text([row["test_accuracy"] for row in own])
            lines.append([arm, accuracy, f"{mean['cost']:.4g}", f"{mean['seconds'] / 60:.1f}", str(len(own))])
    return table(["arm", "test accuracy", unit, "minutes", "seeds"], lines, text_columns=(0,))


main = benchmark(parser, run, stopped="stopped; every arm that ended is kept, the same command goes on")

if __name__ == "__main__":
    sys.exit(main())
