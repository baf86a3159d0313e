"""python -m search.run --budget-ms 20: the most accurate network for your images that runs in 20 ms here."""

import argparse
import json
import sys
from pathlib import Path

from search.latency.runtimes import names
from search.reward import REWARDS
from search.samplers import KINDS
from search.settings import DEFAULT_MINUTES, Settings
from searchspace import zoo
from searchspace.command import CommandParser, integer, number, show
from searchspace.errors import InvalidArgument, PhinasError
from searchspace.latency.table import read_table

_DESCRIPTION = """\
Find the most accurate network that runs within a latency budget on this machine.

It measures the kernels of the search space here (once; the table is kept; --latency gives one of any device), lets
Optuna propose networks that are predicted to come near the budget, trains each briefly, trains the best one longer,
prunes it until it measures within the budget, and tests it once. Everything is kept in studies/NAME/: the same command
again goes on where it stopped."""

_EPILOG = """\
examples:
  python -m search.run --budget-ms 20                          the embedded task, about 9 minutes
  python -m search.run --budget-ms 20 --data photos/           your own images: a folder with one folder per class
  python -m search.run --budget-ms 20 --data photos.tar --minutes 120 --study photos
  python -m search.run --budget-ms 20 --baselines              and: was it worth it? published networks beside it
  python -m search.run --budget-ms 20 --baselines mnasnet_a1,mobilenet_v3_large
  python -m search.run --budget-ms 5 --trials 10 --json        ten candidates, however long they take
  python -m search.run --budget-ms 30 --latency phone.json     for another device, by its table

afterwards:
  python -m studies                                            your studies
  python -m search.netadapt --network studies/NAME/best.json --budgets 15,10     smaller ones of the same network
  python -m scaling.compound --phi 1 --network studies/NAME/best.json            larger ones
exit codes: 0 done, 2 the input is wrong, 130 stopped by Ctrl-C (everything is kept)."""


def parser() -> argparse.ArgumentParser:
    """The command line of search.run."""
    cli = CommandParser("python -m search.run", description=_DESCRIPTION, epilog=_EPILOG)
    add = cli.add_argument
    add("--budget-ms", type=number, required=True, metavar="MS", help="latency budget of one image in ms")
    add(
        "--data",
        metavar="SOURCE",
        help="a folder, .tar or .zip of class folders, a .parquet file, or the name of a "
        "data set on the Hugging Face hub (default: the embedded task 'digits')",
    )
    add(
        "--minutes",
        type=number,
        metavar="M",
        help="time for everything, earlier runs of this study included "
        f"(default: {DEFAULT_MINUTES:g}, or no limit where --trials is given)",
    )
    add("--trials", type=integer, metavar="N", help="stop searching after N candidates (default: time decides)")
    add("--study", metavar="NAME", help="name of the study (default: made of data and budget)")
    add("--fresh", action="store_true", help="set an existing study of this name aside and start anew")
    add(
        "--seed",
        type=integer,
        default=0,
        help="splits, first weights, proposals (which also depend on what was measured; default: %(default)s)",
    )
    add(
        "--resolution",
        type=integer,
        metavar="PX",
        help="pixels of the deployed network; latency is measured there "
        f"(default: {Settings.resolution}, or the table's of --latency)",
    )
    add(
        "--proxy-resolution",
        type=integer,
        default=Settings.proxy_resolution,
        metavar="PX",
        help="pixels the networks are trained and tested at (default: %(default)s)",
    )
    add(
        "--reward",
        default="feasible",
        metavar="NAME",
        help=f"what is maximised: {', '.join(REWARDS)} (default: %(default)s)",
    )
    add(
        "--sampler",
        default=Settings.sampler,
        metavar="NAME",
        help=f"who proposes: {', '.join(KINDS)} (default: %(default)s)",
    )
    add(
        "--confidence",
        type=number,
        default=Settings.confidence,
        metavar="P",
        help="train only candidates that meet the budget with this probability, by the errors of the latency table "
        "(default: %(default)s)",
    )
    add(
        "--runtime",
        metavar="NAME",
        help=f"what runs the deployed network: {', '.join(names())} (default: "
        f"{Settings.runtime} torch, or the table's of --latency)",
    )
    add(
        "--threads",
        type=integer,
        metavar="N",
        help="threads of the deployed network (default: as many as torch has "
        "here, or the table's of --latency); training uses all that torch has",
    )
    add(
        "--latency",
        metavar="FILE.json",
        help="latency table of any device (python -m search.latency build --out, "
        "adapt or import; default: this device's, measured first); networks are measured where it is this device's, "
        "else it is taken at its word",
    )
    add(
        "--overshoot",
        type=number,
        default=Settings.overshoot,
        metavar="F",
        help="look at networks up to F times the "
        "budget and prune the winner down to it (python -m search.netadapt); 1 searches within the budget alone "
        "(default: %(default)s)",
    )
    add(
        "--space",
        metavar="FILE.toml",
        help='narrower or wider choices, in a table [choices]: "*.activation" = ["relu"], "stage3.kernel" = [3, 5]',
    )
    add("--epochs", type=integer, metavar="N", help="epochs of a candidate's short training (default: the recipe's)")
    add("--images", type=integer, metavar="N", help="use at most N training images (default: all)")
    add(
        "--baselines",
        nargs="?",
        const="all",
        metavar="NAMES",
        help="afterwards train published networks that meet "
        "the budget exactly as the winner was, and print them in one table with it: all of the zoo, or the names "
        "given, separated by commas (each takes as long as the winner's training)",
    )
    add("--json", action="store_true", help="print summary.json instead of the report, and no progress")
    return cli


def settings_from(args: argparse.Namespace) -> Settings:
    """The settings that the flags mean. Raises InvalidArgument."""
    flags = dict(vars(args))
    space_file = flags.pop("space")
    for flag in ("fresh", "json", "baselines"):
        del flags[flag]
    if args.latency is not None:
        for flag, value in (("runtime", args.runtime), ("threads", args.threads)):
            if value is not None:
                raise InvalidArgument(
                    f"a table says what runs the network, got --latency and --{flag} {value}: give one of them"
                )
        if args.resolution is None:
            flags["resolution"] = read_table(Path(args.latency)).identity["resolution"]
    flags = {name: value for name, value in flags.items() if value is not None}
    return Settings(space_file=space_file, **flags)


def baseline_names(given: str | None) -> tuple[str, ...]:
    """The zoo names that --baselines means. Raises InvalidArgument for an unknown one."""
    if given is None:
        return ()
    names = zoo.names() if given == "all" else tuple(dict.fromkeys(map(str.strip, given.split(","))))
    for name in names:
        zoo.get(name)
    return names


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code."""
    try:
        args = parser().parse_args(argv)
        settings = settings_from(args)
        baselines = baseline_names(args.baselines)
        from search.pipeline import run_search
        from search.report import report

        summary = run_search(settings, fresh=args.fresh, quiet=args.json, baselines=baselines)
        text = json.dumps(summary, indent=1) if args.json else report(summary)
    except KeyboardInterrupt:
        print("\nstopped; everything done so far is kept. The same command goes on where it stopped.", file=sys.stderr)
        return 130
    except PhinasError as error:
        print(f"search.run: {error}", file=sys.stderr)
        return 2
    return show(text)


if __name__ == "__main__":
    sys.exit(main())
