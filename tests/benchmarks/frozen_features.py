"""python -m tests.benchmarks.frozen_features: what are frozen features worth, and what do they cost?

First the estimator `frozen` judges published networks and random ones of the search space that start from them:
accuracy, its deviation, and CPU seconds (of one thread) of the transfer, the calibration, the features and the ridge,
then the spread of the scores. The first network of a parent also pays for the parent's maps, which are kept.

Then, with --images above 0, the first published network as it is: features of so many training images at --pixels, a
ridge in closed form, its accuracy on the test split, with the published batch-norm statistics and with new ones, and
with each feature divided by its deviation.
"""

import random
import statistics
import sys
import time
from argparse import Namespace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from searchspace.report import paragraphs, percent_text, table
from tests.benchmarks.harness import CIFAR, BenchmarkParser, Skipped, Verdict, benchmark, needed

if TYPE_CHECKING:
    from search.data import Dataset
    from searchspace.nn.weights.sources import Parents

COLUMNS = ("features", "left one out", "test", "CPU s")
STEPS = ("transfer", "calibrate", "features", "ridge")
LIMIT_S = 3.0


def parser() -> BenchmarkParser:
    """The command line."""
    cli = BenchmarkParser("frozen_features", __doc__)
    cli.flag("--data", str(CIFAR), "data set")
    packaged = "efficientnet_lite0,efficientnet_lite1,efficientnet_lite2"
    cli.flag("--weights", packaged, "published weights", metavar="NAMES")
    cli.count("--random", 12, "random networks that the estimator judges", least=2)
    cli.count("--images", 0, "training images of the network as it is; 0: the estimator alone", least=0)
    cli.count("--pixels", 96, "that they are resized to", metavar="PX")
    cli.count("--test-images", 7500, "of the test split, at most")
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


def _note(times: list[float], _: float) -> None:
    times.append(time.process_time())


def judged(parents: "Parents", data: "Dataset", count: int) -> Verdict:
    """A row for each network that the estimator judges, and whether random ones take at most LIMIT_S."""
    from search.accuracy import EstimatorSettings, estimator
    from searchspace.cost import macs
    from searchspace.spaces.mnasnet import mnasnet_space

    judge = estimator("frozen", EstimatorSettings(parents=parents, clock=time.process_time))
    judge.prepare(data)
    space = mnasnet_space(classes=len(data.classes))
    specs = {parent.name: parent.network.spec.with_classes(len(data.classes)) for parent in parents}
    specs |= {f"random {number}": space.spec(space.sample(random.Random(number))) for number in range(count)}
    rows: list[tuple[str, ...]] = []
    scores, seconds = list[float](), list[float]()
    for name, spec in specs.items():
        times = [time.process_time()]
        found = judge.score(spec, on_progress=partial(_note, times))
        steps = [f"{after - before:.2f}" for before, after in pairwise(times)]
        accuracy = f"{percent_text(found.mean)} +- {100 * found.deviation:.1f}"
        rows.append((name, f"{macs(spec) / 1e6:.0f}", accuracy, f"{found.seconds:.2f}", *steps))
        print(rows[-1], file=sys.stderr, flush=True)
        if name.startswith("random"):
            scores.append(found.mean)
            seconds.append(found.seconds)
    headers = ("network", "M MACs", "accuracy", "CPU s", *STEPS)
    spread = (
        f"{count} random networks: {percent_text(min(scores))} to {percent_text(max(scores))}, standard deviation "
        f"{100 * statistics.stdev(scores):.1f} points; median {statistics.median(seconds):.2f} s, at most "
        f"{max(seconds):.2f} s, target {LIMIT_S:g} s"
    )
    text = paragraphs(f"the estimator\n{table(headers, rows, text_columns=(0,))}", spread)
    return Verdict(text, max(seconds) <= LIMIT_S)


def run(args: Namespace) -> Verdict:
    """Both tables."""
    import torch

    from search.data import load
    from searchspace.nn.weights.sources import resolve

    torch.set_num_threads(1)
    data = load(needed(args.data), resolution=32)
    parents = resolve(args.weights, note=lambda line: print(line, file=sys.stderr))
    if parents is None:
        raise Skipped("no published weights are here")
    found = judged(parents, data, args.random)
    if not args.images:
        return found
    title = f"{parents[0].name}, {args.images} training images of {data.name} at {args.pixels} px"
    own = f"{title}\n{table(COLUMNS, as_it_is(parents, data, args))}"
    return Verdict(paragraphs(found.text, own), found.reached)


main = benchmark(parser, run)

if __name__ == "__main__":
    sys.exit(main())
