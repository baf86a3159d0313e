"""python -m tests.benchmarks.transfer_specs: what published weights are worth to random networks of the default space.

Each network takes the weights of a published one. Its features, without any training, are read by a ridge regression,
whose leave-one-out accuracy is reported: as transferred, calibrated (new batch-norm statistics, and 1x1 convolutions
fitted to the parent's maps), and of the same network with random weights and new statistics.
"""

import random
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from searchspace.report import percent_text, table
from searchspace.spaces.mnasnet import mnasnet_space
from searchspace.spaces.space import Choices
from tests.benchmarks.harness import CIFAR, BenchmarkParser, Kept, Row, Verdict, benchmark, needed

if TYPE_CHECKING:
    from torch import Tensor

    from search.data import Split
    from searchspace.nn import Network

GAIN = 0.10
SHARE = 25 / 30
CALIBRATION_IMAGES = 256


def parser() -> BenchmarkParser:
    """The command line."""
    cli = BenchmarkParser("transfer_specs", __doc__)
    cli.count("--specs", 30, "random networks")
    cli.count("--images", 1000, "whose features are read", least=20)
    cli.count("--pixels", 64, "of the images in the network", metavar="PX")
    cli.flag("--weights", "efficientnet_lite0", "the published network", metavar="NAME")
    cli.flag("--data", str(CIFAR), "a source of search.data", metavar="SOURCE")
    cli.count("--seed", 0, "of the networks and fresh weights", least=0)
    cli.json()
    return cli


def measured(args: Namespace) -> Iterator[Row]:
    """One row for each network, as it comes."""
    import torch

    from search.data import load
    from searchspace.nn import build
    from searchspace.nn.weights.calibrate import calibrate
    from searchspace.nn.weights.sources import resolve
    from searchspace.nn.weights.statistics import renew_batch_norm
    from searchspace.nn.weights.transfer import transfer

    dataset = load(needed(args.data), resolution=args.pixels, seed=0)
    images, classes = dataset.train, len(dataset.classes)
    parents = resolve(args.weights, note=lambda line: print(line, file=sys.stderr))
    assert parents is not None
    space, rng = mnasnet_space(classes=classes, resolution=224), random.Random(args.seed)
    known = {name: value for name, value in vars(args).items() if name not in ("json", "specs")}
    kept = Kept(args.json, known)

    def row(number: int, choices: Choices) -> Row:
        spec = space.spec(choices, name=f"network {number}")
        parent = parents.nearest(spec)
        began = time.process_time()
        found = transfer(parent.network, spec, generator=torch.Generator().manual_seed(args.seed))
        seconds = time.process_time() - began
        before = accuracy(found.network, images, args.images, classes)
        began = time.process_time()
        some = torch.cat(list(batches(found.network, images)))
        calibrate(found.network, parent.network, found.origins, some)
        calibration = time.process_time() - began
        after = accuracy(found.network, images, args.images, classes)
        fresh = build(found.network.spec, generator=torch.Generator().manual_seed(args.seed))
        renew_batch_norm(fresh, batches(fresh, images))
        bare = accuracy(fresh, images, args.images, classes)
        reasons = list(found.reasons)
        shares = {"before": before, "after": after, "random": bare}
        return {**shares, "seconds": seconds, "calibration_s": calibration, "reasons": reasons}

    for number, choices in enumerate([space.sample(rng) for _ in range(args.specs)]):
        yield kept.once(str(number), partial(row, number, choices))


def batches(network: "Network", split: "Split") -> "Iterator[Tensor]":
    """The images to calibrate by, as the network wants them."""
    import torch

    from search.training.augmentation import normalise, preprocessing_of

    for start in range(0, min(CALIBRATION_IMAGES, len(split.labels)), 64):
        yield normalise(torch.tensor(split.pixels[start : start + 64]), preprocessing_of(network))


def accuracy(network: "Network", split: "Split", count: int, classes: int) -> float:
    """The leave-one-out accuracy of a ridge regression on the network's features."""
    import torch

    from search.training.ridge import pooled_features, ridge

    features = pooled_features(network, split, images=count, device="cpu")
    labels = torch.tensor(split.labels[:count]).long()
    # Where features say nothing, the image left out makes its own class rarer, and every guess is wrong.
    return max(ridge(features, labels, classes=classes).loo_accuracy, float(labels.bincount().max()) / len(labels))


def report(rows: list[Row]) -> Verdict:
    """The table, and whether enough networks gain."""
    headers = ["network", "as transferred", "calibrated", "random weights", "gain", "s"]
    lines: list[list[Any]] = []
    for number, row in enumerate(rows):
        shares = [percent_text(row[name]) for name in ("before", "after", "random")]
        lines.append([str(number), *shares, percent_text(row["after"] - row["random"]), f"{row['seconds']:.2f}"])
    gains = sum(row["after"] - row["random"] >= GAIN for row in rows)
    mean = sum(row["after"] for row in rows) / len(rows)
    end = (
        f"{gains} of {len(rows)} networks are at least {GAIN:.0%} above random weights; mean {mean:.1%} calibrated, "
        f"{sum(row['random'] for row in rows) / len(rows):.1%} with random weights"
    )
    return Verdict(f"{table(headers, lines, text_columns=(0,))}\n\n{end}", gains >= SHARE * len(rows))


def run(args: Namespace) -> Verdict:
    """All networks."""
    rows = []
    for row in measured(args):
        rows.append(row)
        shares = ", ".join(f"{name} {row[name]:.1%}" for name in ("before", "after", "random"))
        print(f"network {len(rows) - 1}: {shares}, {row['seconds']:.2f} s", file=sys.stderr, flush=True)
    return report(rows)


main = benchmark(parser, run, stopped="stopped; with --json what is done is kept")


if __name__ == "__main__":
    sys.exit(main())
