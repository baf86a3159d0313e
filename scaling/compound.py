"""python -m scaling.compound --phi 3: grow a network by compound scaling, or show a published EfficientNet."""

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from scaling.coefficients import Coefficients, Factors
from scaling.report import Member, Result, as_dict, as_text
from searchspace import zoo
from searchspace.command import CommandParser, number, show
from searchspace.errors import InvalidArgument, InvalidSpec, PhinasError, StorageError
from searchspace.files import write_atomic
from searchspace.lift import lift
from searchspace.serialize import read_spec
from searchspace.spec import NetworkSpec
from searchspace.template import Template
from searchspace.zoo import efficientnet

_DESCRIPTION = """\
Grow a network deeper, wider and finer at once (compound scaling, EfficientNet, arXiv:1905.11946):
layers x alpha^phi, channels x beta^phi, input pixels x gamma^phi.

Without --network it grows EfficientNet-B0. Where a network is published for that phi (B0 to B7 are
phi 0 to 7), both stand side by side: what the formula gives, and what was released. They differ.
It prints every stage with its layers, channels, output size, parameters and MACs, then the totals
with activation and peak memory (batch 1, float32)."""

_EPILOG = """\
examples:
  python -m scaling.compound                            B0 grown by phi = 1, beside the published B1
  python -m scaling.compound --phi 3                    phi = 3, beside the published B3
  python -m scaling.compound --preset b3 --out b3.json  the published B3 alone, with its dropout
  python -m scaling.compound --phi 1 --network studies/NAME/best.json --out grown.json
  python -m scaling.compound --phi 2 --network mobilenet_v3_large
  python -m scaling.compound --phi -1                   smaller than B0: a negative phi shrinks
  python -m scaling.compound --phi 2 --alpha 1.1 --beta 1.15 --gamma 1.15

next:
  python -m search.run --budget-ms 20                   search a network, then grow its best.json
  a spec file as a torch module: searchspace.nn.build(searchspace.serialize.read_spec(Path(FILE)))
exit codes: 0 done, 2 the input is wrong (nothing is written then)."""

LARGEST_COUNT = 1_000_000


def parser() -> argparse.ArgumentParser:
    """The command line of scaling.compound."""
    cli = CommandParser("python -m scaling.compound", description=_DESCRIPTION, epilog=_EPILOG)
    add = cli.add_argument
    add("--phi", type=number, metavar="X", help="how far to grow: about 2^phi times the MACs (default: 1)")
    add("--network", type=Path, metavar="NAME", help="grow this network: a spec file (.json) or a name of "
        "python -m searchspace.zoo (default: EfficientNet-B0)")  # fmt: skip
    for name, what in (("alpha", "layers"), ("beta", "channels"), ("gamma", "pixels")):
        default = getattr(Coefficients(), name)
        add(f"--{name}", type=number, metavar="X", help=f"{what} per step of phi (default: {default:g})")
    add("--preset", metavar="NAME", help="the published network alone: b0 to b7")
    add("--out", type=Path, metavar="FILE.json", help="write the grown network (with --preset: the preset) as a spec")
    add("--json", action="store_true", help="print the same as one JSON document")
    return cli


def grow(template: Template, *, phi: float, coefficients: Coefficients) -> tuple[Factors, NetworkSpec]:
    """The template grown by the formula, and the factors used.

    Raises InvalidArgument for a phi out of bounds or one that leaves fewer pixels than the total stride.
    """
    factors = coefficients.factors(phi, base_resolution=template.resolution)
    stride = template.expand().total_stride
    if factors.resolution < stride:
        raise InvalidArgument(
            f"the resolution must be at least the network's total stride of {stride} px, but --phi {phi:g} makes it "
            f"{template.resolution} x {coefficients.gamma:g}^{phi:g} = {factors.resolution} px: give a larger --phi"
        )
    name = f"{template.name}_phi{phi:g}"
    return factors, template.expand(width=factors.width, depth=factors.depth, resolution=factors.resolution, name=name)


def published(name: str) -> Member:
    """The published EfficientNet `name` ("b0" to "b7"). Raises InvalidArgument."""
    spec = efficientnet.preset(name)
    row = efficientnet.PRESETS[name]
    return Member(f"published {name.upper()}", Factors(row.depth, row.width, row.resolution), spec)


def scale(args: argparse.Namespace) -> Result:
    """What the flags ask for. Raises PhinasError."""
    if args.preset is not None:
        _only_preset(args)
        return Result(base=efficientnet.B0.expand(), formula=None, published=published(args.preset.lower()))
    given = {name: getattr(args, name) for name in ("alpha", "beta", "gamma")}
    coefficients = Coefficients(**{name: value for name, value in given.items() if value is not None})
    phi = 1.0 if args.phi is None else args.phi
    template = _base(args) if args.network else efficientnet.B0
    factors, spec = grow(template, phi=phi, coefficients=coefficients)
    preset = f"b{phi:g}"
    return Result(
        base=template.expand(),
        formula=Member(f"formula, phi = {phi:g}", factors, spec),
        published=published(preset) if not args.network and preset in efficientnet.PRESETS else None,
        phi=phi,
        coefficients=coefficients,
        network=args.network,
    )


def _only_preset(args: argparse.Namespace) -> None:
    for flag in ("phi", "network", "alpha", "beta", "gamma"):
        value = getattr(args, flag)
        if value is not None:
            raise InvalidArgument(
                f"--preset shows a published network as it is and goes without --{flag}, got --preset {args.preset} "
                f"and --{flag} {value}: leave one of them out"
            )


def _base(args: argparse.Namespace) -> Template:
    """The table that --network grows: a published one as its paper has it, a spec file lifted.

    A file that is there is read; another text that is no file's name is looked for in the zoo.
    """
    name = str(args.network)
    if args.network.suffix == ".json" or args.network.exists():
        return lift(_read(args))
    return lift(zoo.get(name)) if zoo.is_grown(name) else zoo.template(name)


def _read(args: argparse.Namespace) -> NetworkSpec:
    if args.out and os.path.realpath(args.out) == os.path.realpath(args.network):
        raise InvalidArgument(f"--out must not replace the file that --network reads, got {args.out}: choose another")
    try:
        spec = read_spec(args.network)
    except (StorageError, InvalidSpec) as error:
        raise type(error)(
            f"{error}; --network takes a spec file, such as the best.json of a search (python -m search.run) or one "
            "that --out wrote"
        ) from None
    counts = [spec.resolution, spec.in_channels]
    counts += [value for block in spec.blocks for value in asdict(block).values() if isinstance(value, int)]
    if max(counts) > LARGEST_COUNT:
        value = f"{max(counts):,}"
        raise InvalidSpec(
            f"{args.network}: no count of a network may be above {LARGEST_COUNT:,}, got {value[:30]}"
            f"{'...' if len(value) > 30 else ''}: mend the file, or make it anew"
        )
    return spec


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code."""
    try:
        args = parser().parse_args(argv)
        result = scale(args)
        warning = result.coefficients.warning() if result.coefficients else None
        if args.out:
            write_atomic(args.out, result.main.spec.to_json() + "\n")
        written = args.out
        text = json.dumps(as_dict(result, written=written), indent=1) if args.json else as_text(result, written=written)
    except PhinasError as error:
        print("scaling.compound: error:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    if warning:
        print("scaling.compound: warning:", warning, file=sys.stderr)
    return show(text)


if __name__ == "__main__":
    sys.exit(main())
