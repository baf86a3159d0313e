"""python -m searchspace.convert FILE --network mobilenet_v2 --from torchvision --out weights.safetensors"""

import argparse
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from searchspace import zoo
from searchspace.command import CommandParser, integer, number, run_command
from searchspace.cost import costs
from searchspace.errors import InvalidArgument
from searchspace.files import atomic_path, storage_error
from searchspace.graph import lower
from searchspace.serialize import read_spec
from searchspace.spec import NetworkSpec

_DESCRIPTION = """\
Convert a file of weights between published implementations (torchvision, timm) and this project.

FILE is .safetensors, .pth or .pt; pickled Python objects are never loaded. --network says what network it
holds: a name of the zoo with its width, depth and classes, or a spec file. Every entry must fit: one that is
missing, left over or of another shape is an error that names it, and nothing is written. Where the
implementations disagree about a network of one name (MobileNetV3 at widths other than 1, MobileNetV2 with
timm's fixed ends), the one that fits the file is taken."""

_EPILOG = f"""\
examples:
  python -m searchspace.convert mobilenet_v2.pth --network mobilenet_v2 --from torchvision \\
      --out weights.safetensors --spec-out net.json
  python -m searchspace.convert tf_efficientnet_b0.pth --network efficientnet_b0 --padding same --from timm \\
      --out weights.safetensors --spec-out net.json          timm's tf_ networks have SAME padding
  python -m searchspace.convert weights.safetensors --network net.json --to timm --out timm.safetensors

networks: {", ".join(zoo.names())}
exit codes: 0 done, 2 the input is wrong (nothing is written then)."""

OURS = "phinas"
FORMS = (OURS, "torchvision", "timm")
SUFFIXES = (".safetensors", ".pth", ".pt")


class Converted(NamedTuple):
    """The network that fitted, what a person should know of it, and the contents of the files to write."""

    spec: NetworkSpec
    entries: int
    notes: list[str]
    files: dict[Path, bytes]


def parser() -> CommandParser:
    """The command line of searchspace.convert."""
    cli = CommandParser("python -m searchspace.convert", description=_DESCRIPTION, epilog=_EPILOG)
    add = cli.add_argument
    add("file", type=Path, metavar="FILE", help="the weights to convert")
    add("--network", required=True, metavar="NAME|SPEC.json", help="the network in FILE")
    add("--from", dest="source", choices=FORMS, default=OURS, help=f"who wrote FILE (default: {OURS})")
    add("--to", dest="target", choices=FORMS, default=OURS, help=f"whose names to write (default: {OURS})")
    add("--out", type=Path, required=True, metavar="FILE", help="where to write: .safetensors, .pth or .pt")
    add("--spec-out", type=Path, metavar="FILE.json", help="write the network too, with its batch norm and padding")
    add("--width", type=number, default=1.0, metavar="X", help="width multiplier of a zoo network (default: 1)")
    add("--depth", type=number, default=1.0, metavar="X", help="depth multiplier of a zoo network (default: 1)")
    add("--resolution", type=integer, metavar="PX", help="input pixels (default: the network's own)")
    add("--classes", type=integer, metavar="N", help="classes (default: 1000, or the spec file's)")
    add("--padding", choices=("half", "same"), default="half", help='"same" for timm\'s tf_ networks (default: half)')
    return cli


def network(args: argparse.Namespace) -> NetworkSpec:
    """The network that the flags describe. Raises PhinasError."""
    if not args.network.endswith(".json"):
        return zoo.get(
            args.network,
            width=args.width,
            depth=args.depth,
            resolution=args.resolution,
            padding=args.padding,
            classes=1000 if args.classes is None else args.classes,
        )
    if (args.width, args.depth, args.padding) != (1.0, 1.0, "half"):
        raise InvalidArgument(
            f"--width, --depth and --padding belong to the zoo's networks; {args.network} says its own: leave them out"
        )
    spec = read_spec(Path(args.network))
    spec = spec if args.resolution is None else spec.with_resolution(args.resolution)
    return spec if args.classes is None else spec.with_classes(args.classes)


def convert(args: argparse.Namespace) -> Converted:
    """What the flags ask for; nothing is written yet. Raises PhinasError."""
    _check_paths(args)
    asked = network(args)
    from searchspace import nn  # torch is slow to import: --help and mistakes do without

    weights = nn.read_weights(args.file)
    published = args.source != OURS
    module = nn.load_published(asked, weights, args.source) if published else nn.load_weights(asked, weights)
    spec, notes = module.spec, []
    if spec.blocks != asked.blocks and not args.spec_out:
        notes.append("the file fits a variant of this network, not the zoo's default: keep its spec with --spec-out")
    tensors = {name: tensor.contiguous() for name, tensor in module.state_dict().items()}
    if args.target != OURS:
        tensors = nn.to_published(module, args.target)
        eps = nn.published_conventions(spec, args.target).norm_eps
        notes += _cautions(spec, eps, needs_pth=hasattr(tensors, "_metadata"), args=args)
    files = {args.out: nn.weights_bytes(tensors, suffix=args.out.suffix)}
    if args.spec_out:
        files[args.spec_out] = f"{spec.to_json()}\n".encode()
    return Converted(spec, len(tensors), notes, files)


def _cautions(spec: NetworkSpec, eps: float, *, needs_pth: bool, args: argparse.Namespace) -> list[str]:
    """What a reader of published weights has to mind; `eps` is the implementation's own."""
    cautions = []
    if eps != spec.conventions.norm_eps:
        cautions.append(
            f"{args.target} gives this network a batch-norm eps of {eps:g}: set it there to "
            f"{spec.conventions.norm_eps:g}, or the outputs differ a little"
        )
    if needs_pth and args.out.suffix == ".safetensors":
        cautions.append(f"{args.target} loads this network only with its version, which .pth keeps: use --out NAME.pth")
    return cautions


def _check_paths(args: argparse.Namespace) -> None:
    if args.source == args.target:
        raise InvalidArgument(
            f"--from and --to must differ, got {args.source} for both: give --from torchvision or timm to read "
            "published weights, --to torchvision or timm to write them"
        )
    if args.out.suffix not in SUFFIXES:
        raise InvalidArgument(f"--out must end in {', '.join(SUFFIXES)}, got {args.out}: name the file so")
    if args.spec_out and args.spec_out.suffix != ".json":
        raise InvalidArgument(f"--spec-out must end in .json, got {args.spec_out}: name the file so")
    read = {os.path.realpath(path) for path in (args.file, args.network)}
    for flag, path in (("--out", args.out), ("--spec-out", args.spec_out)):
        if path and os.path.realpath(path) in read:
            raise InvalidArgument(f"{flag} must not replace a file that is read, got {path}: choose another")


def write(files: dict[Path, bytes]) -> None:
    """All files or none: each is written beside its target first, then all are renamed. Raises StorageError."""
    with ExitStack() as stack:
        temps = [stack.enter_context(atomic_path(path)) for path in files]
        for path, temp, content in zip(files, temps, files.values(), strict=True):
            try:
                temp.write_bytes(content)
            except OSError as error:
                raise storage_error("write", path, error) from error


def as_text(done: Converted, args: argparse.Namespace) -> str:
    """What was done, and what to do next."""
    spec, conventions = done.spec, done.spec.conventions
    lines = [
        f"network    {spec.name}, {spec.classes} classes: {costs(lower(spec)).params:,} parameters, "
        f"{done.entries} entries",
        f"batch norm eps {conventions.norm_eps:g}, momentum {conventions.norm_momentum:g}; padding "
        f"{conventions.padding}",
        f"converted  {args.file} ({args.source}) to {args.out} ({args.target})",
        *(f"note       {note}" for note in done.notes),
    ]
    if args.spec_out:
        lines.append(f"written    {args.spec_out}, the network's description")
    return "\n".join([*lines, "", "next, in Python:", *_next_step(args)])


def _next_step(args: argparse.Namespace) -> list[str]:
    if args.target == OURS:
        spec = f"read_spec(Path({str(args.spec_out or 'net.json')!r}))"
        return [
            *([] if args.spec_out else ["  # net.json: what --spec-out writes, the network with its batch norm"]),
            "  from pathlib import Path",
            "  from searchspace.nn import load_weights, read_weights",
            "  from searchspace.serialize import read_spec",
            f"  network = load_weights({spec}, read_weights({str(args.out)!r}))",
        ]
    if args.out.suffix == ".safetensors":
        return ["  from safetensors.torch import load_file", f"  model.load_state_dict(load_file({str(args.out)!r}))"]
    return ["  import torch", f"  model.load_state_dict(torch.load({str(args.out)!r}))"]


def run(args: argparse.Namespace) -> str:
    """Convert and write what the flags ask for; the text to print. Raises PhinasError."""
    done = convert(args)
    write(done.files)
    return as_text(done, args)


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(parser(), argv, run=run, stopped="stopped; nothing is written")


if __name__ == "__main__":
    sys.exit(main())
