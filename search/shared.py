"""python -m search.shared: trains the shared network of a search beforehand, on one process or under torchrun."""

import sys
from argparse import BooleanOptionalAction, Namespace
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from search.settings import AUTO, NO_WEIGHTS, Settings, px_text, resolution_of
from search.sources import SOURCE_FLAGS, source_text
from search.training import variation
from searchspace.command import (
    EMA_HELP,
    CommandParser,
    integer,
    minutes,
    positive_integer,
    positive_number,
    run_command,
    seed,
    show_progress,
)
from searchspace.errors import InvalidArgument
from searchspace.latency.table import read_table
from searchspace.spaces.presets import PRESETS
from searchspace.spaces.space import SearchSpace
from searchspace.spec import NetworkSpec
from searchspace.zoo.published import check_names
from studies.storage import folder

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
  python -m search.run --study birds --data photos/ --accuracy shared --budget-ms 20 --resolution 224
exit codes: 0 done, 2 the input is wrong, 130 stopped by Ctrl-C (all but the last tenth is kept)."""


def parser() -> CommandParser:
    """The command line."""
    cli = CommandParser("python -m search.shared", description=_DESCRIPTION, epilog=_EPILOG)
    cli.add_argument("--study", type=str, required=True, metavar="NAME", help="name of the study, a folder in studies/")
    for flag, kind, metavar, text in SOURCE_FLAGS:
        cli.add_argument(flag, type=kind, metavar=metavar, help=text)
    text = f"{', '.join(PRESETS)}, or a TOML file that changes the default search space"
    cli.add_argument("--space", type=str, metavar="NAME|FILE", help=text)
    pixels = "of networks: give search.run the same; several, as in 160,192,224, are a choice (default: %(default)s)"
    cli.add_argument("--resolution", type=str, default=str(Settings.resolution), metavar="PX", help=pixels)
    cli.add_argument(
        "--proxy-resolution",
        type=integer,
        default=Settings.proxy_resolution,
        metavar="PX",
        help="pixels of the images that it is trained on; from published weights their own, where those are more "
        "(default: %(default)s)",
    )
    cli.add_argument(
        "--weights", type=str, default=AUTO, metavar="NAME", help="as for search.run (default: %(default)s)"
    )
    cli.add_argument(
        "--augment", type=str, default=AUTO, metavar="NAMES", help=f"{variation.HELP} (default: %(default)s)"
    )
    weights = f"{variation.WEIGHTS_HELP} (default: %(default)s)"
    cli.add_argument("--class-weights", type=str, default=NO_WEIGHTS, metavar="HOW", help=weights)
    cli.add_argument("--ema", action=BooleanOptionalAction, help=EMA_HELP)
    cli.add_argument("--latency", type=Path, metavar="FILE", help="a latency table, for --budget-ms")
    cli.add_argument("--budget-ms", type=positive_number, metavar="MS", help="train networks within it alone")
    length = cli.add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes", type=minutes, metavar="M", help="how long")
    length.add_argument("--images", type=positive_integer, metavar="N", help="how many images are seen, instead")
    cli.add_argument("--seed", type=seed, default=0, metavar="N", help="of splits and training (default: 0)")
    return cli


def run(args: Namespace) -> str:
    """The command's text. Raises PhinasError."""
    if (args.budget_ms is None) != (args.latency is None):
        raise InvalidArgument("--budget-ms and --latency belong together: give both, or neither for the whole space")
    if args.resolution == AUTO:
        raise InvalidArgument(
            f"--resolution must be pixels here, got {AUTO}: give those that search.run is given, such as 224"
        )
    settings = Settings(
        budget_ms=args.budget_ms or ANY_MS,
        data=source_text(args.data, split_folders=args.split_folders, label_column=args.label_column),
        resolution=resolution_of(args.resolution),
        proxy_resolution=args.proxy_resolution,
        weights=args.weights,
        ema=args.ema,
        space_file=args.space,
        augment=args.augment,
        class_weights=args.class_weights,
        seed=args.seed,
        study=args.study,
        trials=1,
    )
    check_names(args.weights)
    folder(args.study)  # a name that cannot be
    space = settings.search_space(classes=2)  # a mistake in --space is told before images are read
    from search.weight_sharing.together import process_group
    from searchspace.nn.shared.start import check_space

    check_space(space)

    with process_group() as is_first:
        path, was_finished = train(settings, args, is_first=is_first)
    again = f"--accuracy shared --study {args.study} --resolution {px_text(settings.resolutions, ',')}"
    done = (
        "was finished before and is taken as it is (delete the file to train it longer)"
        if was_finished
        else "is trained"
    )
    return f"the shared network in {path} {done}; python -m search.run {again} and the same other flags judge by it"


def train(settings: Settings, args: Namespace, *, is_first: bool) -> tuple[Path, bool]:
    """Train; where the checkpoint is, and whether it was finished before."""
    from search.data import is_digits, load, native_resolution
    from search.deployed import judged_resolution
    from search.session import locked
    from search.training.auto_augment import decide
    from search.training.recipe import Recipe
    from search.weight_sharing.state import CHECKPOINT
    from search.weight_sharing.together import first_then_others
    from search.weight_sharing.training import SharedRecipe, SharedTrainer
    from searchspace.nn.weights.sources import resolve

    weights = NO_WEIGHTS if settings.weights == AUTO and is_digits(settings.data) else settings.weights
    parents = resolve(weights, ema=settings.ema, note=lambda line: print(line, file=sys.stderr) if is_first else None)
    pixels = settings.proxy_resolution
    with first_then_others():
        if parents is not None:
            pixels = judged_resolution(native_resolution(settings.data), pixels, settings.resolutions)
        images = load(settings.data, resolution=pixels, seed=settings.seed)
    space = settings.search_space(classes=len(images.classes))
    augment = decide(settings.augment, settings.data, images).augment
    recipe = Recipe(class_weights=settings.class_weights).varied(augment)
    trainer = SharedTrainer.on(
        images,
        space,
        recipe=SharedRecipe.following(recipe, from_weights=parents is not None),
        seed=settings.seed,
        parents=parents,
        within=None if args.latency is None else within_budget(settings, space, args.latency),
    )
    path, was_finished = folder(args.study) / CHECKPOINT, True

    def on_progress(share: float) -> None:
        nonlocal was_finished
        was_finished = False
        if is_first:
            show_progress(share, "training the shared network")

    with locked(path.parent) if is_first else nullcontext():
        trainer.fit(
            seconds=None if args.minutes is None else 60 * args.minutes,
            images=args.images,
            state_file=path,
            on_progress=on_progress,
        )
    return path, was_finished


def within_budget(settings: Settings, space: SearchSpace, file: Path) -> Callable[[NetworkSpec], bool]:
    """Whether a table predicts a network to be a candidate of a search with this budget."""
    from search.budget import CostModel
    from search.candidates import PricedSpace

    table = read_table(file)
    settings.check_table(table, space)
    priced = PricedSpace(space, CostModel("ms", table), confidence=settings.confidence)
    return lambda spec: priced.is_within(spec, settings.budget_ms * settings.overshoot)


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code."""
    return run_command(parser(), argv, run=run, stopped="stopped; the same command goes on with what is kept")


if __name__ == "__main__":
    sys.exit(main())
