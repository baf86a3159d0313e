"""python -m studies [NAME]: your studies, or the trials and the Pareto front of one."""

import argparse
import sys
from pathlib import Path

from searchspace.arguments import check_flag
from searchspace.command import CommandParser, integer, run_command
from searchspace.errors import InvalidArgument

TOP = 10
_EPILOG = """\
examples:
  python -m studies                                  all studies in ./studies (or in $PHINAS_STUDIES)
  python -m studies digits-20ms                      its best trials and its Pareto front
  python -m studies digits-20ms --csv > trials.csv   all its trials, every column
  python -m studies digits-20ms --plot front.png     accuracy over latency (needs the extra: plot)
in Python:
  import studies; df = studies.load("digits-20ms")
exit codes: 0 done, 2 the input is wrong."""


def parser() -> CommandParser:
    """The command line of studies."""
    cli = CommandParser(
        "python -m studies",
        description="List your studies, or show the best trials and the Pareto front of one.",
        epilog=_EPILOG,
    )
    cli.add_argument("name", type=str, nargs="?", metavar="NAME", help="a study (default: list all)")
    cli.add_argument("--top", type=integer, metavar="N", help=f"best trials shown (default: {TOP})")
    cli.add_argument("--plot", type=Path, metavar="FILE", help="draw accuracy over latency: .png, .svg or .pdf")
    form = cli.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_const", dest="form", const="json", help="print the same as JSON")
    form.add_argument(
        "--csv",
        action="store_const",
        dest="form",
        const="csv",
        help="print all studies, or all trials of NAME, as CSV",
    )
    return cli


def run(args: argparse.Namespace) -> str:
    """What the command prints. Raises PhinasError."""
    check_flag("--top", args.top, args.top is None or args.top >= 1, "at least 1")
    if args.top is not None and (args.name is None or args.form == "csv"):
        got = "no NAME" if args.name is None else "--csv, which prints all"
        raise InvalidArgument(f"--top is for the best trials of one study, got {got}: leave --top out")
    if args.plot is not None and args.name is None:
        raise InvalidArgument("--plot draws one study, got no NAME: give one, python -m studies lists them")
    from studies import report
    from studies.figure import new_figure

    if args.plot is not None:
        new_figure(args.plot)  # a mistake is told first
    form = args.form or "table"
    text = report.listing(form) if args.name is None else report.study(args.name, form, top=args.top or TOP)
    if args.plot is not None:
        report.plot(args.name, args.plot)
    return text.removesuffix("\n")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code."""
    return run_command(parser(), argv, run=run)


if __name__ == "__main__":
    sys.exit(main())
