"""How much cheaper is it to evaluate an iteration's proposals together than each alone?

Together: what `search.netadapt` does with all proposals before any training (`searchspace.nn.execute`): one pass of the
network over the images, and of each proposal only what it computes anew. Alone: each proposal's network built, its
weights sliced, and evaluated over the full forward pass. Both take turns in one process and must give the same
accuracies. Embedded images (digits), random weights: they decide no time.
"""

import argparse
import json
import sys
import time
from statistics import median
from typing import Any

from searchspace import zoo
from searchspace.command import CommandParser, guarded, integer, show
from searchspace.errors import InvalidArgument


def parser() -> argparse.ArgumentParser:
    """The command line."""
    cli = CommandParser(
        "python -m studies.benchmarks.netadapt_iteration", description=__doc__ or "",
        epilog="asked: MobileNetV1 at least 3 times faster. About a minute on a quiet machine.",
    )  # fmt: skip
    add = cli.add_argument
    add("--network", default="mobilenet_v1", metavar="NAME", help="a published network (default: %(default)s)")
    add("--pixels", type=integer, default=48, metavar="PX", help="of the images (default: %(default)s)")
    add("--images", type=integer, default=1000, metavar="N", help="validation images (default: %(default)s)")
    add("--repeats", type=integer, default=3, metavar="N", help="turns of each (default: %(default)s)")
    add("--json", action="store_true", help="print JSON")
    return cli


def compare(name: str, *, pixels: int, images: int, repeats: int) -> dict[str, Any]:
    """Seconds of each turn, their medians' ratio, and how far the accuracies are apart."""
    import torch

    from search.data import load
    from search.netadapt.costing import Costing
    from search.netadapt.proposals import propose
    from search.netadapt.screen import screen
    from search.netadapt.tune import first
    from search.train import evaluate
    from searchspace.graph import lower
    from searchspace.nn import build
    from searchspace.nn.descend import descend, scores

    spec = zoo.get(name, classes=10)
    network = build(spec, generator=torch.Generator().manual_seed(0)).eval()
    data = load(None, resolution=pixels)
    split = first(data.validation, images)
    costing = Costing("macs")
    cost = costing.of(lower(spec))

    def offers() -> list[Any]:
        found = propose(spec, costing, target=0.975 * cost, floor=0.0, moves=("channels",))
        return [offer.make(lambda group: scores(network, group, "l2")) for offer in found]

    together: list[float] = []
    alone: list[float] = []
    gap = 0.0
    for turn in range(repeats + 1):  # the first warms up
        began = time.perf_counter()
        found, _ = screen(network, offers(), split, gates={})
        middle = time.perf_counter()
        one_by_one = [evaluate(descend(network, step), split) for step in offers()]
        ended = time.perf_counter()
        gap = max(gap, *(abs(a - b) for (a, _), b in zip(found, one_by_one, strict=True)))
        if turn:
            together.append(middle - began)
            alone.append(ended - middle)
    return {
        "network": name, "pixels": pixels, "images": len(split), "proposals": len(one_by_one),
        "threads": torch.get_num_threads(), "together_s": together, "alone_s": alone,
        "times_faster": median(alone) / median(together), "largest_gap_of_accuracies": gap,
    }  # fmt: skip


def _span(seconds: list[float]) -> str:
    return f"{median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code."""

    def job() -> int:
        args = parser().parse_args(argv)
        zoo.get(args.network)
        for flag in ("pixels", "images", "repeats"):
            if getattr(args, flag) < 1:
                raise InvalidArgument(f"--{flag} must be at least 1, got {getattr(args, flag)}")
        row = compare(args.network, pixels=args.pixels, images=args.images, repeats=args.repeats)
        if args.json:
            return show(json.dumps(row, indent=1))
        return show(
            f"{row['network']}, {row['proposals']} proposals, {row['images']} images of {row['pixels']} px, "
            f"{row['threads']} threads\n"
            f"together {_span(row['together_s'])}\nalone    {_span(row['alone_s'])}\n"
            f"{row['times_faster']:.2f} times faster; accuracies {row['largest_gap_of_accuracies']:.4f} apart at most"
        )

    return guarded("netadapt_iteration", job, stopped="stopped; nothing is kept")


if __name__ == "__main__":
    sys.exit(main())
