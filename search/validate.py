"""python -m search.validate: which accuracy estimator tells best, by networks that are trained fully.

Also `search.validate(...)`.
"""

import json
import math
import shlex
import sys
from argparse import BooleanOptionalAction, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.accuracy import names as estimators
from search.settings import Settings as SearchSettings
from search.settings import check_minutes
from search.sources import SOURCE_FLAGS, source_text
from search.training import variation
from search.validation.settings import BAND, PREPARE_MINUTES, Settings
from searchspace.arguments import check_flag, check_threads, check_types
from searchspace.command import EMA_HELP, CommandParser, integer, number, run_command
from searchspace.errors import InvalidArgument
from searchspace.lazy import make_callable
from searchspace.spaces.presets import PRESETS
from searchspace.zoo.published import check_names

if TYPE_CHECKING:
    from search.validation.comparison import Comparison

_WITHOUT_EPOCHS, _WITHOUT_PREPARATION = {"frozen", "shared"}, {"frozen", "training", "finetune"}  # of the estimators
NEAR = 1.2  # times the MACs of the smaller of two networks: a pair of about equal MACs

_DESCRIPTION = f"""\
Train a set of networks fully, once, and compare with them what every accuracy estimator says in seconds.

The set holds known and published networks and random ones, priced {BAND[0]:g} to {BAND[1]:g} times a budget. Each is
trained as long as the others; held-out validation images tell its accuracy, and no estimator sees them. The test split
stays closed. Some networks are trained twice: how far two seeds agree is as well as any estimator can tell.

All is kept: FILE.csv has a row for each training, FILE.json the settings, FILE.scores.csv what estimators said. The
same command goes on where it stopped, and an estimator that is new costs only its own scores."""

_EPILOG = """\
examples:
  python -m search.validate --reference photos.csv --budget-macs 50e6 --data photos/
  python -m search.validate --reference photos.csv --budget-ms 20 --latency phone.json --data photos/
  python -m search.validate --reference scratch.csv --budget-macs 50e6 --data photos/ --weights none
  python -m search.validate --reference photos.csv --budget-macs 50e6 --data photos/ --as-is --plot tau.png

in Python: search.validate("photos.csv", budget_macs=50e6, data="photos/"), with the same keywords as these flags
exit codes: 0 done, 2 the input is wrong, 130 stopped by Ctrl-C (all but the training under way is kept)."""

_FLAGS: list[tuple[str, Any, str, str]] = [
    ("--reference", str, "FILE.csv", "where the set is kept; settings and scores stand beside it"),
    ("--budget-macs", number, "M", "middle of the band in MACs at --resolution: nothing is timed"),
    ("--budget-ms", number, "MS", "middle of the band in ms, by a latency table"),
    ("--latency", str, "FILE", "the table; without it this machine's own, as search.latency build has measured it"),
    *SOURCE_FLAGS,
    ("--weights", str, "NAME", f"what networks start from, as for search.run (default: {Settings.weights})"),
    ("--ema", BooleanOptionalAction, "", EMA_HELP),
    ("--resolution", integer, "PX", f"pixels that networks are trained and judged at (default: {Settings.resolution})"),
    ("--networks", integer, "N", f"in the set (default: {Settings.networks}); a larger N adds some"),
    ("--twice", number, "X", f"share of them that is trained by a second seed too (default: {Settings.twice:g})"),
    ("--minutes-each", number, "M", f"of each training (default: {Settings.minutes_each:g})"),
    ("--images-each", integer, "N", "training images that each one sees, in place of minutes: results repeat"),
    ("--judged-images", integer, "N", f"held-out images that tell accuracy, at most ({Settings.judged_images})"),
    ("--space", str, "NAME|FILE", f"{', '.join(PRESETS)}, or a TOML file that changes the search space"),
    ("--seed", integer, "N", "of the choice of networks, splits and trainings (default: 0)"),
    ("--augment", str, "NAMES", f"{variation.HELP} (default: auto)"),
    ("--class-weights", str, "HOW", f"{variation.WEIGHTS_HELP} (default: none)"),
    ("--as-is", None, "", "train nothing more: compare with the networks that are there"),
    ("--accuracy", str, "NAMES", f"estimators, separated by commas (default: all, {','.join(estimators())})"),
    ("--proxy-resolution", integer, "PX", f"pixels of their images (default: {SearchSettings.proxy_resolution})"),
    ("--prepare-minutes", number, "M", f"of an estimator that trains once for all (default: {PREPARE_MINUTES:g})"),
    ("--epochs", integer, "N", "of their short trainings, as for search.run"),
    ("--band", number, "X", f"pairs of about equal MACs differ by this factor at most (default: {NEAR:g})"),
    ("--threads", integer, "N", "that compute (default: as many as torch takes)"),
    ("--plot", str, "FILE", "draw the figure: .png, .svg or .pdf; needs the extra 'plot'"),
    ("--json", None, "", "print the figures as JSON, and no progress"),
]


def parser() -> CommandParser:
    """The command line."""
    cli = CommandParser("python -m search.validate", description=_DESCRIPTION, epilog=_EPILOG)
    for flag, kind, metavar, text in _FLAGS:
        if kind is None:
            cli.add_argument(flag, action="store_true", help=text)
        elif kind is BooleanOptionalAction:
            cli.add_argument(flag, action=kind, help=text)
        else:
            cli.add_argument(flag, type=kind, metavar=metavar, help=text, required=flag == "--reference")
    return cli


def validate(
    reference: str | Path,
    *,
    budget_macs: float | None = None,
    budget_ms: float | None = None,
    latency: str | Path | None = None,
    data: str | Path | None = None,
    split_folders: str | None = None,
    label_column: str | None = None,
    weights: str | Path = Settings.weights,
    ema: bool | None = None,
    resolution: int = Settings.resolution,
    networks: int = Settings.networks,
    twice: float = Settings.twice,
    minutes_each: float | None = None,
    images_each: int | None = None,
    judged_images: int = Settings.judged_images,
    space: str | Path | None = None,
    seed: int = Settings.seed,
    augment: str = Settings.augment,
    class_weights: str = Settings.class_weights,
    as_is: bool = False,
    accuracy: str | None = None,
    proxy_resolution: int = SearchSettings.proxy_resolution,
    prepare_minutes: float = PREPARE_MINUTES,
    epochs: int | None = None,
    band: float = NEAR,
    threads: int | None = None,
    plot: str | Path | None = None,
    quiet: bool = False,
    command: str = "search.validate(...)",
) -> "Comparison":
    """Compare accuracy estimators with networks that are trained fully, once.

    The keywords are the flags of `python -m search.validate`, whose --help explains each. `command` is stored with the
    set. All is kept beside `reference`: the same call goes on where it stopped. Of what it returns, `report()` is the
    text and `frame` the table. Raises PhinasError.
    """
    check_types(validate, locals())
    names = None if accuracy is None else [name.strip() for name in accuracy.split(",")]
    for name in names or ():
        check_flag("--accuracy", name, name in estimators(), f"of {', '.join(estimators())}")
    if minutes_each is not None and images_each is not None:
        raise InvalidArgument(
            f"a training is by --minutes-each or by --images-each, got {minutes_each:g} and {images_each}: leave "
            "one out"
        )
    for flag, value, default, without in (
        ("--epochs", epochs, None, _WITHOUT_EPOCHS),
        ("--prepare-minutes", prepare_minutes, PREPARE_MINUTES, _WITHOUT_PREPARATION),
    ):
        if value != default and names is not None and without >= {*names}:
            raise InvalidArgument(
                f"{flag} is of no use to the estimators {', '.join(sorted(without))}, got {value:g} and --accuracy "
                f"{accuracy}: leave it out"
            )
    check_threads(threads)
    check_minutes("--prepare-minutes", prepare_minutes)
    check_flag("--band", band, 1 <= band < math.inf, "a factor of at least 1")
    SearchSettings(budget_ms=1.0, proxy_resolution=proxy_resolution, epochs=epochs, weights=str(weights))  # checked
    check_names(str(weights))
    settings = Settings(
        budget_macs=budget_macs,
        budget_ms=budget_ms,
        latency=None if latency is None else str(latency),
        data=source_text(data, split_folders=split_folders, label_column=label_column),
        weights=str(weights),
        ema=ema,
        resolution=resolution,
        networks=networks,
        twice=twice,
        minutes_each=Settings.minutes_each if minutes_each is None else minutes_each,
        images_each=images_each,
        judged_images=judged_images,
        space_file=None if space is None else str(space),
        seed=seed,
        augment=augment,
        class_weights=class_weights,
    )
    settings.search_space(classes=2)  # a mistake in --space is told before images are read
    from search.validation.job import run_validation

    return run_validation(
        settings,
        reference,
        command=command,
        as_is=as_is,
        accuracy=names,
        proxy_resolution=proxy_resolution,
        prepare_minutes=prepare_minutes,
        epochs=epochs,
        band=band,
        threads=threads,
        figure=None if plot is None else Path(plot),
        quiet=quiet,
    )


def run(args: Namespace, command: str) -> str:
    """The command's text. Raises PhinasError."""
    flags = {name: value for name, value in vars(args).items() if value is not None and name != "json"}
    found = validate(**flags, quiet=args.json, command=command)
    if args.json:
        return json.dumps({"estimators": found.rows(), "verdict": found.verdict()}, indent=1)
    return "\n" + found.report()


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code."""
    again = f"python -m search.validate {shlex.join(sys.argv[1:] if argv is None else argv)}"
    stopped = f"stopped; what is trained and judged is kept, the same command goes on: {again}"
    return run_command(parser(), argv, run=lambda args: run(args, again), stopped=stopped)


make_callable(__name__, validate)

if __name__ == "__main__":
    sys.exit(main())
