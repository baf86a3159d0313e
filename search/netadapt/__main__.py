"""python -m search.netadapt: bring a trained network down to a budget, by what the device takes for it."""

import json
import shlex
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from search.latency.runtimes import names
from search.netadapt.proposals import MOVES
from search.netadapt.settings import ALGORITHMS, Settings
from searchspace.channels.steps import CRITERIA
from searchspace.command import CommandParser, integer, number, run_command, show
from searchspace.errors import InfeasibleBudget
from searchspace.files import check_writable

if TYPE_CHECKING:
    from search.netadapt.api import Pruned

_DESCRIPTION = """\
Prune a trained network step by step down to a budget (NetAdapt, arXiv:1804.03230).

Each iteration asks for a small reduction. For every group of channels that can be cut a proposal is made that meets it,
and so for dropped SE blocks, smaller kernels (of as many blocks as it takes) and removed blocks. The best proposals are
trained for a moment, and the most accurate one is accepted (where they go further down than asked for, that counts
too), if this device really runs it faster. At the budget the network is trained on and tested once. Everything is kept
in studies/NAME/: the same command again goes on where it stopped."""

_EPILOG = """\
examples:
  python -m search.netadapt --network studies/digits-20ms/best.json --budget-ms 15
  python -m search.netadapt --network studies/photos-20ms/best.json --data photos/ --budgets 16,12,8
  python -m search.netadapt --network mobilenet_v1 --weights mine.safetensors --data photos/ --budget-macs 200e6
  python -m search.netadapt --network net.json --weights net.safetensors --budget-ms 9 --latency phone.json
  python -m search.netadapt --network net.json --weights net.safetensors --budget-ms 9 --moves channels \\
      --algorithm mobilenetv3

afterwards:
  python -m studies NAME                    all iterations and proposals
  python -m scaling.compound --phi 1 --network studies/NAME/best.json
in Python: search.prune(...), also for a torch module of your own
exit codes: 0 done, 2 the input is wrong, 130 stopped by Ctrl-C (everything is kept)."""


def parser() -> CommandParser:
    """The command line of search.netadapt."""
    cli = CommandParser("python -m search.netadapt", description=_DESCRIPTION, epilog=_EPILOG)
    add = cli.add_argument_group("the network and its images").add_argument
    add(
        "--network",
        required=True,
        metavar="FILE.json",
        help="a spec file, such as the best.json of a search, or the name of a published network",
    )
    add("--weights", metavar="FILE", help="its weights (default: the .safetensors file beside the spec)")
    add("--data", metavar="SOURCE", help="the images that it was trained on, as for search.run (default: 'digits')")
    add(
        "--proxy-resolution",
        type=integer,
        metavar="PX",
        help="pixels that the network is trained and tested at (default: those of the weights' own training)",
    )
    add("--seed", type=integer, metavar="N", help="splits and trainings (default: the weights' own, else 0)")

    add = cli.add_argument_group("budget (one of them)").add_argument
    add("--budget-ms", type=number, metavar="MS", help="latency of one image")
    add("--budget-macs", type=number, metavar="N", help="multiply-adds, such as 150e6")
    add("--budget-params", type=number, metavar="N", help="parameters, such as 1.5e6")
    add(
        "--budgets",
        type=_numbers,
        metavar="MS,MS,...",
        help="several latencies, such as 20,15,10: one pruning gives a trained network for each",
    )

    add = cli.add_argument_group("the device of a budget in ms").add_argument
    add(
        "--latency",
        metavar="TABLE.json",
        help="latency table of the device (default: this machine's, measured first where kernels are missing)",
    )
    add(
        "--runtime",
        metavar="NAME",
        help=f"what runs the network on this machine: {', '.join(names())} (default: eager torch)",
    )
    add("--threads", type=integer, metavar="N", help="threads that it runs with there (default: as many as torch has)")
    add(
        "--replay",
        metavar="STUDY",
        help="take the outcomes of timing tests from that study where it has them: the same seed then gives the same "
        "history",
    )

    _add_algorithm(cli)

    add = cli.add_argument_group("the training at the end").add_argument
    add("--epochs", type=integer, default=Settings.epochs, metavar="N", help="0 for none (default: %(default)s)")
    add(
        "--epoch-images",
        type=integer,
        metavar="N",
        help="training images of an epoch; give as many as you have where they are many (default: 1280, as in "
        "search.run)",
    )

    add = cli.add_argument_group("what is kept and printed").add_argument
    add("--study", metavar="NAME", help="name of the study (default: made of the network and the budget)")
    add("--fresh", action="store_true", help="set an existing study of this name aside and start anew")
    add("--family", action="store_true", help="keep the network of every iteration, in studies/NAME/iterations/")
    add("--plot", type=Path, metavar="FILE.png", help="draw accuracy against cost, with every proposal")
    add("--json", action="store_true", help="print the result as JSON, and no progress")
    return cli


def _add_algorithm(cli: CommandParser) -> None:
    add = cli.add_argument_group("the algorithm").add_argument
    steps, decays = (", ".join(f"{pair[at]:g} with {name}" for name, pair in ALGORITHMS.items()) for at in (0, 1))
    add(
        "--moves",
        type=_names,
        default=MOVES,
        metavar="NAMES",
        help=f"what may be cut, of {','.join(MOVES)}; kernels above 3 go from 7 to 5 to 3 (default: all)",
    )
    add(
        "--criterion",
        default=Settings.criterion,
        metavar="NAME",
        help="which channels stay: l2 (norm of their filters), bn (scale of their batch norm) or taylor (first-order "
        f"change of the loss): {', '.join(CRITERIA)} (default: %(default)s)",
    )
    add(
        "--algorithm",
        default=Settings.algorithm,
        metavar="NAME",
        help="netadapt: large steps that shrink, the most accurate proposal is accepted; mobilenetv3: many small ones, "
        "the least accuracy lost for its reduction (default: %(default)s)",
    )
    add("--step", type=number, metavar="SHARE", help=f"the first reduction, of the start's cost (default: {steps})")
    add(
        "--decay",
        type=number,
        metavar="F",
        help=f"what it is multiplied by from one iteration to the next (default: {decays})",
    )
    add(
        "--short-steps",
        type=integer,
        default=Settings.short_steps,
        metavar="N",
        help="steps of a proposal's short training; 0 for none (default: %(default)s)",
    )
    add(
        "--shortlist",
        type=integer,
        default=Settings.shortlist,
        metavar="N",
        help="proposals of an iteration that are trained: the most accurate before any training, and of three or more "
        "one without a block that has no residual sum, which looks worse before than it is (default: %(default)s)",
    )
    add(
        "--validation-images",
        type=integer,
        default=Settings.validation_images,
        metavar="N",
        help="validation images that proposals are compared on (default: %(default)s)",
    )
    add(
        "--workers",
        type=integer,
        default=Settings.workers,
        metavar="N",
        help="processes that train proposals side by side, each with its share of the threads (default: %(default)s)",
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(number(part) for part in text.split(","))


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
