"""python -m scaling.compound --phi 3: grow a network by compound scaling, or show a published EfficientNet."""

import argparse
import json
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

from scaling.api import UNITS, compound, published
from scaling.formula import BASES, RULES, Coefficients
from scaling.growth import RESOLUTION_STEP
from scaling.result import Result
from searchspace.command import CommandParser, integer, number, run_command
from searchspace.errors import InvalidArgument
from searchspace.report import next_steps

_DESCRIPTION = """\
Grow a network deeper, wider and finer at once (compound scaling, EfficientNet, arXiv:1905.11946):
layers x alpha^phi, channels x beta^phi, input pixels x gamma^phi.

Without --network it grows EfficientNet-B0. Where a network is published for that phi (B0 to B7 are
phi 0 to 7), both stand side by side: what the formula gives, and what was released. They differ.
It prints every stage with its layers, channels, output size, parameters and MACs, then the totals
with activation and peak memory (batch 1, float32), and what each dimension does alone. With
--latency (a table of python -m search.latency build --out) also the latency and its 90 % interval.
With a target in place of --phi it finds the phi whose network costs just that, at most 2 % less."""

_EPILOG = """\
examples:
  python -m scaling.compound                            B0 grown by phi = 1, beside the published B1
  python -m scaling.compound --phi 3                    phi = 3, beside the published B3
  python -m scaling.compound --preset b3 --out b3.json  the published B3 alone, with its dropout
  python -m scaling.compound --phi 1 --network studies/NAME/best.json --out grown.json
  python -m scaling.compound --phi 2 --network mobilenet_v3_large
  python -m scaling.compound --phi -1                   smaller than B0: a negative phi shrinks
  python -m scaling.compound --phi 2 --alpha 1.1 --beta 1.15 --gamma 1.15
  python -m scaling.compound --phi 0,1,2,3 --measure --plot family.png    a family, timed here
  python -m scaling.compound --target-ms 60 --latency my.json --out grown.json
  python -m scaling.compound --target-macs 600e6 --compare                every rule, to the same MACs
  python -m scaling.compound --network best.json --inherit best.safetensors --epochs 20 --out grown.json

next:
  python -m search.run --budget-ms 20                   search a network, then grow its best.json
in Python: scaling.compound(network, phi=3), with the same keywords as these flags
a spec file as a torch module: searchspace.nn.build(searchspace.serialize.read_spec(Path(FILE)))
exit codes: 0 done, 2 the input is wrong, 130 stopped by Ctrl-C (the epochs done are kept)."""

_STOPPED = "stopped; epochs that were trained are kept: the same command goes on"
_SHAPING = ("phi", *UNITS, "network", "rule", *BASES, "coefficients", "resolution_step")
_WITH_PRESET = ("preset", "latency", "measure", "out", "onnx", "seed", "json")


def parser() -> CommandParser:
    """The command line."""
    cli = CommandParser("python -m scaling.compound", description=_DESCRIPTION, epilog=_EPILOG)
    cli._negative_number_matcher = re.compile(r"-[\d.][\d.,eE+-]*$")  # argparse's own takes -1,0,1 for a flag
    _growth_flags(cli)
    rules = "; ".join(f"{name}, {rule.about} ({rule.source})" for name, rule in RULES.items())
    add = cli.add_argument_group("how the growth is shared").add_argument
    for name, what in zip(BASES, ("layers", "channels", "pixels"), strict=True):
        default = getattr(Coefficients(), name)
        add(f"--{name}", type=number, metavar="X", help=f"{what} per step of phi (default: {default:g})")
    add(
        "--coefficients",
        type=Path,
        metavar="FILE.json",
        help="alpha, beta and gamma from a file, as python -m scaling.coefficients fit writes it",
    )
    add("--rule", choices=RULES, help=f"alpha, beta and gamma by name: {rules}")
    add("--compare", action="store_true", help="all rules side by side, at the same phi or to the same target")
    add = cli.add_argument_group("latency and output").add_argument
    add(
        "--latency",
        type=Path,
        metavar="FILE",
        help="the latency table of your device (default: with --target-ms this machine's own, else none)",
    )
    add("--measure", action="store_true", help="time the networks on this machine, beside the prediction")
    add("--table", action="store_true", help="one line a network, as for several phis")
    add("--plot", type=Path, metavar="FILE", help="several phis: MACs, parameters and latency, as .png, .svg or .pdf")
    add("--out", type=Path, metavar="FILE.json", help="write the grown network (with --preset: the preset) as a spec")
    add(
        "--onnx",
        type=Path,
        metavar="FILE.onnx",
        help="write it as an ONNX model with random weights, to time it anywhere",
    )
    add("--json", action="store_true", help="print the same as one JSON document")
    _weights_flags(cli)
    return cli


def _growth_flags(cli: CommandParser) -> None:
    add = cli.add_argument_group("what grows, and how far").add_argument
    add(
        "--network",
        type=Path,
        metavar="NAME",
        help="grow this network: a spec file (.json) or a name of python -m searchspace.zoo (default: EfficientNet-B0)",
    )
    add(
        "--phi",
        type=lambda text: [number(part) + 0.0 for part in text.split(",")],  # -0 is 0
        metavar="X[,X...]",
        help="how far to grow: about 2^phi times the MACs (default: 1); several make a family, in one table",
    )
    add("--target-ms", type=number, metavar="MS", help="grow (or shrink) to this predicted latency")
    add("--target-macs", type=number, metavar="N", help="to so many multiply-accumulates, such as 600e6")
    add("--target-params", type=number, metavar="N", help="to so many parameters")
    add(
        "--resolution-step",
        type=integer,
        metavar="PX",
        help=f"round pixels to multiples of this (default: {RESOLUTION_STEP} for a target, else 1)",
    )
    add("--preset", metavar="NAME", help="the published network alone: b0 to b7")


def _weights_flags(cli: CommandParser) -> None:
    add = cli.add_argument_group("weights").add_argument
    add(
        "--inherit",
        type=Path,
        metavar="FILE",
        help="start from the small network's weights (best.safetensors): the grown one computes the same, with more to "
        "learn with; written beside --out",
    )
    add(
        "--epochs",
        type=integer,
        metavar="N",
        help="train the grown network so long, from the inherited weights or from scratch, and test it; weights are "
        "written beside --out",
    )
    add("--data", metavar="SOURCE", help="with --epochs: images, as python -m search.run takes them (default: digits)")
    add(
        "--proxy-resolution",
        type=integer,
        metavar="PX",
        help="with --epochs: pixels to train at (default: those of the small network's training, grown likewise)",
    )
    add("--seed", type=integer, default=0, help="with --epochs: splits, new weights, order (default: %(default)s)")


def _check(args: argparse.Namespace) -> None:
    """What belongs to the command alone. Raises InvalidArgument."""
    several = args.compare or len(args.phi or ()) > 1
    for flag, value in (("--inherit", args.inherit), ("--epochs", args.epochs)):
        if value is not None and not several:
            if not args.out:
                raise InvalidArgument(
                    f"{flag} writes weights beside the spec, got no --out: name it, as --out grown.json"
                )
            if args.table:
                raise InvalidArgument(
                    f"--table shows what networks cost and makes no weights, got {flag}: leave one out"
                )
    if args.plot and (args.compare or not several):
        raise InvalidArgument("--plot draws a family, got one phi: give several, such as --phi 0,1,2,3")
    if args.onnx and args.onnx.suffix != ".onnx":
        raise InvalidArgument(f"--onnx must end in .onnx, got {args.onnx}: name the file so")


def _check_preset(args: argparse.Namespace) -> None:
    for name, value in vars(args).items():
        if name in _WITH_PRESET or value in (None, False):
            continue
        flag, text = name.replace("_", "-"), "" if value is True else f" {_value_text(value)}"
        raise InvalidArgument(
            f"--preset shows a published network as it is and goes without --{flag}, got --preset {args.preset} "
            f"and --{flag}{text}: leave one of them out"
        )


def _value_text(value: object) -> str:
    parts = value if isinstance(value, list) else [value]
    return ",".join(f"{part:.15g}" if isinstance(part, float) else str(part) for part in parts)


def _again(args: argparse.Namespace, **instead: object) -> str:
    """The flags that make this network again, those of `instead` with other values."""
    flags = {name: getattr(args, name) for name in _SHAPING} | instead
    if args.target_ms is not None:
        flags["latency"] = args.latency
    elif all(flags[name] is None for name in UNITS):
        flags["phi"] = flags["phi"] or [1.0]
    pairs = [("--" + name.replace("_", "-"), _value_text(value)) for name, value in flags.items() if value is not None]
    return shlex.join(word for pair in pairs for word in pair)


def run(args: argparse.Namespace) -> str:
    """Do what the flags ask for; what to print. Raises PhinasError."""
    _check(args)
    if args.preset is not None:
        _check_preset(args)
        result = published(args.preset, latency=args.latency)
        if args.measure:
            result.measure()
        result.save(args.out, onnx=args.onnx)
        return _report(args, result)
    figure = None
    if args.plot:
        from studies.figure import new_figure

        figure = new_figure(args.plot)
    flags = {name: value for name, value in vars(args).items() if name not in ("preset", "table", "plot", "json")}
    result = compound(**flags, quiet=args.json)
    if figure is not None:
        from scaling.family import plot

        plot(result, figure, args.plot)
    warnings = [one.coefficients.warning() for one in result.grown if one.coefficients]
    if warning := next(filter(None, warnings), None):
        print("scaling.compound: warning:", warning, file=sys.stderr)
    return _report(args, result)


def _report(args: argparse.Namespace, result: Result) -> str:
    from scaling import family, report

    is_table = args.table or len(result.grown) > 1
    if args.json:
        return json.dumps((family.family_dict if is_table else report.as_dict)(result, written=args.out), indent=1)
    if not is_table:
        return report.as_text(result, written=args.out, again=_again(args))
    if args.out:
        return f"{result.table()}\n\nWritten to {args.out}."
    last = result.grown[-1]
    again = _again(args, **({"rule": last.name} if args.compare else {"phi": args.phi and [last.phi]}))
    steps = next_steps(["# keep one of them, such as the last", f"{report.COMMAND} {again} --out grown.json"])
    return f"{result.table()}\n\n{steps}"


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code."""
    return run_command(parser(), argv, run=run, stopped=_STOPPED)


class _CallableModule(ModuleType):
    """This module is called like the function: `scaling.compound(...)` works whichever of both was imported."""

    __call__ = staticmethod(compound)


sys.modules[__name__].__class__ = _CallableModule

if __name__ == "__main__":
    sys.exit(main())
