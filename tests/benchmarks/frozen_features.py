"""python -m tests.benchmarks.frozen_features: what are frozen features worth, and what do they cost?

First the published network as it is: features of the training images at --pixels, a ridge in closed form, its accuracy
on the test split, with the published batch-norm statistics and with new ones, and with each feature divided by its
deviation. Then the estimator `frozen` judges the network and random ones of the search space that start from it:
accuracy, its deviation, and CPU seconds (of one thread: what a quiet core takes, whatever else runs).
"""

import random
import sys
import time
from argparse import Namespace
from typing import TYPE_CHECKING

from searchspace.report import paragraphs, percent_text, table
from tests.benchmarks.harness import CIFAR, BenchmarkParser, Skipped, benchmark, needed

if TYPE_CHECKING:
    from search.data import Dataset
    from searchspace.nn.weights.sources import Parents

COLUMNS = ("features", "left one out", "test", "CPU s")


def parser() -> BenchmarkParser:
    """The command line."""
    cli = BenchmarkParser("frozen_features", __doc__)
    cli.flag("--data", str(CIFAR), "data set")
    cli.flag("--weights", "efficientnet_lite0", "published weights", metavar="NAME")
    cli.count("--pixels", 96, "that images are resized to", metavar="PX")
    cli.count("--images", 5000, "training images")
    cli.count("--test-images", 7500, "of the test split, at most")
    cli.count("--random", 6, "random networks that the estimator judges", least=0)
    return cli


def as_it_is(parents: "Parents", data: "Dataset", args: Namespace) -> list[tuple[str, ...]]:
    """A row for each way to take the features."""
    import torch
    from torch import Tensor

    from search.training.augmentation import normalise, preprocessing_of, resized
    from search.training.ridge import pooled_features, ridge
    from searchspace.nn import fold_batch_norm
    from searchspace.nn.weights.statistics import renew_batch_norm

    network, test = parents[0].network, data.open_test()
    labels, truth = torch.tensor(data.train.labels[: args.images]), torch.tensor(test.labels[: args.test_images])
    rows: list[tuple[str, ...]] = []

    def row(name: str, train: Tensor, held_out: Tensor, began: float) -> None:
        fitted = ridge(train, labels, classes=len(data.classes))
        seconds = time.process_time() - began
        right = float((fitted.predict(held_out).argmax(1) == truth).double().mean())
        rows.append((name, percent_text(fitted.loo_accuracy), percent_text(right), f"{seconds:.0f}"))
        print(rows[-1], file=sys.stderr, flush=True)

    for name in ("published statistics", "new statistics"):
        began = time.process_time()
        if name == "new statistics":
            how = preprocessing_of(network)
            images = resized(torch.tensor(data.train.pixels[:128]), args.pixels, how.interpolation)
            renew_batch_norm(network, [normalise(half, how) for half in images.chunk(2)])
        module = fold_batch_norm(network)
        train = pooled_features(module, data.train, pixels=args.pixels, images=args.images)
        spent = time.process_time() - began
        held_out = pooled_features(module, test, pixels=args.pixels, images=args.test_images)
        row(name, train, held_out, time.process_time() - spent)
        deviation = train.std(0) + 1e-6
        row(f"{name}, divided by deviations", train / deviation, held_out / deviation, time.process_time() - spent)
    return rows


def judged(parents: "Parents", data: "Dataset", count: int) -> list[tuple[str, ...]]:
    """A row for each network that the estimator judges."""
    from search.accuracy import EstimatorSettings, estimator
    from searchspace.spaces.mnasnet import mnasnet_space

    judge = estimator("frozen", EstimatorSettings(parents=parents, clock=time.process_time))
    judge.prepare(data)
    space = mnasnet_space(classes=len(data.classes))
    specs = {parents[0].name: parents[0].network.spec.with_classes(len(data.classes))}
    specs |= {f"random {number}": space.spec(space.sample(random.Random(number))) for number in range(count)}
    rows: list[tuple[str, ...]] = []
    for name, spec in specs.items():
        found = judge.score(spec)
        rows.append((name, f"{percent_text(found.mean)} +- {100 * found.deviation:.1f}", f"{found.seconds:.1f}"))
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def run(args: Namespace) -> str:
    """Both tables."""
    import torch

    from search.data import load
    from searchspace.nn.weights.sources import resolve

    torch.set_num_threads(1)
    data = load(needed(args.data), resolution=32)
    parents = resolve(args.weights, note=lambda line: print(line, file=sys.stderr))
    if parents is None:
        raise Skipped("no published weights are here")
    estimates = judged(parents, data, args.random)
    title = f"{parents[0].name}, {args.images} training images of {data.name} at {args.pixels} px"
    return paragraphs(
        f"{title}\n{table(COLUMNS, as_it_is(parents, data, args))}",
        f"the estimator\n{table(('network', 'accuracy', 'CPU s'), estimates)}",
    )


main = benchmark(parser, run)

if __name__ == "__main__":
    sys.exit(main())
