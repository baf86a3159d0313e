"""python -m tests.benchmarks.zoo_speed: are built networks as fast as a plain implementation?

Seven networks are written in `plain_networks` once more in the plainest torch (nn.Sequential, no spec), with equal
weights, and both run in turns, call by call (ours, plain, plain, ours): inference at batch 1, training steps,
construction. For every network of the zoo, construction is compared with that of its bare torch layers in one
nn.Sequential. A ratio is ours / plain, the median over the turns with its 95 % interval.
"""

import gc
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from search.latency.robust import median_interval, quantile, weight_of, weighted_median
from searchspace import zoo
from searchspace.graph import Layer, lower
from searchspace.nn import build
from searchspace.nn.activations import activation
from searchspace.nn.build import channels_last
from searchspace.report import interval_text, ms_text, table
from searchspace.spec import NetworkSpec
from tests.benchmarks.harness import BenchmarkParser, Verdict, benchmark, turns
from tests.benchmarks.plain_networks import PLAIN

SPEED_LIMIT = 1.0
BUILD_LIMIT = 1.5
WIDEST_INTERVAL = 0.1  # a ratio that is known less well than this says nothing
FEWEST_TURNS = 5
INFERENCE_PIXELS = 224
PAIRS = 5
BATCH = 64


def twins(name: str) -> tuple[nn.Module, nn.Module]:
    """Our network and the plain one, both channels-last, with equal weights. Layer by layer they are in one order."""
    ours, plain = build(zoo.get(name), generator=torch.Generator().manual_seed(0)), channels_last(PLAIN[name]())
    state = plain.state_dict()
    own = ours.state_dict()
    assert [tuple(value.shape) for value in own.values()] == [tuple(value.shape) for value in state.values()]
    plain.load_state_dict(dict(zip(state, own.values(), strict=True)))
    return ours, plain


class Figure(NamedTuple):
    """One comparison: medians in ms, ratio ours / plain with its 95 % interval, and the ratio aimed at."""

    what: str
    network: str
    ours_ms: float
    plain_ms: float
    ratio: float
    low: float
    high: float
    turns: int
    limit: float

    @property
    def verdict(self) -> str:
        """reached, MISSED, or that the interval is too wide to tell."""
        if self.low > self.limit:
            return "MISSED"
        return "reached" if self.high - self.low <= WIDEST_INTERVAL or self.high <= self.limit else "too noisy"


def compare(
    what: str, network: str, ours: Callable[[], object], plain: Callable[[], object], *, seconds: float, limit: float
) -> Figure:
    """Turns of ours, plain, plain, ours for `seconds`, after one call of each.

    At least 5 turns, 1 in less than a second. Drift cancels within a turn; a turn in which plain's own speed changed
    counts less.
    """
    ours()
    plain()
    found = turns((ours, plain, plain, ours), fewest=FEWEST_TURNS if seconds >= 1 else 1, seconds=seconds)
    ratios = [((a + d) / (b + c), weight_of(b, c)) for a, b, c, d in found]
    low, high = median_interval(ratios)
    ours_ms, plain_ms = (quantile([turn[i] for turn in found for i in where], 0.5) for where in ((0, 3), (1, 2)))
    return Figure(what, network, ours_ms, plain_ms, weighted_median(ratios), low, high, len(found), limit)


@contextmanager
def quiet() -> Iterator[None]:
    """No garbage collection among the calls."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def inference(name: str, *, seconds: float, pixels: int = INFERENCE_PIXELS, pairs: int = PAIRS) -> Figure:
    """One image through both, eager, eval, channels-last: the middle of so many fresh pairs.

    Its interval holds those of all pairs, since where weights come to lie in memory moves a ratio by 2 %.
    """
    figures = sorted((_pair(name, seconds=seconds / pairs, pixels=pixels) for _ in range(pairs)), key=lambda f: f.ratio)
    return figures[pairs // 2]._replace(
        low=min(figure.low for figure in figures),
        high=max(figure.high for figure in figures),
        turns=sum(figure.turns for figure in figures),
    )


def _pair(name: str, *, seconds: float, pixels: int) -> Figure:
    """Raises AssertionError if they are not one function."""
    ours, plain = (network.eval() for network in twins(name))
    x = torch.randn(1, 3, pixels, pixels, generator=torch.Generator().manual_seed(0))
    x = x.to(memory_format=torch.channels_last)
    with quiet(), torch.inference_mode():
        torch.testing.assert_close(ours(x), plain(x), rtol=1e-4, atol=1e-5)
        return compare(
            f"inference, batch 1, {pixels} px",
            name,
            lambda: ours(x),
            lambda: plain(x),
            seconds=seconds,
            limit=SPEED_LIMIT,
        )


def training(name: str, *, seconds: float, pixels: int, batch: int) -> Figure:
    """Forward, backward and a step of SGD with momentum on one batch."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, 3, pixels, pixels, generator=generator).to(memory_format=torch.channels_last)
    y = torch.randint(0, 1000, (batch,), generator=generator)
    with quiet():
        ours, plain = (_stepper(network.train(), x, y) for network in twins(name))
        return compare(
            f"training step, batch {batch}, {pixels} px", name, ours, plain, seconds=seconds, limit=SPEED_LIMIT
        )


def _stepper(network: nn.Module, x: Tensor, y: Tensor) -> Callable[[], None]:
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)

    def step() -> None:
        loss = nn.functional.cross_entropy(network(x), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def building(name: str, *, seconds: float) -> Figure:
    """From spec to channels-last module, beside the construction of the plain module and its move there."""
    spec = zoo.get(name)
    plain = PLAIN[name]
    with quiet():
        return compare(
            "building", name, lambda: build(spec), lambda: channels_last(plain()), seconds=seconds, limit=BUILD_LIMIT
        )


def bare(spec: NetworkSpec) -> nn.Sequential:
    """The torch layers of a network, one after the other, as their own constructors leave them: no blocks, no sums."""
    return nn.Sequential(*(module for layer in lower(spec).layers for module in _bare(layer)))


def _bare(layer: Layer) -> list[nn.Module]:
    channels, out = layer.in_shape[0], layer.out_shape[0]
    match layer.op:
        case "conv":
            conv = nn.Conv2d(
                channels, out, layer.kernel, layer.stride, layer.kernel // 2, groups=layer.groups, bias=not layer.norm
            )
            return [conv, *([nn.BatchNorm2d(out)] if layer.norm else []), activation(layer.activation)]
        case "se":
            inner = layer.squeeze_channels
            return [
                nn.AdaptiveAvgPool2d(1),
                nn.Conv2d(channels, inner, 1),
                activation(layer.activation),
                nn.Conv2d(inner, channels, 1),
                activation(layer.gate),
            ]
        case "linear":
            return [nn.Linear(channels, out)]
        case _:
            return []


def building_bare(name: str, *, seconds: float) -> Figure:
    """Any network of the zoo beside its bare layers."""
    spec = zoo.get(name)
    with quiet():
        return compare(
            "building, beside bare layers",
            name,
            lambda: build(spec),
            lambda: channels_last(bare(spec)),
            seconds=seconds,
            limit=BUILD_LIMIT,
        )


def report(figures: Sequence[Figure]) -> str:
    """The figures as a table."""
    rows = [
        [
            f.what,
            f.network,
            ms_text(f.ours_ms),
            ms_text(f.plain_ms),
            f"{f.ratio:.3f}",
            interval_text(f.low, f.high, lambda ratio: f"{ratio:.3f}"),
            str(f.turns),
            f"{f.limit:.2f}",
            f.verdict,
        ]
        for f in figures
    ]
    headers = ["what", "network", "ours ms", "plain ms", "ratio", "95 % interval", "turns", "at most", ""]
    return table(headers, rows, text_columns=(0, 1, 8))


def parser() -> BenchmarkParser:
    """The command line."""
    cli = BenchmarkParser("zoo_speed", __doc__)
    cli.number("--seconds", 20.0, "of each comparison", metavar="S")
    cli.count("--pixels", 96, "of the training steps' images", metavar="PX")
    cli.add_argument("--network", action="append", choices=tuple(PLAIN), help="only these, several (default: all)")
    cli.add_argument("--quick", action="store_true", help="a fraction of a second each, small images: does it run?")
    return cli


def measure(args: Namespace) -> Iterator[Figure]:
    """All comparisons, one after the other."""
    seconds, pixels = (0.1, 32) if args.quick else (args.seconds, args.pixels)
    names = args.network or tuple(PLAIN)
    for name in names:
        if args.quick:
            yield inference(name, seconds=seconds, pixels=64, pairs=1)
        else:
            yield inference(name, seconds=seconds)
    for name in names:
        yield training(name, pixels=pixels, batch=4 if args.quick else BATCH, seconds=2 * seconds)
    for name in names:
        yield building(name, seconds=seconds / 2)
    every = args.network or (("mobilenet_v1", "squeezenet1_1") if args.quick else zoo.names())
    for name in every:
        yield building_bare(name, seconds=seconds / 5)


def run(args: Namespace) -> Verdict:
    """All figures, and whether none is missed."""
    figures = []
    for figure in measure(args):
        figures.append(figure)
        print(f"{figure.what}, {figure.network}: {figure.ratio:.3f}", file=sys.stderr, flush=True)
    return Verdict(report(figures), args.quick or all(figure.verdict != "MISSED" for figure in figures))


main = benchmark(parser, run)


if __name__ == "__main__":
    sys.exit(main())
