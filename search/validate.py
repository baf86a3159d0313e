"""python -m search.validate: which accuracy estimator tells best, by networks that are trained fully."""

import shlex
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from search.console import Progress
from search.validation.settings import BAND, Settings
from searchspace.command import CommandParser, integer, number, positive_integer, run_command

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

exit codes: 0 done, 2 the input is wrong, 130 stopped by Ctrl-C (all but the training under way is kept)."""

_FLAGS: list[tuple[str, Any, str, str]] = [
    ("--reference", str, "FILE.csv", "where the set is kept; its settings stand beside it"),
    ("--budget-macs", number, "M", "middle of the band in MACs at --resolution: nothing is timed"),
    ("--budget-ms", number, "MS", "middle of the band in ms, by a latency table"),
    ("--latency", str, "FILE", "the table; without it this machine's own, as search.latency build has measured it"),
    ("--data", str, "SOURCE", "the images, as for search.run (default: 'digits')"),
    ("--weights", str, "NAME", f"what networks start from, as for search.run (default: {Settings.weights})"),
    ("--resolution", integer, "PX", f"pixels that networks are trained and judged at (default: {Settings.resolution})"),
    ("--networks", integer, "N", f"in the set (default: {Settings.networks}); a larger N adds some"),
    ("--minutes-each", number, "M", f"of each training (default: {Settings.minutes_each:g})"),
    ("--images-each", integer, "N", "training images that each one sees, in place of minutes: results repeat"),
    ("--seeds", integer, "N", f"trainings of networks that are trained repeatedly (default: {Settings.seeds})"),
    ("--seeds-share", number, "X", f"of the networks, those trained repeatedly (default: {Settings.seeds_share:g})"),
    (
        "--judged-images",
        integer,
        "N",
        f"held-out images that tell accuracy, at most (default: {Settings.judged_images})",
    ),
    ("--space", str, "FILE", "a TOML file that changes the search space"),
    ("--seed", integer, "N", "of the choice of networks, splits and trainings (default: 0)"),
    ("--threads", positive_integer, "N", "that compute (default: as many as torch takes)"),
]


def parser() -> CommandParser:
    """The command line."""
    cli = CommandParser("python -m search.validate", description=_DESCRIPTION, epilog=_EPILOG)
    for flag, kind, metavar, text in _FLAGS:
        cli.add_argument(flag, type=kind, metavar=metavar, help=text, required=flag == "--reference")
    return cli


def run(args: Namespace, command: str) -> str:
    """The command's text. Raises PhinasError."""
    flags = {name: value for name, value in vars(args).items() if value is not None}
    reference, threads = flags.pop("reference"), flags.pop("threads", None)
    settings = Settings(**{{"space": "space_file"}.get(name, name): value for name, value in flags.items()})
    import torch

    from search.validation.files import ReferenceFiles
    from search.validation.job import Inputs, train_reference

    if threads is not None:
        torch.set_num_threads(threads)
    files = ReferenceFiles.named(Path(reference))
    with Progress(lambda: None) as progress:
        train_reference(Inputs(settings, threads, progress), files, command=command)
    return f"Written to {files.path}"


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code."""
    again = f"python -m search.validate {shlex.join(sys.argv[1:] if argv is None else argv)}"
    stopped = f"stopped; what is trained is kept, the same command goes on: {again}"
    return run_command(parser(), argv, run=lambda args: run(args, again), stopped=stopped)


if __name__ == "__main__":
    sys.exit(main())
