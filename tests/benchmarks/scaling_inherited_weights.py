"""python -m tests.benchmarks.scaling_inherited_weights: how many epochs does an inherited start save?

A small network is trained, grown by phi = 1, and the grown network is trained from scratch and from the inherited
weights. The inherited one is trained with shorter schedules too, each whole (warm-up and cosine); the shortest whose
validation accuracy is at least that of the scratch training says what is saved. Its training is counted alone: the
small network is there already. Every training is kept in --json; what stands there is not repeated.
"""

import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from searchspace.command import CommandParser, integer, number
from searchspace.errors import PhinasError

if TYPE_CHECKING:
    from scaling.growth import Grown
    from search.data import Dataset
    from searchspace.nn import Network
    from searchspace.template import Template

CIFAR = Path("../shared/data/cifar10-train.tar")
SHARES = (0.125, 0.25, 0.375, 0.5, 0.75, 1.0)


def parser() -> CommandParser:
    """The command line."""
    cli = CommandParser(
        "python -m tests.benchmarks.scaling_inherited_weights",
        description=__doc__ or "",
        epilog="exit codes: 0 done, 2 wrong",
    )
    cli.add_argument("--data", default=str(CIFAR), help="data set (default: %(default)s)")
    cli.add_argument(
        "--network",
        default="smallest",
        metavar="NAME",
        help="smallest (the search space's smallest "
        "corner), or a name of the zoo or a spec file (default: %(default)s)",
    )
    cli.add_argument("--phi", type=number, default=1.0, help="default: %(default)g")
    cli.add_argument("--epochs", type=integer, default=24, help="from scratch (default: %(default)s)")
    cli.add_argument(
        "--small-epochs",
        type=integer,
        metavar="N",
        help="of the small network, which is there already (default: 4 times --epochs)",
    )
    cli.add_argument(
        "--rate",
        type=number,
        metavar="SHARE",
        help="peak rate of inherited trainings, of the one from scratch (default: scaling.compound's)",
    )
    cli.add_argument(
        "--proxy-resolution", type=integer, default=32, metavar="PX", help="of the small network (default: %(default)s)"
    )
    cli.add_argument("--seeds", type=integer, default=3, help="default: %(default)s")
    cli.add_argument("--json", type=Path, metavar="FILE", help="keep every training here")
    return cli


@dataclass
class Trainings:
    """Accuracies by key, each on disk before the next."""

    path: Path | None
    about: dict[str, Any]
    accuracies: dict[str, float]

    @classmethod
    def opened(cls, path: Path | None, about: dict[str, Any]) -> "Trainings":
        """What stands in the file, if it is of the same settings. Raises StorageError."""
        from searchspace.files import read_json

        stored: dict[str, Any] = read_json(path) if path is not None and path.exists() else {}
        return cls(path, about, stored["accuracies"] if stored.get("about") == about else {})

    def get(self, key: str, train: Callable[[], float]) -> float:
        """The accuracy of `key`, trained now if it is not known."""
        from searchspace.files import write_atomic

        if key not in self.accuracies:
            self.accuracies[key] = train()
            print(f"{key}: {self.accuracies[key]:.2%}", flush=True)
            if self.path is not None:
                write_atomic(self.path, json.dumps({"about": self.about, "accuracies": self.accuracies}, indent=1))
        return self.accuracies[key]


def one_seed(
    template: "Template", grown: "Grown", data: "tuple[Dataset, Dataset]", args: Any, seed: int, done: Trainings
) -> tuple[float, float, float]:
    """(accuracy from scratch, accuracy inherited with all epochs, share of the epochs at which inheritance is as good;
    inf if it never is)."""
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

    def fresh(spec: Any) -> "Network":
        return build(spec, generator=torch.Generator().manual_seed(seed))

    @cache
    def small() -> "Network":
        """Trained when it is first needed: its weights are not kept, and the same seed gives the same ones."""
        module = fresh(template.expand())
        accuracy = trained(module, small_data, replace(recipe, epochs=_small_epochs(args)))
        done.get(f"small, seed {seed}", lambda: accuracy)
        return module

    def inherited(own: Recipe) -> float:
        deep = template.expand(depth=grown.factors.depth)
        start = inherit(small(), deep, grown.spec, generator=torch.Generator().manual_seed(seed))
        return trained(start.network, large_data, own)

    scratch = done.get(f"scratch, seed {seed}", lambda: trained(fresh(grown.spec), large_data, recipe))
    found = {}
    for share in SHARES:
        own = recipe.onward(epochs=max(1, round(share * epochs)))
        if args.rate is not None:
            own = replace(own, learning_rate=args.rate * recipe.learning_rate)
        found[own.epochs / epochs] = done.get(f"inherited, {own.epochs} epochs, seed {seed}", partial(inherited, own))
    enough = min((share for share, accuracy in found.items() if accuracy >= scratch), default=float("inf"))
    return scratch, found[max(found)], enough


def _small_epochs(args: Any) -> int:
    return int(args.small_epochs or 4 * args.epochs)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; the exit code."""
    try:
        args = parser().parse_args(argv)
        if args.data != "digits" and not Path(args.data).exists():
            print(f"skipped: this study needs {args.data}, which is not on this machine (--data names another)")
            return 0
        _run(args)
    except PhinasError as error:
        print(f"scaling_inherited_weights: {error}", file=sys.stderr)
        return 2
    return 0


def _run(args: Any) -> None:
    from scaling.coefficients import Coefficients
    from scaling.growth import grow
    from scaling.task import base_template
    from search.data import load
    from search.training.recipe import Recipe
    from searchspace.spaces.mnasnet import mnasnet_space
    from searchspace.to_template import to_template

    if args.network == "smallest":
        space = mnasnet_space()
        template = to_template(space.spec(space.corner("smallest"), name="smallest"))
    else:
        template = base_template(Path(args.network))
    small = load(args.data, resolution=args.proxy_resolution)
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
    done = Trainings.opened(args.json, about)
    data = (small, load(args.data, resolution=pixels))
    print(
        f"{template.name}, phi {args.phi:g}: {args.proxy_resolution} to {pixels} px, "
        f"{_small_epochs(args)} and {args.epochs} epochs of "
        f"{min(Recipe().epoch_images, len(small.train))} images",
        flush=True,
    )
    rows = [one_seed(template, grown, data, args, seed, done) for seed in range(args.seeds)]
    for what, values in zip(("from scratch", "inherited, all epochs"), zip(*rows, strict=True), strict=False):
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        print(f"{what:24}{statistics.mean(values):8.2%} +- {100 * spread:.2f} points")
    shares = [share for _, _, share in rows]
    print(
        f"epochs to the scratch accuracy, as a share: {', '.join(f'{share:g}' for share in shares)}; "
        f"mean {statistics.mean(shares):.2f} (aim: 0.5 or less)"
    )


if __name__ == "__main__":
    sys.exit(main())
