"""python -m search.shared: trains the shared network of a search beforehand, on one process or under torchrun."""

import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from search.settings import AUTO, NO_WEIGHTS, Settings
from searchspace.command import CommandParser, integer, positive_integer, positive_number, run_command, show_progress
from searchspace.errors import InvalidArgument
from searchspace.latency.table import read_table
from searchspace.spaces.space import SearchSpace
from searchspace.spec import NetworkSpec

ANY_MS = 1e9  # the budget where none is given

_DESCRIPTION = """\
Train the weight-sharing network of a search space beforehand, for longer or on more processes than a search would.

It is written to studies/NAME/shared.pt: python -m search.run --accuracy shared --study NAME, with the same images,
space, pixels, weights and seed, judges by it and trains none of its own. The same command again goes on where it
stopped."""

_EPILOG = """\
examples:
  python -m search.shared --study birds --data photos/ --minutes 60
  torchrun --nproc-per-node 4 -m search.shared --study birds --data photos/ --minutes 60    four GPUs, or processes
  python -m search.run --study birds --data photos/ --accuracy shared --budget-ms 20
exit codes: 0 done, 2 the input is wrong, 130 stopped by Ctrl-C (all but the last tenth is kept)."""


def parser() -> CommandParser:
    """The command line."""
    cli = CommandParser("python -m search.shared", description=_DESCRIPTION, epilog=_EPILOG)
    cli.add_argument("--study", required=True, metavar="NAME", help="the folder in studies/")
    cli.add_argument("--data", metavar="SOURCE", help="the images, as for search.run (default: digits)")
    cli.add_argument("--space", metavar="FILE", help="a TOML file that changes the default search space")
    cli.add_argument("--resolution", type=integer, default=Settings.resolution, metavar="PX", help="as for search.run")
    cli.add_argument(
        "--proxy-resolution",
        type=integer,
        default=Settings.proxy_resolution,
        metavar="PX",
        help="pixels of the images that it is trained on (default: %(default)s)",
    )
    cli.add_argument("--weights", default=AUTO, metavar="NAME", help="as for search.run (default: %(default)s)")
    cli.add_argument("--latency", type=Path, metavar="FILE", help="a latency table, for --budget-ms")
    cli.add_argument("--budget-ms", type=positive_number, metavar="MS", help="train networks within it alone")
    length = cli.add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes", type=positive_number, metavar="M", help="how long")
    length.add_argument("--images", type=positive_integer, metavar="N", help="how many images are seen, instead")
    cli.add_argument("--seed", type=integer, default=0, metavar="N", help="of splits and training (default: 0)")
    return cli


def run(args: Namespace) -> str:
    """The command's text. Raises PhinasError."""
    if (args.budget_ms is None) != (args.latency is None):
        raise InvalidArgument("--budget-ms and --latency belong together: give both, or neither for the whole space")
    settings = Settings(
        budget_ms=args.budget_ms or ANY_MS,
        data=args.data,
        resolution=args.resolution,
        proxy_resolution=args.proxy_resolution,
        weights=args.weights,
        space_file=args.space,
        seed=args.seed,
        study=args.study,
        trials=1,
    )
    settings.search_space(classes=2)  # a mistake in --space is told before images are read
    from search.weight_sharing.together import process_group

    with process_group() as is_first:
        path = train(settings, args, is_first=is_first)
    return f"the shared network is in {path}; python -m search.run --accuracy shared --study {args.study} judges by it"


def train(settings: Settings, args: Namespace, *, is_first: bool) -> Path:
    """Train, and say where the checkpoint is."""
    from search.data import is_digits, load
    from search.training.recipe import Recipe
    from search.weight_sharing.state import CHECKPOINT
    from search.weight_sharing.together import first_then_others
    from search.weight_sharing.training import SharedRecipe, SharedTrainer
    from searchspace.nn.weights.sources import resolve
    from studies.storage import folder

    with first_then_others():
        images = load(settings.data, resolution=settings.proxy_resolution, seed=settings.seed)
    weights = NO_WEIGHTS if settings.weights == AUTO and is_digits(settings.data) else settings.weights
    parents = resolve(weights, note=lambda line: print(line, file=sys.stderr) if is_first else None)
    space = settings.search_space(classes=len(images.classes))
    trainer = SharedTrainer.on(
        images,
        space,
        recipe=SharedRecipe.following(Recipe.for_data(settings.data), from_weights=parents is not None),
        seed=settings.seed,
        parents=parents,
        within=None if args.latency is None else within_budget(settings, space, args.latency),
    )
    path = folder(args.study) / CHECKPOINT
    trainer.fit(
        seconds=None if args.minutes is None else 60 * args.minutes,
        images=args.images,
        state_file=path,
        on_progress=lambda share: show_progress(share, "training the shared network") if is_first else None,
    )
    return path


def within_budget(settings: Settings, space: SearchSpace, file: Path) -> Callable[[NetworkSpec], bool]:
    """Whether a table predicts a network to be a candidate of a search with this budget."""
    from search.budget import CostModel
    from search.candidates import PricedSpace

    table = read_table(file)
    settings.check_table(table, space)
    priced = PricedSpace(space, CostModel("ms", table), confidence=settings.confidence)
    return lambda spec: priced.upper_ms(spec) <= settings.budget_ms * settings.overshoot


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code."""
    return run_command(parser(), argv, run=run, stopped="stopped; the same command goes on with what is kept")


if __name__ == "__main__":
    sys.exit(main())
