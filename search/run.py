"""python -m search.run --budget-ms 20: the most accurate network for your images that runs in 20 ms here."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from search.accuracy import names as estimators
from search.latency.runtimes import names as runtimes
from search.reward import REWARDS
from search.samplers import KINDS
from search.settings import DEFAULT_MINUTES, DEFAULT_RESOLUTION, Settings
from searchspace import zoo
from searchspace.command import CommandParser, integer, number, run_command
from searchspace.errors import InvalidArgument
from searchspace.latency.table import read_table

if TYPE_CHECKING:
    from search.result import Result

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


def find(
    budget_ms: float,
    *,
    data: str | None = None,
    images: int | None = None,
    minutes: float | None = None,
    trials: int | None = None,
    study: str | None = None,
    fresh: bool = False,
    seed: int = 0,
    resolution: int | None = None,
    runtime: str | None = None,
    threads: int | None = None,
    latency: str | Path | None = None,
    confidence: float = Settings.confidence,
    overshoot: float = Settings.overshoot,
    proxy_resolution: int = Settings.proxy_resolution,
    epochs: int | None = None,
    accuracy: str = Settings.accuracy,
    space: str | Path | None = None,
    sampler: str = Settings.sampler,
    reward: str = Settings.reward,
    baselines: str | None = None,
    quiet: bool = False,
) -> "Result":
    """Find the most accurate network for some images that runs within `budget_ms`.

    Keyword arguments are the flags of `python -m search.run`, see its --help; `quiet` prints no progress.
    The study is kept in studies/NAME/, and the same call goes on where it stopped.

    Raises:
        PhinasError: for whatever the caller can mend; InfeasibleBudget where no network meets the budget.
    """
    if latency is not None:
        for flag, value in (("runtime", runtime), ("threads", threads)):
            if value is not None:
                raise InvalidArgument(
                    f"a table says what runs the network, got --latency and --{flag} {value}: give one of them"
                )
        if resolution is None:
            resolution = read_table(Path(latency)).identity["resolution"]
    settings = Settings(
        budget_ms=budget_ms,
        data=data,
        images=images,
        minutes=minutes,
        trials=trials,
        study=study,
        seed=seed,
        resolution=DEFAULT_RESOLUTION if resolution is None else resolution,
        runtime=runtime or Settings.runtime,
        threads=threads,
        latency=None if latency is None else str(latency),
        confidence=confidence,
        overshoot=overshoot,
        proxy_resolution=proxy_resolution,
        epochs=epochs,
        accuracy=accuracy,
        space_file=None if space is None else str(space),
        sampler=sampler,
        reward=reward,
    )
    compared = baseline_names(baselines)
    from search.pipeline import run_search
    from search.result import Result

    return Result(run_search(settings, fresh=fresh, quiet=quiet, baselines=compared))


def baseline_names(given: str | None) -> tuple[str, ...]:
    """The zoo names that --baselines means. Raises InvalidArgument for an unknown one."""
    if given is None:
        return ()
    names = zoo.names() if given == "all" else tuple(dict.fromkeys(map(str.strip, given.split(","))))
    for name in names:
        zoo.get(name)
    return names


def parser() -> CommandParser:
    """The command line of search.run."""
    cli = CommandParser("python -m search.run", description=_DESCRIPTION, epilog=_EPILOG)
    cli.add_argument("--budget-ms", type=number, required=True, metavar="MS", help="latency budget of one image in ms")
    _add_job_flags(cli)
    _add_latency_flags(cli)
    _add_search_flags(cli)
    cli.add_argument("--json", action="store_true", help="print summary.json instead of the report, and no progress")
    return cli


def _add_job_flags(cli: CommandParser) -> None:
    add = cli.add_argument_group("images, time and study").add_argument
    sources = (
        "a folder, .tar or .zip of class folders, a .parquet file, or the name of a data set on the Hugging Face hub"
    )
    add("--data", metavar="SOURCE", help=f"{sources} (default: the embedded task 'digits')")
    add("--images", type=integer, metavar="N", help="use at most N training images (default: all)")
    limit = f"default: {DEFAULT_MINUTES:g}, or no limit where --trials is given"
    add("--minutes", type=number, metavar="M", help=f"time for everything, earlier runs included ({limit})")
    add("--trials", type=integer, metavar="N", help="stop searching after N candidates (default: time decides)")
    add("--study", metavar="NAME", help="name of the study (default: made of data and budget)")
    add("--fresh", action="store_true", help="set an existing study of this name aside and start anew")
    seed = "splits, first weights, proposals (which also depend on what was measured; default: %(default)s)"
    add("--seed", type=integer, default=0, help=seed)


def _add_latency_flags(cli: CommandParser) -> None:
    add = cli.add_argument_group("the deployed network and its latency").add_argument
    table = "or the table's of --latency"
    pixels = f"pixels of its images; latency is measured there (default: {DEFAULT_RESOLUTION}, {table})"
    add("--resolution", type=integer, metavar="PX", help=pixels)
    runs = f"what runs it: {', '.join(runtimes())} (default: {Settings.runtime} torch, {table})"
    add("--runtime", metavar="NAME", help=runs)
    threads = f"threads it runs with (default: as many as torch has here, {table}); training uses all that torch has"
    add("--threads", type=integer, metavar="N", help=threads)
    add(
        "--latency",
        metavar="FILE.json",
        help="latency table of any device, by python -m search.latency build --out, adapt or import (default: this "
        "device's, measured first); networks are measured where it is this device's, else it is taken at its word",
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
        "--overshoot",
        type=number,
        default=Settings.overshoot,
        metavar="F",
        help="look at networks up to F times the budget and prune the winner down to it (python -m search.netadapt); "
        "1 searches within the budget alone (default: %(default)s)",
    )


def _add_search_flags(cli: CommandParser) -> None:
    add = cli.add_argument_group("candidates").add_argument
    example = '"*.activation" = ["relu"], "stage3.kernel" = [3, 5]'
    add("--space", metavar="FILE.toml", help=f"narrower or wider choices, in a table [choices]: {example}")
    kinds = f"who proposes: {', '.join(KINDS)} (default: %(default)s)"
    add("--sampler", default=Settings.sampler, metavar="NAME", help=kinds)
    rewards = f"what is maximised: {', '.join(REWARDS)} (default: %(default)s)"
    add("--reward", default=Settings.reward, metavar="NAME", help=rewards)
    judges = f"estimator that judges candidates: {', '.join(estimators())} (default: %(default)s)"
    add("--accuracy", default=Settings.accuracy, metavar="NAME", help=judges)
    pixels = "pixels that networks are trained and tested at (default: %(default)s)"
    add("--proxy-resolution", type=integer, default=Settings.proxy_resolution, metavar="PX", help=pixels)
    add("--epochs", type=integer, metavar="N", help="epochs of a candidate's short training (default: the recipe's)")
    add(
        "--baselines",
        nargs="?",
        const="all",
        metavar="NAMES",
        help="afterwards train published networks that meet the budget exactly as the winner was, and print them in "
        "one table with it: all of the zoo, or the names given, separated by commas (each takes as long as the "
        "winner's training)",
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code."""

    def run(args: argparse.Namespace) -> str:
        flags = dict(vars(args))
        as_json = flags.pop("json")
        found = find(**flags, quiet=as_json)
        return json.dumps(found.summary, indent=1) if as_json else found.report()

    stopped = "stopped; everything done so far is kept. The same command goes on where it stopped."
    return run_command(parser(), argv, run=run, stopped=stopped)


if __name__ == "__main__":
    sys.exit(main())
