"""python -m tests.benchmarks.mirrored_classes: what `--augment auto` is worth where classes are mirrored or turned.

Arrows to the left and to the right, b and d, 6 and 9 are drawn in colours on noise, moved and tilted. A small network
is trained on them from scratch three times alike: images never mirrored nor turned, always as the classes do not bear,
and as `auto` decides. Reached where auto comes within 3 points of never, and by 20 points above always.
"""

import sys
from argparse import Namespace
from statistics import fmean
from typing import NamedTuple

import torch

from search.data import Dataset, Split
from search.training.auto_augment import decide
from search.training.evaluate import Accuracy
from search.training.recipe import Recipe
from search.training.trainer import Trainer
from searchspace.command import show_progress
from searchspace.nn import build
from searchspace.report import percent_text, table
from searchspace.zoo import get
from tests.benchmarks.harness import BenchmarkParser, Verdict, benchmark
from tests.drawn import PIXELS, Draw, arrow, drawn_images, six, stem_and_bowl

CLOSE, APART = 0.03, 0.2


class Task(NamedTuple):
    """Two classes that are one shape, each in its way, and how its images must not be varied."""

    shape: Draw
    ways: tuple[int, int]
    always: str


TASKS = {
    "arrows left and right": Task(arrow, (0, -1), "shift,flip"),
    "b and d": Task(stem_and_bowl, (0, -1), "shift,flip"),
    "6 and 9": Task(six, (0, 2), "shift,rotate"),
}


def parser() -> BenchmarkParser:
    """The command line."""
    cli = BenchmarkParser("mirrored_classes", __doc__)
    cli.count("--images", 600, "to train and to validate, a fifth of them for the latter", least=20)
    cli.count("--tested", 500, "images for the accuracy", least=2)
    cli.count("--epochs", 16, "of each training")
    cli.count("--seeds", 1, "trainings of each kind")
    return cli


def run(args: Namespace) -> Verdict:
    """Train on each task in each way and compare test accuracies."""
    rows: list[list[str]] = []
    reached = True
    for at, (name, task) in enumerate(TASKS.items()):
        show_progress(at / len(TASKS), name)
        classes = [(task.shape, (way,)) for way in task.ways]
        images = drawn_images(*classes, count=args.images)
        auto = decide("auto", "drawn", images).augment
        test = drawn_images(*classes, count=5 * args.tested // 4, seed=1).train

        def accuracy(augment: str, data: Dataset = images, split: Split = test) -> float:
            return fmean(_trained(data, split, augment, args.epochs, seed) for seed in range(args.seeds))

        never, always = accuracy("shift"), accuracy(task.always)
        by_auto = never if auto == "shift" else accuracy(auto)
        reached &= by_auto >= never - CLOSE and by_auto >= always + APART
        told = [percent_text(each) for each in (never, always, by_auto)]
        rows.append([name, told[0], f"{told[1]} ({task.always})", f"{told[2]} ({auto})"])
    return Verdict(table(["classes", "never", "always", "auto"], rows, text_columns=(0, 2, 3)), reached)


def _trained(images: Dataset, test: Split, augment: str, epochs: int, seed: int) -> float:
    """The test accuracy of a network that was trained from scratch."""
    spec = get("mobilenet_v3_small", width=0.25, resolution=PIXELS, classes=2)
    network = build(spec, generator=torch.Generator().manual_seed(seed))
    Trainer.on(images, recipe=Recipe(epochs=epochs).varied(augment), seed=seed).fit(network)
    return Accuracy.of(network, test).value


main = benchmark(parser, run)


if __name__ == "__main__":
    sys.exit(main())
