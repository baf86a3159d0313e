"""python -m search.netadapt: bring a trained network down to a budget, by what the device takes for it."""

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from search.latency.runtimes import names
from search.netadapt.proposals import MOVES
from search.netadapt.settings import ALGORITHMS, Settings
from searchspace.channels.steps import CRITERIA
from searchspace.command import CommandParser, guarded, integer, number, show
from searchspace.errors import InfeasibleBudget, InvalidArgument
from searchspace.files import check_writable

_DESCRIPTION = """\
Prune a trained network step by step down to a budget (NetAdapt, arXiv:1804.03230).

Each iteration asks for a small reduction. Every group of channels that can be cut offers to meet it, and so do dropped
SE blocks, smaller kernels (of as many blocks as it takes) and removed blocks; the best offers are trained for a moment
and the most accurate one is taken (where they go further down than asked for, that counts too), if this device really
runs it faster. At the budget the network is trained on and tested once. Everything is kept in studies/NAME/: the same
command again goes on where it stopped."""

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
exit codes: 0 done, 2 the input is wrong, 130 stopped by Ctrl-C (everything is kept)."""


def parser() -> argparse.ArgumentParser:
    """The command line of search.netadapt."""
    cli = CommandParser("python -m search.netadapt", description=_DESCRIPTION, epilog=_EPILOG)
    add = cli.add_argument
    add(
        "--network",
        type=Path,
        required=True,
        metavar="FILE.json",
        help="a spec file, such as the best.json of a search, or the name of a published network",
    )
    add("--weights", type=Path, metavar="FILE", help="its weights (default: the .safetensors file beside the spec)")
    add("--data", metavar="SOURCE", help="the images that it was trained on, as for search.run (default: 'digits')")
    goal = cli.add_argument_group("budget (one of them)")
    goal.add_argument("--budget-ms", type=number, metavar="MS", help="latency of one image")
    goal.add_argument("--budget-macs", type=number, metavar="N", help="multiply-adds, such as 150e6")
    goal.add_argument("--budget-params", type=number, metavar="N", help="parameters, such as 1.5e6")
    goal.add_argument(
        "--budgets",
        type=_numbers,
        metavar="MS,MS,...",
        help="several latencies, such as 20,15,10: one descent gives a trained network for each",
    )
    add(
        "--latency",
        type=Path,
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
        "--moves",
        type=_names,
        default=MOVES,
        metavar="NAMES",
        help=f"what may be cut, of {','.join(MOVES)}; kernels above 3 go from 7 to 5 to 3 (default: all)",
    )
    add(
        "--criterion",
        default="l2",
        metavar="NAME",
        help="which channels stay: l2 (norm of their filters), bn (scale "
        f"of their batch norm) or taylor (first-order change of the loss): {', '.join(CRITERIA)} "
        "(default: %(default)s)",
    )
    add(
        "--algorithm",
        default="netadapt",
        metavar="NAME",
        help="netadapt: large steps that shrink, the most accurate "
        "offer is taken; mobilenetv3: many small ones, the least accuracy lost for its reduction (default: "
        "%(default)s)",
    )
    steps = ", ".join(f"{step:g} with {name}" for name, (step, _) in ALGORITHMS.items())
    add("--step", type=number, metavar="SHARE", help=f"the first reduction, of the start's cost (default: {steps})")
    add(
        "--decay",
        type=number,
        metavar="F",
        help="what it is multiplied by from one iteration to the next (default: "
        f"{', '.join(f'{decay:g} with {name}' for name, (_, decay) in ALGORITHMS.items())})",
    )
    add(
        "--short-steps",
        type=integer,
        default=Settings.short_steps,
        metavar="N",
        help="steps of an offer's short training; 0 for none (default: %(default)s)",
    )
    add(
        "--shortlist",
        type=integer,
        default=Settings.shortlist,
        metavar="N",
        help="offers of an iteration that are "
        "trained: the most accurate before any training, and of three or more one without a block that has no residual "
        "sum, which looks worse before than it is (default: %(default)s)",
    )
    add(
        "--validation-images",
        type=integer,
        default=Settings.validation_images,
        metavar="N",
        help="validation images that offers are compared on (default: %(default)s)",
    )
    add(
        "--epochs",
        type=integer,
        default=Settings.epochs,
        metavar="N",
        help="epochs of the long training at the end; 0 for none (default: %(default)s)",
    )
    add(
        "--epoch-images",
        type=integer,
        metavar="N",
        help="training images that an epoch of it looks at; give as many "
        "as you have where they are many (default: 1280, as in search.run)",
    )
    add(
        "--proxy-resolution",
        type=integer,
        metavar="PX",
        help="pixels to train and test at (default: those of the weights' own training)",
    )
    add(
        "--workers",
        type=integer,
        default=1,
        metavar="N",
        help="processes that train offers side by side, each with its share of the threads (default: %(default)s)",
    )
    add("--seed", type=integer, metavar="N", help="splits and trainings (default: the weights' own, else 0)")
    add("--family", action="store_true", help="keep the network of every iteration, in studies/NAME/iterations/")
    add("--study", metavar="NAME", help="name of the study (default: made of the network and the budget)")
    add("--fresh", action="store_true", help="set an existing study of this name aside and start anew")
    add(
        "--replay",
        metavar="STUDY",
        help="take the outcomes of timing tests from that study where it has them: the "
        "same seed then gives the same history",
    )
    add("--plot", type=Path, metavar="FILE.png", help="draw accuracy against cost, with every proposal")
    add("--json", action="store_true", help="print the result as JSON, and no progress")
    return cli


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(number(part) for part in text.split(","))


def settings_from(args: argparse.Namespace) -> Settings:
    """The settings that the flags mean. Raises InvalidArgument."""
    flags = dict(vars(args))
    given = {unit: flags.pop(f"budget_{unit}") for unit in ("ms", "macs", "params")}
    several = flags.pop("budgets")
    units = [unit for unit, value in given.items() if value is not None]
    if len(units) + (several is not None) != 1:
        raise InvalidArgument(
            "give one budget: --budget-ms, --budget-macs, --budget-params, or --budgets 20,15,10 for several latencies"
        )
    unit = units[0] if units else "ms"
    budgets = several or (given[unit],)
    if unit != "ms" and args.latency:
        raise InvalidArgument(f"--latency belongs to a budget in ms, got --budget-{unit}: leave one out")
    for flag, value, why in (
        ("--runtime", args.runtime, "times a network for a budget in ms by this machine's own table"),
        ("--threads", args.threads, "times a network for a budget in ms by this machine's own table"),
        ("--replay", args.replay, "gives the outcomes of timing tests, for a budget in ms"),
    ):
        if value and (unit != "ms" or (flag != "--replay" and args.latency)):
            raise InvalidArgument(
                f"{flag} {why}, got --budget-{unit}{' and --latency' * bool(args.latency)}: leave it out"
            )
    flags["runtime"] = args.runtime or Settings.runtime
    for flag in ("fresh", "replay", "plot", "json"):
        del flags[flag]
    if not args.network.name:
        raise InvalidArgument(f"--network must be a spec file or the name of a published network, got {args.network}")
    flags["weights"] = args.weights or args.network.with_suffix(".safetensors")
    if args.weights is None and args.network.suffix != ".json":
        raise InvalidArgument(
            f"a network is pruned with its trained weights, got --network {args.network} and no --weights: name them"
        )
    return Settings(unit=unit, budgets=tuple(sorted(set(budgets), reverse=True)), **flags)


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code."""

    def job() -> int:
        args = parser().parse_args(argv)
        settings = settings_from(args)
        if args.plot:
            from studies.figure import new_figure

            new_figure(args.plot)  # a mistake is told before the work
            check_writable(args.plot)
        from search.netadapt.job import netadapt
        from search.netadapt.report import plot, report

        summary: dict[str, Any] = netadapt(settings, fresh=args.fresh, quiet=args.json, replay=args.replay)
        if args.plot and not summary.get("nothing_to_do"):
            plot(summary, args.plot)
        text = json.dumps(summary, indent=1) if args.json else report(summary, data=settings.data)
        if args.plot and summary.get("nothing_to_do"):
            print(f"{args.plot} is not drawn: there is no step to show", file=sys.stderr)
        code = show(text)
        if missed := summary.get("missed"):
            raise InfeasibleBudget(missed["why"])
        return code

    again = " ".join(shlex.quote(word) for word in (argv or sys.argv[1:]) if word != "--fresh")
    return guarded(
        "search.netadapt",
        job,
        stopped=f"stopped; every iteration is kept, the same command goes on: python -m search.netadapt {again}",
    )


if __name__ == "__main__":
    sys.exit(main())
