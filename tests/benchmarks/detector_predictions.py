"""python -m tests.benchmarks.detector_predictions: is a whole detector's latency predicted for any backbone?

Random backbones of the search space stand under D0's neck and heads. The backbone is priced by a quick latency table of
these pixels, all behind it as measured once for backbones with as many channels at the taps; then each detector is
measured whole, decoding and non-maximum suppression included. Target: 27 of 30 within 10 %.
"""

import random
import statistics
import sys
from argparse import Namespace
from typing import Any

from searchspace.report import ms_text, signed_percent_text, table
from tests.benchmarks.harness import BenchmarkParser, Verdict, benchmark


def parser() -> BenchmarkParser:
    """The command line."""
    cli = BenchmarkParser("detector_predictions", __doc__)
    cli.count("--backbones", 30, "random ones")
    cli.count("--resolution", 512, "pixels", metavar="PX")
    cli.count("--classes", 90, "of the detectors")
    cli.count("--threads", None, "that is timed with")
    cli.number("--table-s", 60.0, "seconds for the latency table", metavar="S")
    cli.number("--seconds", 4.0, "for each detector", metavar="S")
    cli.number("--within", 0.1, "error that counts as right")
    cli.number("--target", 0.9, "share of the detectors")
    cli.count("--seed", 0, "of the backbones", least=0)
    return cli


def run(args: Namespace) -> Verdict:
    """All rows, and whether the target is reached. Raises PhinasError."""
    from scaling.efficientdet.presets import scaled
    from scaling.efficientdet.timing import measure, predict, untrained
    from search.latency.quick import quick_table
    from search.latency.runtimes import runtime
    from searchspace.spaces.mnasnet import mnasnet_space

    space, rng = mnasnet_space(resolution=args.resolution), random.Random(args.seed)
    found = quick_table(space, budget_s=args.table_s, runtime=runtime(threads=args.threads), seed=args.seed)
    specs = [
        scaled(space.spec(space.sample(rng)), phi=0, classes=args.classes, resolution=args.resolution)
        for _ in range(args.backbones)
    ]
    rests: dict[tuple[int, ...], Any] = {}
    rows, errors = [], []
    for number, spec in enumerate(specs):
        taps = spec.tap_channels
        (one,) = measure([untrained(spec)], threads=args.threads, seconds=args.seconds)
        rests.setdefault(taps, one.rest)  # of the first backbone with such taps
        guess = predict(spec, found, rests[taps])
        errors.append(guess.latency_ms / one.whole.latency_ms - 1)
        cells = [ms_text(guess.latency_ms), ms_text(one.whole.latency_ms), signed_percent_text(errors[-1])]
        rows.append([f"backbone {number}", *cells])
        print(f"{number + 1} of {len(specs)}: {signed_percent_text(errors[-1])}", file=sys.stderr, flush=True)
    right = sum(abs(error) <= args.within for error in errors)
    text = (
        f"{right} of {len(specs)} within {args.within:.0%}; median error {statistics.median(map(abs, errors)):.1%}; "
        f"{len(rests)} different taps"
    )
    head = table(["detector", "predicted", "measured", "error"], rows, text_columns=(0,))
    return Verdict(f"{head}\n{text}", right >= args.target * len(specs))


main = benchmark(parser, run, stopped="stopped; nothing is kept")


if __name__ == "__main__":
    sys.exit(main())
