"""python -m scaling.compound --phi 3: grow a network by compound scaling, or show a published EfficientNet."""

import argparse
import json
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from scaling.coefficients import RULES, Coefficients, Factors
from scaling.family import Family, Priced, family_dict, family_text, measure, plot
from scaling.family import Member as FamilyMember
from scaling.growth import RESOLUTION_STEP, Grown, by_dimension
from scaling.report import Member, Result, Weights, as_dict, as_text
from scaling.task import BASES, TARGETS, Task, is_file, latencies_of, separate_files, task_of
from searchspace.command import CommandParser, guarded, integer, number, show
from searchspace.errors import InvalidArgument
from searchspace.files import write_atomic
from searchspace.latency.table import LatencyTable
from searchspace.spec import NetworkSpec
from searchspace.zoo import efficientnet

if TYPE_CHECKING:
    from scaling.weights import Start

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
  a spec file as a torch module: searchspace.nn.build(searchspace.serialize.read_spec(Path(FILE)))
exit codes: 0 done, 2 the input is wrong, 130 stopped by Ctrl-C (the epochs done are kept)."""

SHAPING = ("phi", *TARGETS, "network", "rule", *BASES, "coefficients", "resolution_step")


def parser() -> argparse.ArgumentParser:
    """The command line of scaling.compound."""
    cli = CommandParser("python -m scaling.compound", description=_DESCRIPTION, epilog=_EPILOG)
    cli._negative_number_matcher = re.compile(r"-[\d.][\d.,eE+-]*$")  # argparse's own takes -1,0,1 for a flag
    add = cli.add_argument
    add(
        "--phi",
        type=_phis,
        metavar="X[,X...]",
        help="how far to grow: about 2^phi times the MACs (default: 1); several make a family, in one table",
    )
    add(
        "--network",
        type=Path,
        metavar="NAME",
        help="grow this network: a spec file (.json) or a name of python -m searchspace.zoo (default: EfficientNet-B0)",
    )
    for name, what in (("alpha", "layers"), ("beta", "channels"), ("gamma", "pixels")):
        default = getattr(Coefficients(), name)
        add(f"--{name}", type=number, metavar="X", help=f"{what} per step of phi (default: {default:g})")
    add(
        "--coefficients",
        type=Path,
        metavar="FILE.json",
        help="alpha, beta and gamma from a file, as python -m scaling.coefficients fit writes it",
    )
    add(
        "--rule",
        choices=RULES,
        help="alpha, beta and gamma by name: "
        + "; ".join(f"{name}, {rule.about} ({rule.source})" for name, rule in RULES.items()),
    )
    add("--compare", action="store_true", help="all rules side by side, at the same phi or to the same target")
    add("--target-ms", type=number, metavar="MS", help="grow (or shrink) to this predicted latency")
    add("--target-macs", type=number, metavar="N", help="to so many multiply-accumulates, such as 600e6")
    add("--target-params", type=number, metavar="N", help="to so many parameters")
    add(
        "--resolution-step",
        type=integer,
        metavar="PX",
        help=f"round pixels to multiples of this (default: {RESOLUTION_STEP} for a target, else 1)",
    )
    add(
        "--latency",
        type=Path,
        metavar="FILE",
        help="the latency table of your device (default: with --target-ms this machine's own, else none)",
    )
    add("--measure", action="store_true", help="time the networks on this machine, beside the prediction")
    add("--table", action="store_true", help="one line a network, as for several phis")
    add("--plot", type=Path, metavar="FILE", help="several phis: MACs, parameters and latency, as .png, .svg or .pdf")
    add("--preset", metavar="NAME", help="the published network alone: b0 to b7")
    add("--out", type=Path, metavar="FILE.json", help="write the grown network (with --preset: the preset) as a spec")
    add(
        "--onnx",
        type=Path,
        metavar="FILE.onnx",
        help="write it as an ONNX model with random weights, to time it anywhere",
    )
    add(
        "--inherit",
        type=Path,
        metavar="FILE",
        help="start from the small network's weights (best.safetensors): the "
        "grown one computes the same, with more to learn with; written beside --out",
    )
    add(
        "--epochs",
        type=integer,
        metavar="N",
        help="train the grown network so long, from the inherited weights or "
        "from scratch, and test it; weights are written beside --out",
    )
    add("--data", metavar="SOURCE", help="with --epochs: images, as python -m search.run takes them (default: digits)")
    add(
        "--proxy-resolution",
        type=integer,
        metavar="PX",
        help="with --epochs: pixels to train at (default: those of the small network's training, grown likewise)",
    )
    add("--seed", type=integer, default=0, help="with --epochs: splits, new weights, order (default: %(default)s)")
    add("--json", action="store_true", help="print the same as one JSON document")
    return cli


def _phis(text: str) -> list[float]:
    return [number(part) + 0.0 for part in text.split(",")]  # -0 is 0


def published(name: str, latencies: LatencyTable | None = None) -> Member:
    """The published EfficientNet `name` ("b0" to "b7"). Raises InvalidArgument."""
    spec = efficientnet.preset(name)
    row = efficientnet.PRESETS[name]
    return Member(f"published {name.upper()}", Factors(row.depth, row.width, row.resolution), Priced(spec, latencies))


def scale(args: argparse.Namespace) -> Result | Family:
    """What the flags ask for. Raises PhinasError."""
    if args.preset is not None:
        _only_preset(args)
        latencies = latencies_of(args.latency, needed=False)
        return Result(
            base=Priced(efficientnet.B0.expand(), latencies),
            formula=None,
            published=published(args.preset.lower(), latencies),
            latencies=latencies,
        )
    todo = task_of(args)
    rows = len(RULES) if args.compare else len(todo.phis)
    if args.compare and len(todo.phis) > 1:
        raise InvalidArgument(f"--compare takes one phi, got {len(todo.phis)}: --phi {todo.phis[0]:g}")
    _one_network_flags(args, rows)
    if args.compare or args.table or rows > 1:
        return _family(todo, compare=args.compare)
    (grown,) = todo.members(todo.coefficients)
    if args.epochs and not args.inherit and not is_file(args.network):
        todo, grown = _for_data(args, todo, grown)
    template, table = todo.template, todo.latencies
    preset = f"b{grown.phi:g}"
    beside = not args.network and not args.epochs and todo.target is None and preset in efficientnet.PRESETS
    return Result(
        base=Priced(template.expand(), table),
        formula=Member(f"formula, phi = {grown.phi:.4g}", grown.factors, Priced(grown.spec, table)),
        published=published(preset, table) if beside else None,
        phi=grown.phi,
        coefficients=todo.coefficients,
        network=args.network,
        template=template,
        latencies=table,
        alone={name: Priced(one.spec, table) for name, one in by_dimension(template, grown).items()},
        target=todo.target and (todo.target.flag, todo.target.value),
        flags=_shaping(args),
    )


def _for_data(args: argparse.Namespace, todo: Task, grown: Grown) -> tuple[Task, Grown]:
    """A published network that is trained from scratch tells the classes of the data apart, not ImageNet's."""
    from scaling.weights import classes_of

    classes = classes_of(todo.template, grown, data=args.data, pixels=args.proxy_resolution, seed=args.seed)
    todo = todo._replace(template=todo.template.with_classes(classes))
    (grown,) = todo.members(todo.coefficients)
    return todo, grown


def _shaping(args: argparse.Namespace, **instead: object) -> str:
    """The flags that make this network again, those of `instead` with other values."""
    given = {name: getattr(args, name) for name in SHAPING} | instead
    if args.target_ms is not None:
        given["latency"] = args.latency
    elif all(given[name] is None for name in TARGETS):
        given["phi"] = given["phi"] or [1.0]
    words = []
    for name, value in given.items():
        if value is not None:
            parts = value if isinstance(value, list) else [value]
            text = ",".join(f"{part:.15g}" if isinstance(part, float) else str(part) for part in parts)
            words += ["--" + name.replace("_", "-"), text]
    return shlex.join(words)


def _separate_files(args: argparse.Namespace) -> None:
    weights = args.out.with_suffix(".safetensors") if args.out and (args.inherit or args.epochs) else None
    separate_files(
        {"--out": args.out, "--onnx": args.onnx, "--plot": args.plot, "the weights' file beside --out": weights},
        {
            "--network": args.network,
            "--latency": args.latency,
            "--coefficients": args.coefficients,
            "--inherit": args.inherit,
        },
    )


def _one_network_flags(args: argparse.Namespace, rows: int) -> None:
    for flag, value in (("--out", args.out), ("--onnx", args.onnx), ("--inherit", args.inherit)):
        if value and rows > 1:
            raise InvalidArgument(f"{flag} writes one network, got {rows}: give one --phi and no --compare with it")
    for flag, value in (("--inherit", args.inherit), ("--epochs", args.epochs)):
        if value and not args.out:
            raise InvalidArgument(f"{flag} writes weights beside the spec, got no --out: name it, as --out grown.json")
        if value and args.table:
            raise InvalidArgument(f"--table shows what networks cost and makes no weights, got {flag}: leave one out")
    if args.epochs is not None and args.epochs < 1:
        raise InvalidArgument(f"--epochs must be at least 1, got {args.epochs}")
    for flag, value in (("--data", args.data), ("--proxy-resolution", args.proxy_resolution)):
        if value is not None and not args.epochs:
            raise InvalidArgument(f"{flag} belongs to training, got no --epochs: give both or none")
    if args.proxy_resolution is not None and args.proxy_resolution < 1:
        raise InvalidArgument(f"--proxy-resolution must be at least 1 px, got {args.proxy_resolution}")
    if args.plot and (args.compare or rows == 1):
        raise InvalidArgument("--plot draws a family, got one phi: give several, such as --phi 0,1,2,3")


def _family(todo: Task, *, compare: bool) -> Family:
    """The rules, or the phis, as rows of one table."""
    members = []
    for name, coefficients in (
        [(name, rule.coefficients) for name, rule in RULES.items()] if compare else [("", todo.coefficients)]
    ):
        for grown in todo.members(coefficients):
            priced = Priced(grown.spec, todo.latencies)
            members.append(FamilyMember(name or f"{grown.phi:.4g}", coefficients, grown, priced))
    base = Priced(todo.template.expand(), todo.latencies)
    return Family(base, tuple(members), "rule" if compare else "phi", todo.latencies)


def _only_preset(args: argparse.Namespace) -> None:
    flags = ("phi", "network", *BASES, "coefficients", "rule", *TARGETS, "resolution_step", "plot", "inherit", "epochs")
    for name in (*flags, "data", "proxy_resolution", "compare", "table"):
        value, flag = getattr(args, name), name.replace("_", "-")
        if isinstance(value, list):
            value = ",".join(f"{each:g}" for each in value)
        if value not in (None, False):
            raise InvalidArgument(
                f"--preset shows a published network as it is and goes without --{flag}, got --preset {args.preset} "
                f"and --{flag}{'' if value is True else f' {value}'}: leave one of them out"
            )


def _write(args: argparse.Namespace, spec: NetworkSpec) -> None:
    """The spec and the ONNX model, where the flags ask for them."""
    if args.onnx and args.onnx.suffix != ".onnx":
        raise InvalidArgument(f"--onnx must end in .onnx, got {args.onnx}: name the file so")
    if args.onnx:
        from searchspace.nn import untrained  # torch is slow to import: all else does without
        from searchspace.nn.onnx_model import to_onnx

        write_atomic(args.onnx, to_onnx(untrained(spec)).SerializeToString())
    if args.out:
        write_atomic(args.out, spec.to_json() + "\n")


def _begin(args: argparse.Namespace, result: Result) -> "Start | None":
    """The weights and images that the flags ask for, read and checked before anything is written."""
    if not args.inherit and not args.epochs:
        return None
    from scaling.weights import start, with_images

    assert result.template is not None
    grown = Grown(result.phi or 0.0, result.main.factors, result.main.spec)
    begin = start(result.template, grown, args.inherit, seed=args.seed)
    if args.epochs:
        begin = with_images(begin, result.template, grown, data=args.data, pixels=args.proxy_resolution, seed=args.seed)
    return begin


def _weights(args: argparse.Namespace, begin: "Start") -> Weights:
    """Inherited and trained weights beside --out."""
    from scaling.weights import train_on, write_weights

    path = args.out.with_suffix(".safetensors")
    trained = None
    if args.epochs:
        trained = train_on(begin, data=args.data, epochs=args.epochs, seed=args.seed, out=path, quiet=args.json)
    else:
        write_weights(begin.network, path, {**begin.about, "fingerprint": begin.network.spec.fingerprint()})
    own = begin.inherited
    return Weights(
        path, args.inherit, own and own.difference, own.reasons if own else (), trained and trained._asdict()
    )


def run(args: argparse.Namespace) -> tuple[str, str | None]:
    """Do what the flags ask for: (what to print, a warning). Raises PhinasError."""
    _separate_files(args)
    result = scale(args)
    figure = None
    if args.plot:
        from studies.figure import new_figure

        figure = new_figure(args.plot)
    if args.measure:
        measure(result.networks, result.latencies)
    if isinstance(result, Family):
        if figure is not None:
            plot(result, figure, args.plot)
        if len(result.members) == 1:
            _write(args, result.members[0].grown.spec)
        warnings = {member.coefficients.warning(): None for member in result.members}
        return _family_report(args, result), next((warning for warning in warnings if warning), None)
    begin = _begin(args, result)
    _write(args, result.main.spec)
    if begin is not None:
        result = result._replace(weights=_weights(args, begin))
    warning = result.coefficients.warning() if result.coefficients else None
    if args.json:
        return json.dumps(as_dict(result, written=args.out), indent=1), warning
    return as_text(result, written=args.out), warning


def _family_report(args: argparse.Namespace, family: Family) -> str:
    """The table, where its one network was written, and how to keep one of several; or all as JSON."""
    if args.json:
        return json.dumps({**family_dict(family), "written": str(args.out) if args.out else None}, indent=1)
    if args.out:
        return f"{family_text(family)}\n\nWritten to {args.out}."
    last = family.members[-1]
    instead = {"rule": last.title} if args.compare else {"phi": args.phi and [last.grown.phi]}
    return (
        f"{family_text(family)}\n\nNext:\n  # keep one of them, such as the last\n"
        f"  python -m scaling.compound {_shaping(args, **instead)} --out grown.json"
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code."""

    def job() -> int:
        text, warning = run(parser().parse_args(argv))
        if warning:
            print("scaling.compound: warning:", warning, file=sys.stderr)
        return show(text)

    return guarded(
        "scaling.compound", job, stopped="stopped; epochs that were trained are kept: the same command goes on"
    )


if __name__ == "__main__":
    sys.exit(main())
