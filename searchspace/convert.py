"""python -m searchspace.convert: weights of a published implementation as this project's, and back."""

import argparse
import os
import sys
from contextlib import ExitStack
from pathlib import Path

from searchspace import zoo
from searchspace.command import EMA_HELP, CommandParser, number, positive_integer, run_command
from searchspace.cost import params
from searchspace.errors import InvalidArgument
from searchspace.files import atomic_path, storage_error
from searchspace.report import fields, paragraphs
from searchspace.spec import NetworkSpec
from searchspace.strict_json import dumps

_DESCRIPTION = """\
Convert a file of weights between published implementations (torchvision, timm, the package
efficientnet_lite_pytorch) and this project.

FILE is .safetensors, .pth or .pt; pickled Python objects are never loaded. --network says what network it
holds: a name of the zoo with its width, depth and classes, or a spec file. Every entry must fit: one that is
missing, left over or of another shape is an error that names it, and nothing is written. Where the
implementations disagree about a network of one name (MobileNetV3 at widths other than 1, MobileNetV2 with
timm's fixed ends), the one that fits the file is taken."""

_EPILOG = f"""\
examples:
  python -m searchspace.convert mobilenet_v2.pth --network mobilenet_v2 --from torchvision \\
      --out weights.safetensors --spec-out net.json
  python -m searchspace.convert tf_efficientnet_b0.pth --network tf_efficientnet_b0 --from timm \\
      --out weights.safetensors --spec-out net.json          tf_: TensorFlow's variant, as timm has it
  python -m searchspace.convert efficientnet-lite0-57934424.pth --network efficientnet_lite0 \\
      --from efficientnet_lite_pytorch --out weights.safetensors --spec-out net.json
  python -m searchspace.convert weights.safetensors --network net.json --to timm --out timm.safetensors

networks: {", ".join(zoo.names())}
exit codes: 0 done, 2 the input is wrong (nothing is written then)."""

OURS = "phinas"
FORMS = (OURS, "torchvision", "timm", "efficientnet_lite_pytorch")
SUFFIXES = (".safetensors", ".pth", ".pt")


def parser() -> CommandParser:
    """The command line of searchspace.convert."""
    cli = CommandParser("python -m searchspace.convert", description=_DESCRIPTION, epilog=_EPILOG)
    add = cli.add_argument
    add("file", type=Path, metavar="FILE", help="the weights to convert")
    add("--network", type=str, required=True, metavar="NAME|SPEC.json", help="the network in FILE")
    add("--from", dest="source", choices=FORMS, default=OURS, help=f"who wrote FILE (default: {OURS})")
    add("--to", dest="target", choices=FORMS, default=OURS, help=f"whose names to write (default: {OURS})")
    add("--out", type=Path, required=True, metavar="FILE", help="where to write: .safetensors, .pth or .pt")
    add("--spec-out", type=Path, metavar="FILE.json", help="write the network too, with its batch norm and padding")
    add("--width", type=number, default=1.0, metavar="X", help="width multiplier of a zoo network (default: 1)")
    add("--depth", type=number, default=1.0, metavar="X", help="depth multiplier of a zoo network (default: 1)")
    add("--resolution", type=positive_integer, metavar="PX", help="input pixels (default: the network's own)")
    add("--classes", type=positive_integer, metavar="N", help="classes (default: 1000, or the spec file's)")
    add("--ema", action=argparse.BooleanOptionalAction, help=EMA_HELP)
    add("--padding", choices=("half", "same"), help="of a zoo network (default: half; same where its name begins tf_)")
    return cli


def network(
    name: str, *, width: float, depth: float, padding: str | None, resolution: int | None, classes: int | None
) -> NetworkSpec:
    """The network that the flags describe. Raises PhinasError."""
    if not name.endswith(".json"):
        count = 1000 if classes is None else classes
        return zoo.get(name, width=width, depth=depth, resolution=resolution, padding=padding, classes=count)
    if (width, depth, padding) != (1.0, 1.0, None):
        raise InvalidArgument(
            f"--width, --depth and --padding belong to the zoo's networks; {name} says its own: leave them out"
        )
    return zoo.load(name, resolution=resolution, classes=classes)


def convert(
    file: Path,
    spec: NetworkSpec,
    *,
    source: str = OURS,
    target: str = OURS,
    out: Path,
    spec_out: Path | None = None,
    ema: bool | None = None,
) -> tuple[NetworkSpec, int, list[str]]:
    """Write the weights of `file`, those of `spec` by `source`, under `target`'s names. Raises PhinasError.

    Returns the network that fitted, how many tensors it has, and what a person should know of it.
    """
    from searchspace import nn  # torch is slow to import: --help and mistakes do without

    notes: list[str] = []
    if source == OURS:
        module = nn.load_network(spec, file, ema=ema, note=notes.append)
    else:
        module = nn.load_published(spec, nn.read_weights(file, ema=ema, note=notes.append), source, note=notes.append)
    found = module.spec
    if found.blocks != spec.blocks and not spec_out:
        notes.append("the file fits a variant of this network, not the zoo's default: keep its spec with --spec-out")
    tensors = {name: tensor.contiguous() for name, tensor in module.state_dict().items()}
    if target != OURS:
        tensors = nn.to_published(module, target)
        theirs = nn.published_conventions(found, target)
        if theirs.norm_eps != found.conventions.norm_eps:
            notes.append(
                f"{target} gives this network a batch-norm eps of {theirs.norm_eps:g}: set it there to "
                f"{found.conventions.norm_eps:g}, or the outputs differ a little"
            )
        if theirs.padding != found.conventions.padding:
            notes.append(
                f'{target} has only "{theirs.padding}" padding, this network has "{found.conventions.padding}": its '
                "outputs differ there"
            )
        if hasattr(tensors, "_metadata") and out.suffix == ".safetensors":
            notes.append(f"{target} loads this network only with its version, which .pth keeps: use --out NAME.pth")
    content = nn.weights_bytes(tensors, suffix=out.suffix)
    if target == OURS and out.suffix == ".safetensors":  # then it says which network it is of
        content = nn.network_bytes(module, {"fingerprint": found.fingerprint()})
    contents = {out: content}
    if spec_out:
        contents[spec_out] = f"{dumps(found.to_dict())}\n".encode()
    _write(contents)
    return found, len(tensors), notes


def _write(contents: dict[Path, bytes]) -> None:
    """All files or none: each is written beside its target first, then all are renamed. Raises StorageError."""
    with ExitStack() as stack:
        temps = [stack.enter_context(atomic_path(path)) for path in contents]
        for path, temp, content in zip(contents, temps, contents.values(), strict=True):
            try:
                temp.write_bytes(content)
            except OSError as error:
                raise storage_error("write", path, error) from error


def _check_paths(args: argparse.Namespace) -> None:
    if args.source == args.target:
        raise InvalidArgument(
            f"--from and --to must differ, got {args.source} for both: give --from {' or '.join(FORMS[1:])} to "
            "read published weights, --to one of them to write those"
        )
    if args.out.suffix not in SUFFIXES:
        raise InvalidArgument(f"--out must end in {', '.join(SUFFIXES)}, got {args.out}: name the file so")
    if args.spec_out and args.spec_out.suffix != ".json":
        raise InvalidArgument(f"--spec-out must end in .json, got {args.spec_out}: name the file so")
    read = {os.path.realpath(path) for path in (args.file, args.network)}
    for flag, path in (("--out", args.out), ("--spec-out", args.spec_out)):
        if path and os.path.realpath(path) in read:
            raise InvalidArgument(f"{flag} must not replace a file that is read, got {path}: choose another")


def run(args: argparse.Namespace) -> str:
    """Convert as the flags ask; the text to print. Raises PhinasError."""
    _check_paths(args)
    options = {name: getattr(args, name) for name in ("width", "depth", "padding", "resolution", "classes")}
    spec = network(args.network, **options)
    paths = {"out": args.out, "spec_out": args.spec_out}
    found, entries, notes = convert(args.file, spec, source=args.source, target=args.target, ema=args.ema, **paths)
    conventions = found.conventions
    pairs = [
        ("network", f"{found.name}, {found.classes} classes: {params(found):,} parameters, {entries} entries"),
        (
            "batch norm",
            f"eps {conventions.norm_eps:g}, momentum {conventions.norm_momentum:g}; padding {conventions.padding}",
        ),
        ("converted", f"{args.file} ({args.source}) to {args.out} ({args.target})"),
        *(("note", note) for note in notes),
        *([("written", f"{args.spec_out}, the network's description")] if args.spec_out else []),
    ]
    return paragraphs(fields(pairs), "\n".join(["next, in Python:", *_next_step(args)]))


def _next_step(args: argparse.Namespace) -> list[str]:
    out = repr(str(args.out))
    if args.target == OURS:
        return [
            *([] if args.spec_out else ["  # net.json: what --spec-out writes, the network with its batch norm"]),
            "  from searchspace import zoo",
            "  from searchspace.nn import load_weights, read_weights",
            f"  network = load_weights(zoo.load({str(args.spec_out or 'net.json')!r}), read_weights({out}))",
        ]
    if args.out.suffix == ".safetensors":
        return ["  from safetensors.torch import load_file", f"  model.load_state_dict(load_file({out}))"]
    return ["  import torch", f"  model.load_state_dict(torch.load({out}))"]


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(parser(), argv, run=run, stopped="stopped; nothing is written")


if __name__ == "__main__":
    sys.exit(main())
