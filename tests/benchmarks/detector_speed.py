"""python -m tests.benchmarks.detector_speed: is a built detector as fast as a plain implementation?

EfficientDet-D0 is written here once more in the plainest torch (no spec, no node list), with equal weights, and both
run in turns, call by call: inference at batch 1 and training steps with the same loss. A ratio is ours / plain.
"""

import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from scaling.efficientdet.loss import DetectionLoss
from scaling.efficientdet.matching import Objects
from scaling.efficientdet.module import Outputs, build
from scaling.efficientdet.presets import get
from scaling.efficientdet.spec import DetectorSpec
from searchspace.nn.build import channels_last
from searchspace.spec import Conventions
from tests.benchmarks.harness import BenchmarkParser, Verdict, benchmark
from tests.benchmarks.plain_networks import B0, PlainBlock, PlainSE, conv_bn
from tests.benchmarks.zoo_speed import SPEED_LIMIT, Figure, compare, quiet, report

HALF = Conventions(norm_eps=1e-3, norm_momentum=0.01)  # both pad alike: TensorFlow's padding is an operation of its own
WIDTH, CELLS, DEPTH, LEVELS = 64, 3, 3, 5
# Of a BiFPN cell: inputs by index (P3 to P7, then nodes), and the level of the output.
NODES = (
    ((3, 4), 3),
    ((2, 5), 2),
    ((1, 6), 1),
    ((0, 7), 0),
    ((1, 7, 8), 1),
    ((2, 6, 9), 2),
    ((3, 5, 10), 3),
    ((4, 11), 4),
)


class PlainBackbone(nn.Module):
    """EfficientNet-B0 up to its last block; P3, P4 and P5."""

    def __init__(self) -> None:
        super().__init__()
        blocks: list[nn.Module] = [nn.Sequential(*conv_bn(3, 32, 3, stride=2), nn.SiLU(inplace=True))]
        inside = 32
        for ratio, kernel, first_stride, out, repeats in B0:
            for stride in (first_stride, *[1] * (repeats - 1)):
                se = PlainSE(ratio * inside, inside // 4, nn.SiLU, nn.Sigmoid)
                blocks.append(PlainBlock(inside, ratio * inside, out, kernel, stride, nn.SiLU, se))
                inside = out
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> list[Tensor]:
        """An image -> three maps."""
        found = []
        for place, block in enumerate(self.blocks):
            x = block(x)
            if place in (5, 11, 16):
                found.append(x)
        return found


def separable(out: int, *, norm: bool) -> list[nn.Module]:
    """Depthwise, pointwise with bias, batch norm."""
    depthwise = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, groups=WIDTH, bias=False)
    return [depthwise, nn.Conv2d(WIDTH, out, 1), *([nn.BatchNorm2d(out)] if norm else [])]


def halved(x: Tensor) -> Tensor:
    """Max pooling of a map of even size."""
    return nn.functional.max_pool2d(nn.functional.pad(x, (0, 1, 0, 1), value=-torch.inf), 3, 2)


class PlainNode(nn.Module):
    """Resampled inputs, their normalised sum, swish, a separable convolution."""

    def __init__(self, channels: list[int], inputs: tuple[int, ...], level: int) -> None:
        super().__init__()
        self.inputs, self.level = inputs, level
        self.resample = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels[at], WIDTH, 1), nn.BatchNorm2d(WIDTH))
            if channels[at] != WIDTH
            else nn.Identity()
            for at in inputs
        )
        self.weights = nn.ParameterList([torch.ones(len(inputs))])
        self.conv = nn.Sequential(*separable(WIDTH, norm=True))

    def forward(self, maps: list[Tensor], levels: list[int]) -> Tensor:
        """All maps so far -> the node's."""
        weight = self.weights[0].relu()
        weight = weight / (weight.sum() + 1e-4)
        total: Tensor | float = 0.0
        for place, (at, part) in enumerate(zip(self.inputs, self.resample, strict=True)):
            x = part(maps[at])
            if levels[at] < self.level:
                x = halved(x)
            elif levels[at] > self.level:
                x = nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
            total = total + weight[place] * x
        out: Tensor = self.conv(nn.functional.silu(total))  # type: ignore[arg-type]
        return out


class PlainHead(nn.Module):
    """Shared convolutions, a batch norm for each level."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.ModuleList(
                [nn.Sequential(*separable(WIDTH, norm=False)), *(nn.BatchNorm2d(WIDTH) for _ in range(LEVELS))]
            )
            for _ in range(DEPTH)
        )
        self.predict = nn.Sequential(*separable(outputs, norm=False))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps -> outputs."""
        found = []
        for level, x in enumerate(maps):
            for parts in self.convs:
                assert isinstance(parts, nn.ModuleList)
                x = nn.functional.silu(parts[1 + level](parts[0](x)))
            found.append(self.predict(x))
        return found


class PlainD0(nn.Module):
    """EfficientDet-D0 without a spec."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.backbone = PlainBackbone()
        self.p6 = nn.Sequential(nn.Conv2d(320, WIDTH, 1), nn.BatchNorm2d(WIDTH))
        self.cells = nn.ModuleList()
        channels = [40, 112, 320, WIDTH, WIDTH]
        for _ in range(CELLS):
            widths = channels + [WIDTH] * len(NODES)
            self.cells.append(nn.ModuleList(PlainNode(widths, inputs, level) for inputs, level in NODES))
            channels = [WIDTH] * LEVELS
        self.class_head, self.box_head = PlainHead(9 * classes), PlainHead(9 * 4)

    def forward(self, x: Tensor) -> Outputs:
        """As Detector."""
        maps = self.backbone(x)
        maps.append(halved(self.p6(maps[-1])))
        maps.append(halved(maps[-1]))
        for cell in self.cells:
            levels = list(range(LEVELS))
            for node in cell:  # type: ignore[attr-defined]
                maps.append(node(maps, levels))
                levels.append(node.level)
            maps = maps[-LEVELS:]
        return self.class_head(maps), self.box_head(maps)


def twins(spec: DetectorSpec) -> tuple[nn.Module, nn.Module]:
    """Our detector and the plain one, both channels-last, with equal weights, in one order."""
    ours, plain = build(spec, generator=torch.Generator().manual_seed(0)), channels_last(PlainD0(spec.classes))
    own, state = ours.state_dict(), plain.state_dict()
    assert [tuple(value.shape) for value in own.values()] == [tuple(value.shape) for value in state.values()]
    plain.load_state_dict(dict(zip(state, own.values(), strict=True)))
    for part in plain.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eps, part.momentum = HALF.norm_eps, HALF.norm_momentum
    return ours, plain


def parser() -> BenchmarkParser:
    """The command line."""
    cli = BenchmarkParser("detector_speed", __doc__)
    cli.count("--resolution", 512, "pixels of inference", metavar="PX")
    cli.count("--training-resolution", 256, "pixels of training; the plain one has even maps alone", metavar="PX")
    cli.count("--batch", 8, "images of a training step")
    cli.count("--classes", 90, "of both")
    cli.count("--threads", None, "that torch uses")
    cli.number("--seconds", 40.0, "for each comparison", metavar="S")
    return cli


def run(args: Namespace) -> Verdict:
    """Both comparisons. Raises AssertionError if they are not one function."""
    before = torch.get_num_threads()
    torch.set_num_threads(args.threads or before)
    try:
        published = get("d0", classes=args.classes)
        spec = replace(published, backbone=published.backbone.with_conventions(HALF), conventions=HALF)
        figures = [
            inference(spec.with_resolution(args.resolution), args.seconds),
            training(spec.with_resolution(args.training_resolution), args.batch, args.seconds),
        ]
    finally:
        torch.set_num_threads(before)
    return Verdict(report(figures), all(figure.verdict != "MISSED" for figure in figures))


def inference(spec: DetectorSpec, seconds: float) -> Figure:
    """One image through both, eager, eval, channels-last."""
    ours, plain = (each.eval() for each in twins(spec))
    x = _images(spec, 1)
    with quiet(), torch.inference_mode():
        for one, other in zip(ours(x), plain(x), strict=True):
            for a, b in zip(one, other, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
        what = f"inference, batch 1, {spec.resolution} px"
        return compare(what, "D0", lambda: ours(x), lambda: plain(x), seconds=seconds, limit=SPEED_LIMIT)


def training(spec: DetectorSpec, batch: int, seconds: float) -> Figure:
    """Forward, loss, backward and a step of SGD with momentum on one batch."""
    x, loss = _images(spec, batch), DetectionLoss(spec)
    boxes = torch.tensor([[10.0, 10.0, 60.0, 60.0], [20.0, 40.0, 100.0, 90.0]])
    objects = [Objects.of(boxes, torch.zeros(2, dtype=torch.int64)) for _ in range(batch)]
    with quiet():
        ours, plain = (_stepper(each.train(), x, objects, loss) for each in twins(spec))
        what = f"training step, batch {batch}, {spec.resolution} px"
        return compare(what, "D0", ours, plain, seconds=seconds, limit=SPEED_LIMIT)


def _images(spec: DetectorSpec, count: int) -> Tensor:
    shape = (count, 3, spec.resolution, spec.resolution)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last)


def _stepper(module: nn.Module, x: Tensor, objects: list[Objects], loss: DetectionLoss) -> Callable[[], None]:
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-3, momentum=0.9)

    def step() -> None:
        total = loss(module(x), objects).total
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        optimizer.step()

    return step


main = benchmark(parser, run, stopped="stopped; nothing is kept")


if __name__ == "__main__":
    sys.exit(main())
