"""python -m scaling.compound --phi 3: grow a network by compound scaling, or show a published EfficientNet."""

import argparse
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

from scaling import family, report
from scaling.api import compound, published
from scaling.base import separate_files
from scaling.formula import BASES, RULES, Coefficients
from scaling.growth import RESOLUTION_STEP
from search.sources import SOURCE_FLAGS
from search.training import variation
from searchspace.command import EMA_HELP, CommandParser, integer, number, run_command, seed
from searchspace.errors import InvalidArgument
from searchspace.lazy import make_callable
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
  python -m scaling.compound --phi 3                    phi = 3, beside the published B3
  python -m scaling.compound --preset b3 --out b3.json  the published B3 alone, with its dropout
  python -m scaling.compound --phi 1 --network studies/NAME/best.json --out grown.json
  python -m scaling.compound --phi -1 --network mobilenet_v3_large        a negative phi shrinks
  python -m scaling.compound --phi 0,1,2,3 --measure --plot family.png    a family, timed here
  python -m scaling.compound --target-ms 60 --latency my.json --out grown.json
  python -m scaling.compound --target-macs 600e6 --compare                every rule, to the same MACs
  python -m scaling.compound --network best.json --inherit best.safetensors --epochs 20 --out grown.json
  python -m scaling.compound --network efficientnet_lite0 --weights auto --minutes 30 --data photos/ --out grown.json

next:
  python -m search.run --budget-ms 20                   search a network, then grow its best.json
in Python: scaling.compound(network, phi=3), with the same keywords as these flags
a spec file as a torch module: searchspace.nn.build(searchspace.spec.read_spec(Path(FILE)))
exit codes: 0 done, 2 the input is wrong, 130 stopped by Ctrl-C (the epochs done are kept)."""

_STOPPED = "stopped; epochs that were trained are kept: the same command goes on"
_TARGETS = ("target_ms", "target_macs", "target_params")
_SHAPING = ("phi", *_TARGETS, "network", "rule", *BASES, "coefficients", "resolution_step")
_NOT_OF_THE_FUNCTION = ("preset", "table", "plot", "json")
_WITH_PRESET = ("preset", "latency", "measure", "out", "onnx", "json")


def _phis(text: str) -> list[float]:
    return [number(part) + 0.0 for part in text.split(",")]  # -0 is 0


def _per_step(name: str, what: str) -> tuple[str, Any, str, str]:
    return f"--{name}", number, "X", f"{what} per step of phi (default: {getattr(Coefficients(), name):g})"


_WEIGHTS = """start from published weights in place of --inherit: auto (the network's own, or the nearest that can be
had), a name of python -m searchspace.zoo --weights, or a file"""

# By the title of a group: flag, type (None: a switch), name of the value, help.
_FLAGS: dict[str, list[tuple[str, Any, str, str]]] = {
    "what grows, and how far": [
        ("--network", Path, "NAME", "a spec file, or a name of python -m searchspace.zoo (default: EfficientNet-B0)"),
        ("--phi", _phis, "X[,X...]", "about 2^phi times the MACs (default: 1); several make a family, in one table"),
        ("--target-ms", number, "MS", "grow (or shrink) to this predicted latency"),
        ("--target-macs", number, "N", "to so many multiply-accumulates, such as 600e6"),
        ("--target-params", number, "N", "to so many parameters"),
        (
            "--resolution-step",
            integer,
            "PX",
            f"pixels are a multiple of this (default: 1, for a target {RESOLUTION_STEP})",
        ),
        ("--preset", str, "NAME", "the published network alone: b0 to b7"),
    ],
    "how the growth is shared": [
        _per_step("alpha", "layers"),
        _per_step("beta", "channels"),
        _per_step("gamma", "pixels"),
        ("--coefficients", Path, "FILE.json", "alpha, beta and gamma, from python -m scaling.coefficients fit"),
        ("--rule", str, "NAME", "; ".join(f"{name}: {rule.about} ({rule.source})" for name, rule in RULES.items())),
        ("--compare", None, "", "all rules side by side, at the same phi or to the same target"),
    ],
    "latency and output": [
        ("--latency", Path, "FILE", "the latency table of your device (default: with --target-ms this machine's own)"),
        ("--measure", None, "", "time the networks on this machine, beside the prediction"),
        ("--table", None, "", "one line a network, as for several phis"),
        ("--plot", Path, "FILE", "several phis: MACs, parameters and latency, as .png, .svg or .pdf"),
        ("--out", Path, "FILE.json", "write the grown network (with --preset: the preset) as a spec"),
        ("--onnx", Path, "FILE.onnx", "write it as an ONNX model with random weights, to time it anywhere"),
        ("--json", None, "", "print the same as one JSON document"),
    ],
    "weights, which are written beside --out": [
        ("--inherit", Path, "FILE", "start from the small network's weights: the grown one computes the same at first"),
        ("--weights", str, "NAME", _WEIGHTS),
        ("--ema", argparse.BooleanOptionalAction, "", EMA_HELP),
        ("--minutes", number, "M", "fine-tune so long, at the network's own pixels in the end, and test"),
        ("--epochs", integer, "N", "train so long in place of --minutes, from these weights or from scratch, and test"),
        *SOURCE_FLAGS,
        ("--proxy-resolution", integer, "PX", "pixels to train at (default: those of the small one's, grown likewise)"),
        ("--augment", str, "NAMES", f"{variation.HELP} (default: auto)"),
        ("--class-weights", str, "HOW", f"{variation.WEIGHTS_HELP} (default: none)"),
        ("--seed", seed, "N", "of splits, new weights and order (default: 0)"),
    ],
}


def parser() -> CommandParser:
    """The command line."""
    cli = CommandParser("python -m scaling.compound", description=_DESCRIPTION, epilog=_EPILOG)
    cli._negative_number_matcher = re.compile(r"-[\d.][\d.,eE+-]*$")  # argparse's own takes -1,0,1 for a flag
    for title, flags in _FLAGS.items():
        group = cli.add_argument_group(title)
        for flag, kind, metavar, text in flags:
            if kind is None or kind is argparse.BooleanOptionalAction:
                how = {"action": kind, "default": None} if kind else {"action": "store_true"}
                group.add_argument(flag, help=text, **how)
            else:
                group.add_argument(flag, type=kind, metavar=metavar, help=text)
    return cli


def _check(args: argparse.Namespace) -> None:
    """What belongs to the command alone. Raises InvalidArgument."""
    written, read = ("out", "onnx", "plot"), ("network", "latency", "coefficients", "inherit")
    separate_files(*({f"--{name}": getattr(args, name) for name in names} for names in (written, read)))
    several = args.compare or len(args.phi or ()) > 1
    flags = ("inherit", "weights", "epochs", "minutes")
    flag = next((f"--{name}" for name in flags if getattr(args, name) is not None), "")
    if flag and not several and not args.out:
        raise InvalidArgument(f"{flag} writes weights beside the spec, got no --out: name it, as --out grown.json")
    if flag and not several and args.table:
        raise InvalidArgument(f"--table shows what networks cost and makes no weights, got {flag}: leave one out")
    if args.plot and (args.compare or not several):
        raise InvalidArgument("--plot draws a family, got one phi: give several, such as --phi 0,1,2,3")
    if args.onnx and args.onnx.suffix != ".onnx":
        raise InvalidArgument(f"--onnx must end in .onnx, got {args.onnx}: name the file so")


def _check_preset(args: argparse.Namespace) -> None:
    for name, value in vars(args).items():
        if name not in _WITH_PRESET and value not in (None, False):
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
    elif all(flags[name] is None for name in _TARGETS):
        flags["phi"] = flags["phi"] or [1.0]
    pairs = [("--" + name.replace("_", "-"), _value_text(value)) for name, value in flags.items() if value is not None]
    return shlex.join(word for pair in pairs for word in pair)


def run(args: argparse.Namespace) -> str:
    """Do what the flags ask for; what to print. Raises PhinasError."""
    _check(args)
    if args.preset is not None:
        _check_preset(args)
        result = published(args.preset, latency=args.latency, measure=args.measure)
        result.save(args.out, onnx=args.onnx)
    else:
        if args.plot:
            from studies.figure import new_figure

            figure = new_figure(args.plot)
        flags = {name: value for name, value in vars(args).items() if name not in _NOT_OF_THE_FUNCTION}
        result = compound(**flags, quiet=args.json)
        if args.plot:
            family.plot(result.base, result.grown, figure, args.plot)
    warnings = [one.coefficients.warning() for one in result.grown if one.coefficients]
    if warning := next(filter(None, warnings), None):
        print("scaling.compound: warning:", warning, file=sys.stderr)
    is_table = args.table or len(result.grown) > 1
    if args.json:
        content = report.family_as_dict if is_table else report.as_dict
        return json.dumps(content(result, written=args.out), indent=1)
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


make_callable(__name__, compound)

if __name__ == "__main__":
    sys.exit(main())
