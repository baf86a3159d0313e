"""python -m tests.benchmarks.netadapt_screening: are proposals cheaper to evaluate together than each alone?

Together: what `search.netadapt` does with all proposals before any training (`search.netadapt.screen`): one pass of the
network over the images, of each proposal only what it computes anew, and of most images only for the better half of
the proposals. Without halves: the same with all images for all. Alone: each proposal's network built, its weights
sliced, and evaluated over the full forward pass. All take turns in one process, must give the same accuracies where
they saw the same images, and the proposals that would be trained are compared.
Embedded images (digits), random weights: they decide no time.
"""

import json
import sys
from argparse import Namespace
from statistics import median
from typing import Any

from searchspace import zoo
from searchspace.report import table
from tests.benchmarks.harness import BenchmarkParser, Row, benchmark, turns


def parser() -> BenchmarkParser:
    """The command line."""
    note = "asked: MobileNetV1 at least 3 times faster. About a minute on a quiet machine."
    cli = BenchmarkParser("netadapt_screening", __doc__, note=note)
    cli.flag("--network", "mobilenet_v1", "a published network", metavar="NAME")
    cli.count("--pixels", 48, "of the images", metavar="PX")
    cli.count("--images", 1000, "validation images")
    cli.count("--repeats", 3, "turns of each")
    cli.add_argument("--json", action="store_true", help="print JSON")
    return cli


def compare(name: str, *, pixels: int, images: int, repeats: int) -> Row:
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

    def proposals() -> list[Any]:
        found = propose(spec, cost_model, target=0.975 * cost, floor=0.0, moves=("channels",))
        return [proposal.make(lambda group: scores(network, group, "l2")) for proposal in found]

    looks: dict[str, list[Any]] = {}

    def halved() -> None:
        looks["halved"] = screen(network, proposals(), split, gates={}, rank=lambda _, look: (look.loss,))

    def whole() -> None:
        looks["whole"] = screen(network, proposals(), split, gates={})

    def alone() -> None:
        looks["alone"] = [evaluate(prune_network(network, step), split) for step in proposals()]

    turns([halved, whole, alone], fewest=1)  # warms up
    together, without, one_by_one = zip(*turns([halved, whole, alone], fewest=repeats), strict=True)
    gaps = [abs(look.accuracy - other) for look, other in zip(looks["whole"], looks["alone"], strict=True)]
    return {
        "network": name,
        "pixels": pixels,
        "images": len(split),
        "proposals": len(gaps),
        "threads": torch.get_num_threads(),
        "together_ms": together,
        "without_halves_ms": without,
        "alone_ms": one_by_one,
        "times_faster": median(one_by_one) / median(together),
        "times_faster_without_halves": median(one_by_one) / median(without),
        "largest_gap_of_accuracies": max(gaps),
        "best_4_in_common": len(_best(looks["halved"]) & _best(looks["whole"])),
    }


def _best(looks: list[Any]) -> set[int]:
    """The four with the least loss of those that saw the most images."""
    return set(sorted(range(len(looks)), key=lambda place: (-looks[place].images, looks[place].loss))[:4])


def report(row: Row) -> str:
    """The figures."""
    cells = [
        [way, *(f"{figure(row[key]) / 1e3:.2f}" for figure in (median, min, max)), faster and f"{row[faster]:.2f}"]
        for way, key, faster in (
            ("together", "together_ms", "times_faster"),
            ("without halves", "without_halves_ms", "times_faster_without_halves"),
            ("alone", "alone_ms", ""),
        )
    ]
    title = (
        f"{row['network']}, {row['proposals']} proposals, {row['images']} images of {row['pixels']} px, "
        f"{row['threads']} threads"
    )
    return (
        f"{table(['evaluated', 'seconds', 'least', 'most', 'times faster'], cells, text_columns=(0,), title=title)}\n"
        f"accuracies {row['largest_gap_of_accuracies']:.4f} apart at most; of the four best proposals "
        f"{row['best_4_in_common']} are the same with halves"
    )


def run(args: Namespace) -> str:
    """The comparison."""
    row = compare(args.network, pixels=args.pixels, images=args.images, repeats=args.repeats)
    return json.dumps(row, indent=1) if args.json else report(row)


main = benchmark(parser, run)


if __name__ == "__main__":
    sys.exit(main())
