"""python -m tests.benchmarks.scaling_inherited_weights: how many epochs does an inherited start save?

A small network is trained, grown by phi = 1, and the grown network is trained from scratch and from the inherited
weights. The inherited one is trained with shorter schedules too, each whole (warm-up and cosine); the shortest whose
validation accuracy is at least that of the scratch training says what is saved. Its training is counted alone: the
small network is there already. Every training is kept in --json; what stands there is not repeated.
"""

import statistics
import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from searchspace.command import number
from searchspace.report import percent_text, table
from tests.benchmarks.harness import CIFAR, BenchmarkParser, Kept, benchmark, needed, spread_text

if TYPE_CHECKING:
    from scaling.growth import Grown
    from search.data import Dataset
    from searchspace.nn import Network
    from searchspace.template import Template

SHARES = (0.125, 0.25, 0.375, 0.5, 0.75, 1.0)


def parser() -> BenchmarkParser:
    """The command line."""
    cli = BenchmarkParser("scaling_inherited_weights", __doc__)
    cli.flag("--data", str(CIFAR), "data set")
    network = "smallest (the search space's smallest corner), or a name of the zoo or a spec file"
    cli.flag("--network", "smallest", network, metavar="NAME")
    cli.flag("--phi", 1.0, "compound coefficient of the growth", type=number)
    cli.count("--epochs", 24, "from scratch")
    cli.count("--small-epochs", None, "of the small network, which is there already (default: 4 times --epochs)")
    rate = "peak rate of inherited trainings, of the one from scratch (default: scaling.compound's)"
    cli.number("--rate", None, rate, metavar="SHARE")
    cli.count("--proxy-resolution", 32, "of the small network", metavar="PX")
    cli.count("--seeds", 3, "weights and batches")
    cli.json()
    return cli


def one_seed(
    template: "Template", grown: "Grown", data: "tuple[Dataset, Dataset]", args: Any, seed: int, kept: Kept
) -> tuple[float, float, float]:
    """Accuracy from scratch, accuracy inherited with all epochs, share of the epochs at which inheritance is as good.

    The share is infinite if it never is.
    """
    import torch

    from search.training.recipe import Recipe
    from search.training.trainer import Trainer
    from searchspace.nn import build
    from searchspace.nn.weights.grow import inherit

    small_data, large_data = data
    epochs = args.epochs
    recipe = replace(Recipe.for_data("photographs"), epochs=epochs)

    def trained(module: "Network", images: "Dataset", own: Recipe) -> float:
        return Trainer.on(images, recipe=own, seed=seed).fit(module).accuracy

    def once(key: str, make: Callable[[], float]) -> float:
        accuracy = float(kept.once(f"{key}, seed {seed}", make))
        print(f"{key}, seed {seed}: {percent_text(accuracy, 2)}", file=sys.stderr, flush=True)
        return accuracy

    def fresh(spec: Any) -> "Network":
        return build(spec, generator=torch.Generator().manual_seed(seed))

    @cache
    def small() -> "Network":
        """Trained when it is first needed: its weights are not kept, and the same seed gives the same ones."""
        module = fresh(template.expand())
        accuracy = trained(module, small_data, replace(recipe, epochs=_small_epochs(args)))
        once("small", lambda: accuracy)
        return module

    def inherited(own: Recipe) -> float:
        deep = template.expand(depth=grown.factors.depth)
        start = inherit(small(), deep, grown.spec, generator=torch.Generator().manual_seed(seed))
        return trained(start.network, large_data, own)

    scratch = once("scratch", lambda: trained(fresh(grown.spec), large_data, recipe))
    found = {}
    for share in SHARES:
        own = recipe.onward(epochs=max(1, round(share * epochs)))
        if args.rate is not None:
            own = replace(own, learning_rate=args.rate * recipe.learning_rate)
        found[own.epochs / epochs] = once(f"inherited, {own.epochs} epochs", partial(inherited, own))
    enough = min((share for share, accuracy in found.items() if accuracy >= scratch), default=float("inf"))
    return scratch, found[max(found)], enough


def _small_epochs(args: Any) -> int:
    return int(args.small_epochs or 4 * args.epochs)


def run(args: Namespace) -> str:
    """Every training that is missing, and the figures. Raises Skipped."""
    from scaling.base import base_template
    from scaling.formula import Coefficients
    from scaling.growth import grow
    from search.data import load
    from search.training.recipe import Recipe
    from searchspace.spaces.mnasnet import mnasnet_space
    from searchspace.to_template import to_template

    if args.network == "smallest":
        space = mnasnet_space()
        template = to_template(space.spec(space.corner("smallest"), name="smallest"))
    else:
        template = base_template(Path(args.network))
    small = load(needed(args.data), resolution=args.proxy_resolution)
    template = template.with_classes(len(small.classes))
    grown = grow(template, phi=args.phi, coefficients=Coefficients())
    pixels = round(args.proxy_resolution * grown.factors.resolution / template.resolution)
    about = {
        "network": template.expand().fingerprint(),
        "grown": grown.spec.fingerprint(),
        "epochs": args.epochs,
        "small_epochs": _small_epochs(args),
        "rate": args.rate,
        "pixels": [args.proxy_resolution, pixels],
        "data": small.fingerprint,
        "recipe": asdict(Recipe.for_data("photographs")),
    }
    kept = Kept(args.json, about)
    data = (small, load(args.data, resolution=pixels))
    rows = [one_seed(template, grown, data, args, seed, kept) for seed in range(args.seeds)]
    scratch, inherited, shares = zip(*rows, strict=True)
    images = min(Recipe().epoch_images, len(small.train))
    cells = [["from scratch", spread_text(scratch)], ["inherited, all epochs", spread_text(inherited)]]
    return "\n".join(
        [
            f"{template.name}, phi {args.phi:g}: {args.proxy_resolution} to {pixels} px, {_small_epochs(args)} and "
            f"{args.epochs} epochs of {images} images",
            table(["training", "accuracy +- points"], cells, text_columns=(0,)),
            f"epochs to the scratch accuracy, as a share: {', '.join(f'{share:g}' for share in shares)}; "
            f"mean {statistics.mean(shares):.2f} (aim: 0.5 or less)",
        ]
    )


main = benchmark(parser, run, stopped="stopped; every training that ended is kept where --json says")


if __name__ == "__main__":
    sys.exit(main())
