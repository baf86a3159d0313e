"""How much cheaper is it to evaluate an iteration's proposals together than each alone?

Together: what `search.netadapt` does with all proposals before any training (`search.netadapt.screen`): one pass of the
network over the images, of each proposal only what it computes anew, and of most images only for the better half of
the proposals. Without halves: the same with all images for all. Alone: each proposal's network built, its weights
sliced, and evaluated over the full forward pass. All take turns in one process, must give the same accuracies where
they saw the same images, and the proposals that would be trained are compared.
Embedded images (digits), random weights: they decide no time.
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
        "python -m tests.benchmarks.netadapt_screening",
        description=__doc__ or "",
        epilog="asked: MobileNetV1 at least 3 times faster. About a minute on a quiet machine.",
    )
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

    from search.budget import CostModel
    from search.data import load
    from search.netadapt.proposals import propose
    from search.netadapt.screen import screen
    from search.netadapt.short_training import first
    from search.training.evaluate import evaluate
    from searchspace.graph import lower
    from searchspace.nn import build
    from searchspace.nn.weights.importance import scores
    from searchspace.nn.weights.prune import prune_network

    spec = zoo.get(name, classes=10)
    network = build(spec, generator=torch.Generator().manual_seed(0)).eval()
    data = load(None, resolution=pixels)
    split = first(data.validation, images)
    cost_model = CostModel("macs")
    cost = cost_model.cost(lower(spec))

    def offers() -> list[Any]:
        found = propose(spec, cost_model, target=0.975 * cost, floor=0.0, moves=("channels",))
        return [offer.make(lambda group: scores(network, group, "l2")) for offer in found]

    together: list[float] = []
    without: list[float] = []
    alone: list[float] = []
    gap = 0.0
    for turn in range(repeats + 1):  # the first warms up
        began = time.perf_counter()
        halved = screen(network, offers(), split, gates={}, rank=lambda _, look: (look.loss,))
        first_done = time.perf_counter()
        found = screen(network, offers(), split, gates={})
        middle = time.perf_counter()
        one_by_one = [evaluate(prune_network(network, step), split) for step in offers()]
        ended = time.perf_counter()
        gap = max(gap, *(abs(look.accuracy - other) for look, other in zip(found, one_by_one, strict=True)))
        if turn:
            together.append(first_done - began)
            without.append(middle - first_done)
            alone.append(ended - middle)
    return {
        "network": name,
        "pixels": pixels,
        "images": len(split),
        "proposals": len(one_by_one),
        "threads": torch.get_num_threads(),
        "together_s": together,
        "without_halves_s": without,
        "alone_s": alone,
        "times_faster": median(alone) / median(together),
        "times_faster_without_halves": median(alone) / median(without),
        "largest_gap_of_accuracies": gap,
        "best_4_in_common": len(_best(halved) & _best(found)),
    }


def _best(looks: list[Any]) -> set[int]:
    """The four with the least loss of those that saw the most images."""
    return set(sorted(range(len(looks)), key=lambda place: (-looks[place].images, looks[place].loss))[:4])


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
            f"together       {_span(row['together_s'])}: {row['times_faster']:.2f} times faster\n"
            f"without halves {_span(row['without_halves_s'])}: {row['times_faster_without_halves']:.2f} times faster\n"
            f"alone          {_span(row['alone_s'])}\n"
            f"accuracies {row['largest_gap_of_accuracies']:.4f} apart at most; of the four best proposals "
            f"{row['best_4_in_common']} are the same with halves"
        )

    return guarded("netadapt_screening", job, stopped="stopped; nothing is kept")


if __name__ == "__main__":
    sys.exit(main())
