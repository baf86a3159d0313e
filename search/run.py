"""python -m search.run --budget-ms 20: the most accurate network for your images that runs in 20 ms here."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.accuracy import names as estimators
from search.budgets import the_budgets
from search.differences import flag_of
from search.latency.runtimes import names as runtimes
from search.reward import REWARDS
from search.samplers import KINDS
from search.settings import AUTO, BEST_OF_ALL, DEFAULT_MINUTES, Settings, resolution_of
from search.sources import SOURCE_FLAGS, source_text
from search.training import variation
from searchspace import zoo
from searchspace.arguments import check_types
from searchspace.command import EMA_HELP, CommandParser, integer, number, run_command
from searchspace.errors import InvalidArgument
from searchspace.latency.table import read_table
from searchspace.spaces.presets import ABOUT
from searchspace.zoo.published import check_names as check_weights

if TYPE_CHECKING:
    from search.result import Result

ACCURACY_COLUMN = "top1"

_DESCRIPTION = """\
Find the most accurate network that runs within a latency budget on this machine.

It measures kernels of the search space here (half a minute, once; the table is kept; --latency gives one of any
device). Candidates are published networks with weights at hand and what Optuna proposes near the budget; each is judged
in seconds. Those tied with the best begin the winner's training, the better one goes on, is pruned until it measures
within the budget, and is tested once. Everything is kept in studies/NAME/: the same command again goes on where it
stopped."""

_EPILOG = """\
examples:
  python -m search.run --budget-ms 20                          the embedded task, about 9 minutes
  python -m search.run --budget-ms 20 --data photos/           your own images: a folder with one folder per class
  python -m search.run --budget-ms 20 --data photos.tar --minutes 120 --study photos
  python -m search.run --budget-ms 20 --baselines              and: was it worth it? published networks beside it
  python -m search.run --budget-ms 20 --baselines mnasnet_a1,mobilenet_v3_large
  python -m search.run --budget-ms 20 --baselines best     three of them that are worth the time
  python -m search.run --budget-ms 20 --weights none           from scratch, as if there were no published weights
  python -m search.run --budget-ms 20 --resolution 224         at other pixels than those that suit the images
  python -m search.run --budget-ms 20 --resolution 160,192,224 each candidate at one of three sizes
  python -m search.run --budgets 5,10,20 --minutes 27          a network for each budget, which share what was learnt
  python -m search.run --budget-ms 20 --pareto 4 --minutes 36  the same for 4 budgets, from the fastest network's on
  python -m search.run --budget-ms 5 --trials 10 --json        ten candidates, however long they take
  python -m search.run --budget-ms 30 --latency phone.json     for another device, by its table
  python -m search.run --budget-ms 50 --max-flash-kb 1024 --max-ram-kb 320       and into a microcontroller
  python -m search.run --budget-ms 5 --table measured.csv --latency-column latency_ms    networks measured elsewhere

afterwards:
  python -m studies                                            your studies
  python -m search.netadapt --network studies/NAME/best.json --budgets 15,10     smaller ones of the same network
  python -m scaling.compound --phi 1 --network studies/NAME/best.json            larger ones
exit codes: 0 done, 2 the input is wrong, 130 stopped by Ctrl-C (everything is kept)."""


def find(
    budget_ms: float | None = None,
    *,
    budgets_ms: Sequence[float] | None = None,
    pareto: int | None = None,
    data: str | Path | None = None,
    split_folders: str | None = None,
    label_column: str | None = None,
    images: int | None = None,
    minutes: float | None = None,
    trials: int | None = None,
    until_settled: bool = False,
    study: str | None = None,
    fresh: bool = False,
    seed: int = 0,
    resolution: int | str | Sequence[int] = AUTO,
    runtime: str | None = None,
    threads: int | None = None,
    latency: str | Path | None = None,
    max_params: int | None = None,
    max_flash_kb: float | None = None,
    max_ram_kb: float | None = None,
    confidence: float = Settings.confidence,
    overshoot: float = Settings.overshoot,
    proxy_resolution: int = Settings.proxy_resolution,
    weights: str | Path = Settings.weights,
    ema: bool | None = None,
    epochs: int | None = None,
    augment: str = Settings.augment,
    class_weights: str = Settings.class_weights,
    accuracy: str = Settings.accuracy,
    space: str | Path | None = None,
    sampler: str = Settings.sampler,
    from_study: str | None = None,
    reward: str = Settings.reward,
    table: str | Path | None = None,
    latency_column: str | None = None,
    accuracy_column: str = ACCURACY_COLUMN,
    baselines: str | None = None,
    quiet: bool = False,
) -> "Result":
    """Find the most accurate network for some images that runs within `budget_ms`, or one for each of `budgets_ms`.

    Keyword arguments are the flags of `python -m search.run`, see its --help; `quiet` prints no progress.
    The study is kept in studies/NAME/, and the same call goes on where it stopped.

    Raises:
        PhinasError: for whatever the caller can mend; InfeasibleBudget where no network meets the budget.
    """
    flags: dict[str, Any] = {name: value for name, value in locals().items() if value is not None}
    began = time.monotonic()  # what is imported now takes seconds
    check_types(find, flags)
    largest_ms, several = the_budgets(budget_ms, budgets_ms, pareto)
    flags |= {"budget_ms": largest_ms, **({} if several is None else {"budgets_ms": several})}
    how = {name: flags.pop(name, None) for name in ("data", "split_folders", "label_column")}
    flags |= {"data": text} if (text := source_text(**how)) is not None else {}
    flags |= {"weights": str(weights)}
    if table is not None or latency_column is not None or accuracy_column != ACCURACY_COLUMN:
        return _of_table(flags)
    settings, compared = _settings(flags), baseline_names(baselines)
    check_weights(settings.weights)
    from search.pipeline import run_search
    from search.result import Result

    return Result(run_search(settings, fresh=fresh, quiet=quiet, baselines=compared, began=began))


def _settings(flags: dict[str, Any]) -> Settings:
    """What the flags of a search that trains mean. Raises InvalidArgument."""
    given = {name: value for name, value in flags.items() if name not in _NO_SETTINGS}
    if "space" in given:
        given["space_file"] = str(given.pop("space"))
    if "latency" in given:
        for name in ("runtime", "threads"):
            if name in given:
                raise InvalidArgument(
                    f"a table says what runs the network, got --latency and --{name} {given[name]}: give one of them"
                )
        given["latency"] = str(given["latency"])
        if given["resolution"] == AUTO:
            given["resolution"] = read_table(Path(given["latency"])).identity["resolution"]
    if given["resolution"] == AUTO:
        del given["resolution"]
        given["auto_resolution"] = True
    else:
        given["resolution"] = resolution_of(given["resolution"])
    return Settings(**given)


def _of_table(flags: dict[str, Any]) -> "Result":
    """The search by a table of measured networks. Raises InvalidArgument for a flag that means nothing there."""
    defaults = {name: each.default for name, each in signature(find).parameters.items()}
    missing = [name for name in ("table", "latency_column") if name not in flags]
    other = [name for name, value in flags.items() if name not in _BY_TABLE and value != defaults[name]]
    if missing or other:
        known = ", ".join(flag_of(name) for name in _BY_TABLE if name != "quiet")
        wrong = f"{flag_of(missing[0])} is missing" if missing else f"got {flag_of(other[0])}"
        raise InvalidArgument(
            f"a search by a table of measured networks trains nothing and takes {known}; {wrong}: "
            f"{'add it' if missing else 'leave it out'}"
        )
    from search.measured.job import search_table
    from search.result import Result

    return Result(search_table(flags.pop("table"), **{name: flags[name] for name in _BY_TABLE if name in flags}))


def _budgets(text: str) -> tuple[float, ...]:
    return tuple(number(part) for part in text.split(","))


def baseline_names(given: str | None) -> tuple[str, ...]:
    """The zoo names that --baselines means, or "best" alone. Raises InvalidArgument for an unknown one."""
    if given is None:
        return ()
    if given == BEST_OF_ALL:
        return (BEST_OF_ALL,)
    names = zoo.names() if given == "all" else tuple(dict.fromkeys(map(str.strip, given.split(","))))
    for name in names:
        zoo.get(name)
    return names


_NO_SETTINGS = ("fresh", "baselines", "quiet", "accuracy_column")  # flags of the command, not of the study
_BY_TABLE = ("table", "latency_column", "accuracy_column", "budget_ms", "confidence", "seed", "study", "fresh", "quiet")
_LIMIT = f"default: {DEFAULT_MINUTES:g}, or no limit where --trials is given"
_TABLE = """latency table of any device, by python -m search.latency build, adapt or import (default: this device's,
measured first); it says resolution, runtime and threads. Networks are measured where it is this device's, else it is
taken at its word"""
_OVERSHOOT = """look at networks up to F times the budget and prune the winner down to it (python -m search.netadapt); 1
searches within the budget alone, as do less than 5 --minutes"""
_FROM_STUDY = """earlier study of the same space, for another budget, device or data: its trials count as far as they
help to tell what this one finds"""
_SETTLED = """stop judging candidates when three in a row were expected to gain less than a tenth of the deviation with
which one is judged; the winner has the time that is left"""
_VALUES = "float32, or as narrow as the values of a table of --latency (int8: 1 byte each)"
_FLASH = f"most KB (1024 bytes) of weights, batch norms folded in, as {_VALUES}"
_RAM = """most KB of activations alive at once for one image, the same values: input and output of the layer that runs
and what shortcuts keep"""
_RESOLUTION = """its pixels: latency is measured and the winner tested there; several, as in 160,192,224, are a choice
of each candidate; auto: with published weights by the images' own size and the budget, from scratch the
--proxy-resolution"""
_WEIGHTS = """what networks start from: auto (published weights that are here or can be had, else none), none (random
weights), names that python -m searchspace.zoo --weights lists, or files (.safetensors, .pth), with commas between"""
_JUDGE = "estimator that judges candidates: auto (frozen where there are weights, else training)"
_MEASURED = """search networks that somebody measured in place of training any: a CSV with a row for each, its choices,
accuracies and latencies. Networks between the rows are predicted"""
_CHOICES = 'such as "*.activation" = ["relu"], "stage3.kernel" = [3, 5]'


# By the title of a group: flag, type (None: a switch), name of the value, help. Defaults are those of `find`.
_FLAGS: dict[str, list[tuple[str, Any, str, str]]] = {
    "images, time and study": [
        *SOURCE_FLAGS,
        ("--images", integer, "N", "use at most N training images (default: all)"),
        ("--minutes", number, "M", f"time for everything, earlier runs included ({_LIMIT})"),
        ("--trials", integer, "N", "stop searching after N candidates (default: time decides)"),
        ("--until-settled", None, "", _SETTLED),
        ("--study", str, "NAME", "name of the study (default: made of data and budget)"),
        ("--fresh", None, "", "set an existing study of this name aside and start anew"),
        ("--seed", integer, "N", "splits, first weights and proposals, which also depend on what was measured"),
    ],
    "the deployed network and its latency": [
        ("--resolution", str, "PX", _RESOLUTION),
        ("--runtime", str, "NAME", f"what runs it: {', '.join(runtimes())} (default: {Settings.runtime} torch)"),
        ("--threads", integer, "N", "that it runs with (default: the cores available here; 1 where others hold them)"),
        ("--latency", str, "FILE.json", _TABLE),
        ("--max-params", integer, "N", "most parameters; what is over this or the next two is never tried"),
        ("--max-flash-kb", number, "KB", _FLASH),
        ("--max-ram-kb", number, "KB", _RAM),
        ("--confidence", number, "P", "train only candidates that meet the budget with this probability by the table"),
        ("--overshoot", number, "F", _OVERSHOOT),
    ],
    "published weights": [
        ("--weights", str, "NAME|FILE", _WEIGHTS),
        ("--ema", bool, "", EMA_HELP),
    ],
    "candidates": [
        ("--space", str, "NAME|FILE.toml", f"{ABOUT}; or narrower or wider choices, in a table [choices], {_CHOICES}"),
        ("--sampler", str, "NAME", f"who proposes: {', '.join(KINDS)}"),
        ("--from-study", str, "NAME", _FROM_STUDY),
        ("--reward", str, "NAME", f"what is maximised: {', '.join(REWARDS)}"),
        ("--accuracy", str, "NAME", f"{_JUDGE}, {', '.join(estimators())}"),
        (
            "--proxy-resolution",
            integer,
            "PX",
            "pixels that candidates are trained at, smaller ones of --resolution at fewer",
        ),
        ("--epochs", integer, "N", "epochs of a candidate's short training (default: the recipe's)"),
    ],
    "training": [
        ("--augment", str, "NAMES", variation.HELP),
        ("--class-weights", str, "HOW", variation.WEIGHTS_HELP),
    ],
    "a table of measured networks": [
        ("--table", str, "FILE.csv", _MEASURED),
        ("--latency-column", str, "NAME", "its column of ms (or of images/s, where it begins with throughput)"),
        ("--accuracy-column", str, "NAME", "its column of accuracies, fractions or percent"),
    ],
}


def parser() -> CommandParser:
    """The command line of search.run."""
    cli = CommandParser("python -m search.run", description=_DESCRIPTION, epilog=_EPILOG)
    cli.add_argument("--budget-ms", type=number, metavar="MS", help="latency of one image in ms")
    several = "several, as in 5,10,20, in its place: one study that ends in a network for each"
    cli.add_argument("--budgets", type=_budgets, dest="budgets_ms", metavar="MS,MS,...", help=several)
    spread = "N budgets by equal ratios, between the fastest network and --budget-ms, which is the last"
    cli.add_argument("--pareto", type=integer, metavar="N", help=spread)
    for title, flags in _FLAGS.items():
        add = cli.add_argument_group(title).add_argument
        for flag, kind, metavar, text in flags:
            default = signature(find).parameters[flag[2:].replace("-", "_")].default
            if kind is None:
                add(flag, action="store_true", help=text)
            elif kind is bool:
                add(flag, action=argparse.BooleanOptionalAction, default=default, help=text)
            else:
                shown = "" if default is None else " (default: %(default)s)"
                add(flag, type=kind, default=default, metavar=metavar, help=text + shown)
    add = cli.add_argument_group("what is printed").add_argument
    compared = """published networks that meet the budget, each for as many minutes as the search had: all of the zoo,
    best for the three that their features say are worth the time, or a,b,c"""
    add("--baselines", type=str, nargs="?", const="all", metavar="NAMES", help=f"compare with {compared}")
    add("--json", action="store_true", help="print summary.json instead of the report, and no progress")
    return cli


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
