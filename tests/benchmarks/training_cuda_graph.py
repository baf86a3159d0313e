"""python -m tests.benchmarks.training_cuda_graph: training steps on a GPU, as one CUDA graph and kernel by kernel.

Each network is trained for some steps both ways, in turn, on random images; the figure is the median of ms a step.
"""

import statistics
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence

from searchspace.report import interval_text, ms_text, table
from tests.benchmarks.harness import BenchmarkParser, Skipped, benchmark

WAYS = {"kernel by kernel": sys.maxsize, "one graph": 1}  # steps of a training from which on it is one
NETWORKS = ("mobilenet_v1", "mnasnet_a1")


def parser() -> BenchmarkParser:
    """The command line."""
    cli = BenchmarkParser("training_cuda_graph", __doc__, note="needs a GPU")
    add = cli.add_argument
    add("--network", action="append", metavar="NAME", help=f"of the zoo; several (default: {', '.join(NETWORKS)})")
    cli.count("--pixels", 48, "of the images", metavar="PX")
    cli.count("--batch", 256, "images of a step")
    cli.count("--steps", 150, "of a training")
    cli.count("--rounds", 3, "trainings of each kind")
    return cli


def step_ms(name: str, *, pixels: int, batch: int, steps: int, fewest: int) -> float:
    """ms a step of a training whose steps are one graph if they are no fewer than `fewest`."""
    import numpy as np

    from search.data import Split
    from search.training.recipe import Recipe
    from search.training.trainer import Trainer
    from searchspace.nn import build
    from searchspace.zoo import get

    rng = np.random.default_rng(0)
    images = Split(
        rng.integers(0, 256, (steps * batch, pixels, pixels, 3), dtype=np.uint8), rng.integers(0, 10, steps * batch)
    )
    some = Split(images.pixels[:1], images.labels[:1])
    recipe = Recipe(epochs=1, epoch_images=steps * batch, batch_size=batch)
    network = build(get(name, classes=10, resolution=pixels))
    trainer = Trainer(train=images, validation=some, recipe=recipe, seed=0, graph_steps=fewest)
    return 1000 * trainer.fit(network).seconds / steps


def report(found: Mapping[tuple[str, str], Sequence[float]]) -> str:
    """The figures."""
    rows = [
        [name, way, ms_text(statistics.median(each)), interval_text(min(each), max(each))]
        for (name, way), each in found.items()
    ]
    return table(["network", "steps", "ms a step", "least to most"], rows, text_columns=(0, 1, 3))


def run(args: Namespace) -> str:
    """Time both ways in turn. Raises Skipped without a GPU."""
    import torch

    if not torch.cuda.is_available():
        raise Skipped("this benchmark needs a GPU, and torch sees none here")
    found: dict[tuple[str, str], list[float]] = {}
    for number in range(args.rounds + 1):
        for name in args.network or NETWORKS:
            for way, fewest in WAYS.items():
                ms = step_ms(name, pixels=args.pixels, batch=args.batch, steps=args.steps, fewest=fewest)
                if number:  # the first ones load libraries
                    found.setdefault((name, way), []).append(ms)
    return report(found)


main = benchmark(parser, run)


if __name__ == "__main__":
    sys.exit(main())
