"""python -m search.netadapt: bring a trained network down to a budget, by what the device takes for it."""

import json
import shlex
import sys
from argparse import BooleanOptionalAction, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.latency.runtimes import names
from search.netadapt.proposals import MOVES
from search.netadapt.settings import ALGORITHMS, EPOCHS, MINUTES, Settings
from search.sources import SOURCE_FLAGS
from search.training import variation
from searchspace.channels.steps import CRITERIA
from searchspace.command import EMA_HELP, CommandParser, integer, number, run_command, show
from searchspace.errors import InfeasibleBudget
from searchspace.files import check_writable

if TYPE_CHECKING:
    from search.netadapt.api import Pruned

_DESCRIPTION = """\
Prune a trained network step by step down to a budget (NetAdapt, arXiv:1804.03230).

Each iteration asks for a small reduction. For every group of channels that can be cut a proposal is made that meets it,
and so for dropped SE blocks, smaller kernels (of as many blocks as it takes) and removed blocks. The best proposals are
trained for a moment, and the most accurate one is accepted (where they go further down than asked for, that counts
too), if this device really runs it faster. At the budget the network is trained on, made good at the pixels that it is
timed at, and tested there. A published network starts from its published weights: it gets a head for the classes of the
images and is fine-tuned first. Everything is kept in studies/NAME/: the same command again goes on where it stopped."""

_EPILOG = """\
examples:
  python -m search.netadapt --network studies/digits-20ms/best.json --budget-ms 15
  python -m search.netadapt --network studies/photos-20ms/best.json --data photos/ --budgets 16,12,8
  python -m search.netadapt --network efficientnet_lite0 --data photos/ --budget-ms 8 --minutes 30
  python -m search.netadapt --network mobilenet_v1 --weights mine.safetensors --data photos/ --budget-macs 200e6
  python -m search.netadapt --network net.json --weights net.safetensors --budget-ms 9 --latency phone.json
  python -m search.netadapt --network net.json --weights net.safetensors --budget-ms 9 --moves channels \\
      --algorithm mobilenetv3

afterwards:
  python -m studies NAME                    all iterations and proposals
  python -m scaling.compound --phi 1 --network studies/NAME/best.json
in Python: search.prune(network, budget_ms=15), with the same keywords as these flags; also a torch module of your own
exit codes: 0 done, 2 the input is wrong, 130 stopped by Ctrl-C (everything is kept)."""


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(number(part) for part in text.split(","))


def _resolution(text: str) -> int | str:
    return text if text == "auto" else integer(text)


def _by_algorithm(at: int) -> str:
    return ", ".join(f"{pair[at]:g} with {name}" for name, pair in ALGORITHMS.items())


_CRITERION = f"""which channels stay, one of {", ".join(CRITERIA)}: l2 (norm of their filters), bn (scale of their batch
norm) or taylor (first-order change of the loss)"""
_ALGORITHM = """netadapt: large steps that shrink, the most accurate proposal is accepted; mobilenetv3: many small ones,
the least accuracy lost for its reduction"""
_SHORTLIST = """proposals of an iteration that are trained: the most accurate before any training, and of three or more
one without a block that has no residual sum, which looks worse before than it is"""

_WEIGHTS = """its weights: a file; or published ones, auto (the nearest that can be had) or a name of python -m
searchspace.zoo --weights (default: the .safetensors file beside the spec; of a published network its own)"""
_RESOLUTION = """pixels that it is timed, tested and handed over at; auto: by the images' own size (default: the spec's;
for a published network auto)"""
_MINUTES = f"""fine-tune for so long in all: before the pruning where the head is new, and after it; the pruning is done
in this time too, in larger steps where it has to be (default: {MINUTES:g} where the head is new, else --epochs)"""

# By the title of a group: flag, type (None: a switch), name of the value, help. Settings has the defaults, which are
# added to the help.
_FLAGS: dict[str, list[tuple[str, Any, str, str]]] = {
    "the network and its images": [
        ("--network", str, "FILE.json", "a spec file, as a search's best.json, or the name of a published network"),
        ("--weights", str, "FILE", _WEIGHTS),
        ("--ema", BooleanOptionalAction, "", EMA_HELP),
        *SOURCE_FLAGS,
        ("--resolution", _resolution, "PX", _RESOLUTION),
        ("--proxy-resolution", integer, "PX", "pixels that proposals are trained at (default: those of its weights)"),
        ("--seed", integer, "N", "splits and trainings (default: the weights' own, else 0)"),
    ],
    "budget (one of them)": [
        ("--budget-ms", number, "MS", "latency of one image"),
        ("--budget-macs", number, "N", "multiply-adds, such as 150e6"),
        ("--budget-params", number, "N", "parameters, such as 1.5e6"),
        ("--budgets", _numbers, "MS,MS,...", "latencies, such as 20,15,10: one pruning gives a network for each"),
    ],
    "the device of a budget in ms": [
        ("--latency", str, "TABLE.json", "its latency table (default: this machine's; what is missing is measured)"),
        ("--runtime", str, "NAME", f"what runs the network here: {', '.join(names())} (default: eager torch)"),
        ("--threads", integer, "N", "threads that it runs with there (default: as many as torch has)"),
        ("--replay", str, "STUDY", "take the outcomes of timing tests from it: the same seed gives the same history"),
    ],
    "the algorithm": [
        ("--moves", _names, "NAMES", f"what may be cut, of {','.join(MOVES)}; kernels: 7 to 5 to 3 (default: all)"),
        ("--criterion", str, "NAME", _CRITERION),
        ("--algorithm", str, "NAME", _ALGORITHM),
        ("--step", number, "SHARE", f"the first reduction, of the start's cost (default: {_by_algorithm(0)})"),
        ("--decay", number, "F", f"its factor from one iteration to the next (default: {_by_algorithm(1)})"),
        ("--short-steps", integer, "N", "steps of a proposal's short training; 0 for none"),
        ("--shortlist", integer, "N", _SHORTLIST),
        ("--validation-images", integer, "N", "validation images that proposals are compared on"),
        ("--workers", integer, "N", "processes that train proposals side by side, each with its share of the threads"),
    ],
    "the training": [
        ("--minutes", number, "M", _MINUTES),
        ("--epochs", integer, "N", f"in place of --minutes; 0 for none (default: {EPOCHS})"),
        ("--epoch-images", integer, "N", "training images of one: where there are many, give all (default: 1280)"),
        ("--augment", str, "NAMES", variation.HELP),
        ("--class-weights", str, "HOW", variation.WEIGHTS_HELP),
    ],
    "what is kept and printed": [
        ("--study", str, "NAME", "name of the study (default: made of the network and the budget)"),
        ("--fresh", None, "", "set an existing study of this name aside and start anew"),
        ("--family", None, "", "keep the network of every iteration, in studies/NAME/iterations/"),
        ("--plot", Path, "FILE.png", "draw accuracy against cost, with every proposal"),
        ("--json", None, "", "print the result as JSON, and no progress"),
    ],
}


def parser() -> CommandParser:
    """The command line of search.netadapt."""
    cli = CommandParser("python -m search.netadapt", description=_DESCRIPTION, epilog=_EPILOG)
    for title, flags in _FLAGS.items():
        group = cli.add_argument_group(title)
        for flag, kind, metavar, text in flags:
            if kind is None or kind is BooleanOptionalAction:
                how = {"action": kind, "default": None} if kind else {"action": "store_true"}
                group.add_argument(flag, help=text, **how)
                continue
            default = getattr(Settings, flag.removeprefix("--").replace("-", "_"), None)
            text += f" (default: {default})" if isinstance(default, str | int) else ""
            required = flag == "--network"
            group.add_argument(flag, type=kind, metavar=metavar, help=text, default=default, required=required)
    return cli


def run(args: Namespace) -> str:
    """The command's text. Raises PhinasError."""
    flags = vars(args)
    path, as_json = flags.pop("plot"), flags.pop("json")
    if path:
        from studies.figure import new_figure

        new_figure(path)  # a mistake is told before the work
        check_writable(path)
    from search.netadapt.api import prune
    from search.netadapt.report import plot

    found = prune(**flags, quiet=as_json)
    if path and found.summary.get("nothing_to_do"):
        print(f"{path} is not drawn: there is no step to show", file=sys.stderr)
    elif path:
        plot(found.summary, path)
    return text_of(found, as_json=as_json)


def text_of(found: "Pruned", *, as_json: bool) -> str:
    """What is printed. Raises InfeasibleBudget, once it is printed, where the smallest budget was missed."""
    text = json.dumps(found.summary, indent=1) if as_json else found.report()
    if missed := found.summary.get("missed"):
        show(text)
        raise InfeasibleBudget(missed["why"])
    return text


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code."""
    again = " ".join(shlex.quote(word) for word in (argv or sys.argv[1:]) if word != "--fresh")
    stopped = f"stopped; every iteration is kept, the same command goes on: python -m search.netadapt {again}"
    return run_command(parser(), argv, run=run, stopped=stopped)


if __name__ == "__main__":
    sys.exit(main())
