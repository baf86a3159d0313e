"""python -m searchspace.zoo: the published networks with their costs; with a NAME one of them, stage by stage."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from searchspace.arguments import check_flag
from searchspace.command import CommandParser, integer, number, positive_integer, run_command
from searchspace.errors import InvalidArgument
from searchspace.latency.table import read_table
from searchspace.spec import write_spec
from searchspace.zoo.catalogue import entry, names
from searchspace.zoo.report import list_dict, list_text, one_dict, one_text, price
from searchspace.zoo.weights_report import newest_table, weights_dict, weights_rows, weights_text

_DESCRIPTION = """\
The published networks, built from their papers' tables: parameters, MACs (1 multiply-add = 1), input
pixels, the ImageNet top-1 accuracy that the paper prints. With a NAME: that network stage by stage, at
any width, depth, resolution or number of classes; --out keeps it as a spec file that the other
commands take."""

_EPILOG = """\
examples:
  python -m searchspace.zoo                                         all of them
  python -m searchspace.zoo --weights                               weights to start from: where, top-1, licence
  python -m searchspace.zoo --width 0.5 --resolution 160            all of them, narrower and coarser
  python -m searchspace.zoo mobilenet_v3_large                      one, stage by stage
  python -m searchspace.zoo mobilenet_v3_small --width 0.75 --classes 10 --out small.json
  python -m searchspace.zoo shufflenet_v1 --groups 8 --json         for a machine
  python -m search.latency build --zoo                              measure their kernels here, then:
  python -m searchspace.zoo --latency ~/.cache/phinas/latency-....json

next:
  python -m scaling.compound --phi 1 --network small.json           grow what --out wrote (or a NAME)
  python -m searchspace.convert FILE --network NAME --from timm --out weights.safetensors
                                                                    published weights for it
  python -m search.run --budget-ms 20 --baselines                   train them beside what a search finds
  network = searchspace.nn.build(searchspace.zoo.get("mobilenet_v3_small", width=0.75))
exit codes: 0 done, 2 the input is wrong (nothing is written then)."""

_OF_SOME = ("groups", "rounding", "fixed_ends")
_MOST = 100  # times the paper's width or depth
_OPTIONS = ("width", "depth", "resolution", "classes", "padding", *_OF_SOME)


def parser() -> CommandParser:
    """The command line of searchspace.zoo."""
    cli = CommandParser("python -m searchspace.zoo", description=_DESCRIPTION, epilog=_EPILOG)
    add = cli.add_argument
    add("name", type=str, nargs="?", metavar="NAME", help="a network of the list (default: list all)")
    add("--width", type=number, metavar="X", help="channels times X, rounded as the released code does (default: 1)")
    add("--depth", type=number, metavar="X", help="layers of each stage times X, rounded up (default: 1)")
    add("--resolution", type=positive_integer, metavar="PX", help="pixels of the image (default: the paper's)")
    add("--classes", type=positive_integer, metavar="N", help="classes (default: 1000)")
    add("--padding", type=str, metavar="RULE", help='"half", or "same" for TensorFlow\'s variant (default: half)')
    add("--groups", type=integer, metavar="N", help="of shufflenet_v1: 1, 2, 3, 4 or 8 (default: 3)")
    add("--rounding", type=str, metavar="RULE", help='of mobilenet_v3_*: "paper" or "torchvision" (default: paper)')
    add("--fixed-ends", action="store_true", default=None, help="of mobilenet_v2: scale neither stem nor head")
    add("--latency", type=Path, metavar="TABLE.json", help="predict ms with a table of python -m search.latency build")
    add("--weights", action="store_true", help="list the published weights: where, licence, top-1, pixels, ms")
    add("--out", type=Path, metavar="FILE.json", help="write the network NAME as a spec")
    add("--json", action="store_true", help="print the same as one JSON document")
    return cli


def run(args: argparse.Namespace) -> str:
    """What the flags ask for, as text or JSON; --out is written. Raises PhinasError."""
    options = {option: getattr(args, option) for option in _OPTIONS if getattr(args, option) is not None}
    for option in ("width", "depth"):
        check_flag(f"--{option}", options.get(option), options.get(option, 1) <= _MOST, f"at most {_MOST}")
    latencies = None if args.latency is None else read_table(args.latency)
    if args.weights:
        _check_alone(args, options)
        latencies = latencies or newest_table()
        listed = weights_rows(latencies)
        return json.dumps(weights_dict(listed, latencies), indent=1) if args.json else weights_text(listed, latencies)
    if args.name is None:
        _check_for_all(args)
        rows = [price(name, options, latencies) for name in names()]
        return json.dumps(list_dict(rows, latencies), indent=1) if args.json else list_text(rows, options, latencies)
    row = price(args.name, options, latencies)
    if args.out is not None:
        write_spec(args.out, row.spec)
    if args.json:
        return json.dumps(one_dict(row, latencies, written=args.out), indent=1)
    return one_text(row, options, latencies, written=args.out)


def _check_for_all(args: argparse.Namespace) -> None:
    for option in (*_OF_SOME, "out"):
        if getattr(args, option) is not None:
            flag = "--" + option.replace("_", "-")
            example = next((name for name in names() if option in entry(name).options), names()[0])
            raise InvalidArgument(f"{flag} is for one network: give its NAME, such as {example} {flag}")


def _check_alone(args: argparse.Namespace, options: dict[str, Any]) -> None:
    given = [args.name, *(f"--{option.replace('_', '-')}" for option in options), "--out" if args.out else None]
    if others := [each for each in given if each]:
        raise InvalidArgument(
            f"--weights lists the weights of all networks as they were published, got {' '.join(others)} too: leave "
            "them out"
        )


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(parser(), argv, run=run, stopped="stopped; nothing is written")


if __name__ == "__main__":
    sys.exit(main())
