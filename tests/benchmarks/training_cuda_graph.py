"""python -m tests.benchmarks.training_cuda_graph: training steps on a GPU, as one CUDA graph and kernel by kernel.

Each network is trained for some steps both ways, in turn, on random images; the figure is the median of ms a step.
"""

import statistics
import sys
from collections.abc import Mapping, Sequence

from searchspace.command import CommandParser, guarded, integer, show
from searchspace.errors import InvalidArgument

WAYS = {"kernel by kernel": sys.maxsize, "one graph": 1}  # steps of a training from which on it is one


def parser() -> CommandParser:
    """The command line."""
    cli = CommandParser(
        "python -m tests.benchmarks.training_cuda_graph", description=__doc__ or "", epilog="needs a GPU"
    )
    add = cli.add_argument
    add("--network", action="append", metavar="NAME", help="of the zoo; several (default: mobilenet_v1, mnasnet_a1)")
    add("--pixels", type=integer, default=48, metavar="PX", help="default: %(default)s")
    add("--batch", type=integer, default=256, help="default: %(default)s")
    add("--steps", type=integer, default=150, help="of a training (default: %(default)s)")
    add("--rounds", type=integer, default=3, help="trainings of each kind (default: %(default)s)")
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
    return "\n".join(
        f"{name:24}{way:18}{statistics.median(each):8.2f} ms a step ({min(each):.2f} to {max(each):.2f})"
        for (name, way), each in found.items()
    )


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; the exit code."""

    def job() -> int:
        args = parser().parse_args(argv)
        for flag in ("pixels", "batch", "steps", "rounds"):
            if getattr(args, flag) < 1:
                raise InvalidArgument(f"--{flag} must be at least 1, got {getattr(args, flag)}")
        import torch

        if not torch.cuda.is_available():
            return show("skipped: this study needs a GPU, and torch sees none here")
        found: dict[tuple[str, str], list[float]] = {}
        for number in range(args.rounds + 1):
            for name in args.network or ("mobilenet_v1", "mnasnet_a1"):
                for way, fewest in WAYS.items():
                    ms = step_ms(name, pixels=args.pixels, batch=args.batch, steps=args.steps, fewest=fewest)
                    if number:  # the first ones load libraries
                        found.setdefault((name, way), []).append(ms)
        return show(report(found))

    return guarded("training_cuda_graph", job, stopped="stopped; nothing is kept")


if __name__ == "__main__":
    sys.exit(main())
