"""python -m search.data SOURCE: what a person should know of images before a search."""

import argparse
import json
import sys
from pathlib import Path

from search.sources import SOURCE_FLAGS, source_text
from searchspace.command import CommandParser, run_command, seed

_DESCRIPTION = """\
Look at images before a search: how many of each class and split, their sizes, balance, copies, what cannot be used.

All files are read once and nothing is trained. Copies are byte-identical images: in several classes their labels
contradict each other, in several given splits a result is measured on what was trained on."""

_EPILOG = """\
examples:
  python -m search.data photos/                          a folder with one folder per class
  python -m search.data photos.tar --picture sheet.png   and examples of each class in one picture
  python -m search.data photos.zip --json                the same as JSON, with all names
in Python:
  from search.data import inspect; found = inspect("photos/"); found.between_classes
exit codes: 0 done, also where a search would refuse the images; 2 the input is wrong."""


def parser() -> CommandParser:
    """The command line of search.data."""
    cli = CommandParser("python -m search.data", description=_DESCRIPTION, epilog=_EPILOG)
    (_, _, metavar, text), *flags = SOURCE_FLAGS
    cli.add_argument("source", type=str, nargs="?", metavar=metavar, help=text)
    for flag, kind, metavar, text in flags:
        cli.add_argument(flag, type=kind, metavar=metavar, help=text.replace("--data", "SOURCE"))
    cli.add_argument("--picture", type=Path, metavar="FILE.png", help="draw training images of each class")
    cli.add_argument("--seed", type=seed, default=0, metavar="N", help="of the splits (default: %(default)s)")
    cli.add_argument("--json", action="store_true", help="print the same as JSON, and no progress")
    return cli


def run(args: argparse.Namespace) -> str:
    """What the command prints. Raises PhinasError."""
    from search.console import Progress, TimeLeft
    from search.data.inspection import inspect
    from search.data.inspection_report import text

    source = source_text(args.source, split_folders=args.split_folders, label_column=args.label_column)
    left = TimeLeft()
    with Progress(left.left_s, quiet=args.json) as shown:

        def progress(done: int, total: int) -> None:
            shown.update(left.at(done / max(1, total)), "looking at images")

        found = inspect(source, seed=args.seed, picture=args.picture, progress=progress)
    return json.dumps(found.to_dict(), indent=1) if args.json else text(found, source=source, picture=args.picture)


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code."""
    return run_command(parser(), argv, run=run)


if __name__ == "__main__":
    sys.exit(main())
