"""python -m tests.benchmarks.finetune_elements: what each element of the fine-tuning is worth.

The recipe as it is, and with one element changed at a time, all from the same weights for the same number of training
images, for several seeds (of order and augmentation; splits stay). Prints the validation accuracy at the deployed size,
the difference from the recipe with its standard error over the seeds, and the time. Results are kept with --json.
"""

import statistics
import sys
from argparse import Namespace
from dataclasses import replace
from typing import Any

from searchspace.errors import InvalidArgument
from searchspace.report import percent_text, table
from tests.benchmarks.harness import CIFAR, BenchmarkParser, Kept, benchmark, needed

ELEMENTS: dict[str, dict[str, Any]] = {
    "the recipe": {},
    "batch norms take the batch's statistics": {"keeps_statistics": False},
    "SGD, 20 times the rate": {"adam": False, "learning_rate": 0.01},
    "SGD, batch's statistics": {"adam": False, "learning_rate": 0.01, "keeps_statistics": False},
    "half the rate": {"learning_rate": 2.5e-4},
    "twice the rate": {"learning_rate": 1e-3},
    "one rate for all blocks": {"input_rate": 1.0},
    "no classifier in closed form": {"head_images": 0},
    "first third of the blocks frozen": {"frozen": 0.34},
    "deployed size only": {"small_share": 0.0},
    "no label smoothing": {"label_smoothing": 0.0},
    "no shift, no mirroring": {"shift": 0.0, "flip": False},
    "mixup 0.2": {"mixup": 0.2},
    "batches of 16": {"batch_size": 16},
    "batches of 64": {"batch_size": 64},
}


def parser() -> BenchmarkParser:
    """The command line."""
    cli = BenchmarkParser("finetune_elements", __doc__)
    cli.flag("--data", str(CIFAR), "data set")
    cli.flag("--network", "efficientnet_lite0", "network with weights that are here")
    cli.flag(
        "--elements",
        ",".join(map(str, range(len(ELEMENTS)))),
        "numbers of elements: " + "; ".join(f"{at} {name}" for at, name in enumerate(ELEMENTS)),
    )
    cli.count("--images", 6000, "training images seen by each")
    cli.count("--validation", 2000, "validation images", least=10)
    cli.count("--pixels", 96, "the deployed size", metavar="PX", least=32)
    cli.count("--seeds", 3, "trainings of each")
    cli.json()
    return cli


def run(args: Namespace) -> str:
    """What is missing, and the table. Raises Skipped, PhinasError."""
    from search.data import Split, load, native_resolution
    from search.training.finetune import FineTuner
    from search.training.recipe import FineTuning

    names = [list(ELEMENTS)[int(at)] for at in args.elements.split(",")]
    if names[0] != "the recipe":
        raise InvalidArgument(f"--elements must begin with 0, which all others are compared with, got {args.elements}")
    data = load(needed(args.data), resolution=min(args.pixels, native_resolution(args.data)))
    about = {name: getattr(args, name) for name in ("data", "network", "images", "validation", "pixels")}
    kept = Kept(args.json, about)
    validation = Split(data.validation.pixels[: args.validation], data.validation.labels[: args.validation])
    for seed in range(args.seeds):
        for name in names:
            if f"{name} {seed}" in kept.rows():
                continue
            recipe = replace(FineTuning.for_data(args.data), stops_early=False, epochs=1, **ELEMENTS[name])
            tuner = FineTuner(train=data.train, validation=validation, recipe=recipe, seed=seed)
            tuned = tuner.fit(start(args.network, len(data.classes)), pixels=args.pixels, images=args.images)
            with kept.changed() as rows:
                rows[f"{name} {seed}"] = {"accuracy": tuned.accuracy, "seconds": tuned.seconds}
            print(f"{name}, seed {seed}: {tuned.accuracy:.1%} in {tuned.seconds:.0f} s", file=sys.stderr, flush=True)
    return report(names, kept.rows(), args.seeds)


def start(network: str, classes: int) -> Any:
    """The network with published weights, and a new head. Raises PhinasError."""
    import torch

    from searchspace import zoo
    from searchspace.nn import build
    from searchspace.nn.weights.sources import resolve
    from searchspace.nn.weights.transfer import transfer

    parents = resolve(network, note=print) if not network.startswith("random:") else None
    generator = torch.Generator().manual_seed(0)
    if parents is None:
        return build(zoo.get(network.removeprefix("random:"), classes=classes, width=0.25), generator=generator)
    parent = parents[0].network
    return transfer(parent, parent.spec.with_classes(classes), generator=generator).network


def report(names: list[str], rows: dict[str, Any], seeds: int) -> str:
    """One line for each element."""
    base = [rows[f"{names[0]} {seed}"]["accuracy"] for seed in range(seeds)]
    lines = []
    for name in names:
        found = [rows[f"{name} {seed}"] for seed in range(seeds)]
        gains = [100 * (one["accuracy"] - other) for one, other in zip(found, base, strict=True)]
        error = f" +- {statistics.stdev(gains) / seeds**0.5:.1f}" if seeds > 1 else ""
        difference = "" if name == names[0] else f"{statistics.mean(gains):+.1f}{error}"
        mean = statistics.mean(one["accuracy"] for one in found)
        seconds = statistics.mean(one["seconds"] for one in found)
        lines.append([name, percent_text(mean), difference, f"{seconds:.0f}"])
    return table(["element", "validation", "points", "seconds"], lines, text_columns=(0,))


main = benchmark(parser, run, stopped="stopped; with --json finished trainings are kept")


if __name__ == "__main__":
    sys.exit(main())
