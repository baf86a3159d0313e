"""python -m tests.benchmarks.latency_fusion: does a runtime of ONNX models fuse what its profile says that it fuses?

Tables take from the runtime's own profile which layer's kernel does what. Here the same is found by measuring pairs, as
nn-Meter does (MobiSys 2021, section 4.1): two operators one after the other save much of the faster one's time where
they are one kernel, and nothing where they are two. The operators are those of an MBConv block, each behind a
convolution and a pooling of single pixels, which leave the layout of a network and fuse with nothing behind them; times
are less what those take.
"""

import itertools
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from searchspace.errors import InvalidArgument
from searchspace.report import percent_text, table
from tests.benchmarks.harness import BenchmarkParser, benchmark, in_reference_units

if TYPE_CHECKING:
    from search.latency.onnx_models import OnnxModels
    from searchspace.graph import Layer
    from searchspace.nn.onnx_model import OnnxGraph

FUSED = 0.5  # of the faster operator's time, saved: nn-Meter's threshold
LEAST = 0.002  # of the reference's time: the least that differs from nothing
FIRST, SECOND = "first", "second"
Shape = tuple[int, int, int]
Step = Callable[["OnnxGraph", str, str, dict[str, Any]], str]  # adds an operator behind a value; the name of its output


class Operator(NamedTuple):
    """What is timed: its name, the shapes that it takes and gives (channels, height, width), its nodes."""

    name: str
    takes: Shape
    gives: Shape
    step: Step


class Pair(NamedTuple):
    """Two operators: their times alone and together in units of the reference, and the profile's share of each."""

    name: str
    first: float
    second: float
    together: float
    shares: tuple[float, float]

    @property
    def saved(self) -> float:
        """What the two save together, as a share of the faster one's time."""
        return (self.first + self.second - self.together) / max(LEAST, min(self.first, self.second))

    @property
    def fused(self) -> bool:
        """Whether their times say that they are one kernel."""
        return self.saved > FUSED

    @property
    def fused_by_profile(self) -> bool:
        """Whether the profile has no time of one of them."""
        return min(self.shares) == 0.0


def parser() -> BenchmarkParser:
    """The command line."""
    cli = BenchmarkParser("latency_fusion", __doc__, note="about a minute on a quiet machine")
    cli.flag("--runtime", "onnxruntime", "of ONNX models", metavar="NAME")
    cli.count("--threads", None, "default: as torch has here")
    cli.count("--channels", 40, "of the block")
    cli.count("--pixels", 28, "of the block's maps", metavar="PX")
    cli.number("--seconds", 30.0, "of timing", metavar="S")
    return cli


def pairs_of(channels: int, pixels: int) -> list[tuple[Operator, Operator]]:
    """Neighbours in an MBConv block with SE and a skip, and a convolution with each activation."""
    from searchspace.blocks import Classifier, ConvBN, MBConv
    from searchspace.graph import lower
    from searchspace.spec import NetworkSpec, Stage

    block = MBConv(
        expand_channels=6 * channels,
        out_channels=channels,
        kernel=3,
        stride=1,
        activation="identity",
        squeeze_channels=max(1, channels // 4),
        skip=True,
    )
    stem, end = ConvBN(out_channels=channels, kernel=3, activation="relu"), Classifier(classes=2)
    stages = (Stage("stem", (stem,)), Stage("body", (block,)), Stage("classifier", (end,)))
    layers = lower(NetworkSpec("pairs", pixels, stages)).layers[1:6]
    expand = layers[0]
    chain = [
        _operator(name, layer)
        for name, layer in zip(("expand", "depthwise", "SE", "project", "add"), layers, strict=True)
    ]
    activations = [Operator(name, expand.out_shape, expand.out_shape, _activation(name)) for name in _ACTIVATIONS]
    return [*itertools.pairwise(chain), *((chain[0], activation) for activation in activations)]


def _operator(name: str, layer: "Layer") -> Operator:
    def step(model: "OnnxGraph", value: str, place: str, feeds: dict[str, Any]) -> str:
        from search.latency.machine import noise
        from search.latency.onnx_models import random_weights

        inside, inputs = layer._replace(name=place), [value]
        if layer.op == "add":
            inputs.append(model.input(f"{place}/other", (1, *layer.in_shape)))
            feeds[inputs[-1]] = noise(layer.in_shape[0], layer.in_shape[1]).numpy()
        return model.layer(inside, inputs, random_weights(inside), place)

    return Operator(name, layer.in_shape, layer.out_shape, step)


_ACTIVATIONS = {"relu": ("Relu",), "h_swish": ("HardSwish",), "swish": ("Sigmoid", "Mul")}


def _activation(name: str) -> Step:
    def step(model: "OnnxGraph", value: str, place: str, _: dict[str, Any]) -> str:
        out = value
        for op in _ACTIVATIONS[name]:
            out = model.node(op, [value, out] if op == "Mul" else [out], f"{place}/{op.lower()}")
        return out

    return step


def model_of(operators: Sequence[tuple[str, Operator]], takes: Shape) -> tuple[bytes, dict[str, Any]]:
    """Operators (with the names of their places) behind what gives `takes`, as a model; its inputs."""
    import torch

    from search.latency.machine import noise
    from search.latency.onnx_models import FEED_CHANNELS
    from searchspace.nn.onnx_model import OnnxGraph

    model, feeds = OnnxGraph(), {"image": noise(FEED_CHANNELS, takes[1]).numpy()}
    source = model.input("image", (1, FEED_CHANNELS, takes[1], takes[2]))
    weight = torch.randn(takes[0], FEED_CHANNELS, 1, 1, generator=torch.Generator().manual_seed(0)) / 4
    value = model.node("Conv", [source, model.weight("feed.weight", weight)], "feed/conv", kernel_shape=[1, 1])
    value = model.node("MaxPool", [value], "feed/pool", kernel_shape=[1, 1])
    gives = takes
    for place, operator in operators:
        value, gives = operator.step(model, value, place, feeds), operator.gives
    value = model.node("GlobalAveragePool", [value], "tail/pool")
    model.output(value, (1, gives[0], 1, 1))
    return model.proto("pair").SerializeToString(), feeds


def measured(args: Namespace) -> list[Pair]:
    """All pairs, timed in one run."""
    from search.latency.onnx_models import OnnxModels
    from search.latency.runtimes import runtime

    device = runtime(args.runtime, threads=args.threads)
    if not isinstance(device, OnnxModels):
        raise InvalidArgument(f"--runtime must run ONNX models (onnxruntime or openvino), got {args.runtime}")
    operators_of = pairs_of(args.channels, args.pixels)
    models = [
        model_of(operators, takes)
        for first, second in operators_of
        for operators, takes in (
            ([], first.takes),
            ([(FIRST, first)], first.takes),
            ([], second.takes),
            ([(SECOND, second)], second.takes),
            ([(FIRST, first), (SECOND, second)], first.takes),
        )
    ]
    timers = [_timer(device, *model) for model in models]
    times = [parts[0] for parts in in_reference_units(timers, device, args.seconds)]
    return [
        Pair(
            f"{first.name} + {second.name}",
            times[place + 1] - times[place],
            times[place + 3] - times[place + 2],
            times[place + 4] - times[place],
            _shares(device, *models[place + 4]),
        )
        for place, (first, second) in zip(range(0, len(models), 5), operators_of, strict=True)
    ]


def _timer(device: "OnnxModels", model: bytes, feeds: dict[str, Any]) -> Callable[[], Sequence[int]]:
    from search.latency.onnx_models import timed as one_call

    call = device.load(device.prepared(model))
    return lambda: (one_call(call, feeds),)


def _shares(device: "OnnxModels", model: bytes, feeds: dict[str, Any]) -> tuple[float, float]:
    """The profile's share of both operators of a pair."""
    runs = device.profile(device.prepared(model), feeds)
    total = sum(took for one in runs for _, took in one)
    first, second = (
        sum(took for one in runs for name, took in one if name.startswith(f"{place}/")) / total
        for place in (FIRST, SECOND)
    )
    return first, second


def report(found: Sequence[Pair]) -> str:
    """The figures."""
    words = {True: "one kernel", False: "two"}
    rows = [
        [
            pair.name,
            *(f"{time:.3f}" for time in (pair.first, pair.second, pair.together)),
            percent_text(pair.saved, 0),
            words[pair.fused],
            words[pair.fused_by_profile],
        ]
        for pair in found
    ]
    headers = ["pair", "first", "second", "together", "saved", "by pairs", "by the profile"]
    agreed = sum(pair.fused == pair.fused_by_profile for pair in found)
    return (
        f"{table(headers, rows, text_columns=(0, 5, 6))}\n"
        "times in units of the reference network; saved: of the faster operator's time\n"
        f"pairs and profile agree on {agreed} of {len(found)}"
    )


main = benchmark(parser, lambda args: report(measured(args)))


if __name__ == "__main__":
    sys.exit(main())
