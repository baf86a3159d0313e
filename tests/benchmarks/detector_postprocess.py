"""python -m tests.benchmarks.detector_postprocess: what boxes cost beside the network that gives their outputs.

Network and post-processing take turns in one process, on one image: the choice of candidates, decoding and
non-maximum suppression, for the outputs of the network itself (random weights) and for hard ones. "all high": every
anchor is sure of something. "piled up": all boxes are of one class and in 16 places, so that all candidates are
compared. "all equal": no score tells candidates apart. Target: the median share of the network's time is at most 10 %
for each of them.
"""

import statistics
import sys
from argparse import Namespace
from functools import partial
from typing import TYPE_CHECKING

from searchspace.report import ms_text, percent_text, table
from tests.benchmarks.harness import BenchmarkParser, Verdict, benchmark, turns

if TYPE_CHECKING:
    from scaling.efficientdet.module import Outputs
    from scaling.efficientdet.spec import DetectorSpec

TARGET = 0.10


def parser() -> BenchmarkParser:
    """The command line."""
    cli = BenchmarkParser("detector_postprocess", __doc__)
    cli.flag("--detector", "d0", "d0 to d7; its weights are random")
    cli.count("--pixels", 512, "of the image", metavar="PX", least=128)
    cli.count("--classes", 90, "of the detector")
    cli.count("--threads", 1, "of torch")
    cli.count("--candidates", 5000, "pairs of anchor and class before the suppression")
    cli.count("--rounds", 20, "of all in turns")
    cli.number("--target", TARGET, "largest share")
    return cli


def hard(outputs: "Outputs", spec: "DetectorSpec") -> "dict[str, Outputs]":
    """Outputs of the same shapes, by name."""
    import torch

    from scaling.efficientdet.anchors import anchor_boxes, encode

    generator = torch.Generator().manual_seed(0)
    last = torch.channels_last
    noise, shifts = (
        [torch.randn(each.shape, generator=generator).contiguous(memory_format=last) for each in part]
        for part in outputs
    )
    first = torch.arange(noise[0].shape[1]) % spec.classes == 0
    anchors = anchor_boxes(spec)
    side = spec.resolution / 4
    corner = ((anchors[:, :2] + anchors[:, 2:]) / 2).div(side, rounding_mode="floor") * side
    counts = [each[0, ::4].numel() for each in shifts]
    codes = torch.split(encode(torch.cat((corner, corner + side), 1), anchors), counts)
    pairs = zip(codes, shifts, strict=True)
    piled = [code.reshape(*each.shape[2:], -1).permute(2, 0, 1)[None] + 0.03 * each for code, each in pairs]
    shifts = [0.1 * each for each in shifts]
    return {
        "all high": ([3.0 + each for each in noise], shifts),
        "piled up": ([torch.where(first[:, None, None], 3.0 + each, -9.0) for each in noise], piled),
        "all equal": ([torch.full_like(each, 3.0) for each in noise], shifts),
    }


def run(args: Namespace) -> Verdict:
    """All in turns."""
    import torch

    from scaling import efficientdet
    from scaling.efficientdet.postprocess import detections

    torch.set_num_threads(args.threads)
    spec = efficientdet.get(args.detector, classes=args.classes).with_resolution(args.pixels)
    network = efficientdet.build(spec, generator=torch.Generator().manual_seed(0)).eval()
    image = torch.randn(1, 3, args.pixels, args.pixels, generator=torch.Generator().manual_seed(0))
    image = image.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        own = network(image)
        cases = {"the network's own": own, **hard(own, spec)}
        calls = [partial(detections, each, spec, candidates=args.candidates) for each in cases.values()]
        counts = [len(call()[0].scores) for call in calls]
        found = turns([lambda: network(image), *calls], fewest=args.rounds)
    times = [statistics.median(each) for each in zip(*found, strict=True)]
    shares = [statistics.median(turn[1 + place] / turn[0] for turn in found) for place in range(len(cases))]
    rows = [
        [name, str(count), ms_text(time), percent_text(share, 1), "reached" if share <= args.target else "MISSED"]
        for name, count, time, share in zip(cases, counts, times[1:], shares, strict=True)
    ]
    text = (
        f"{args.detector} at {args.pixels} px, {args.classes} classes, threads: {args.threads}; the network takes "
        f"{ms_text(times[0])} ms\n"
    )
    headers = ["outputs", "boxes", "ms", "of the network", f"at most {percent_text(args.target, 0)}"]
    return Verdict(text + table(headers, rows, text_columns=(0, 4)), max(shares) <= args.target)


main = benchmark(parser, run)


if __name__ == "__main__":
    sys.exit(main())
