"""python -m searchspace.export studies/NAME/best.json: a network and its weights as an ONNX file, checked."""

import json
import sys
from argparse import BooleanOptionalAction
from pathlib import Path
from typing import Any, NamedTuple

from searchspace import zoo
from searchspace.arguments import check_flag
from searchspace.command import EMA_HELP, CommandParser, integer, positive_integer, run_command
from searchspace.errors import InvalidArgument
from searchspace.files import write_atomic
from searchspace.preprocessing import OWN, Preprocessing
from searchspace.report import fields, megabytes_text, paragraphs
from searchspace.spec import NetworkSpec

_DESCRIPTION = """\
Write a network with its weights as an ONNX model, for ONNX Runtime, OpenVINO, TensorRT and the like.

NETWORK is a spec file (.json) or a name of the zoo. The weights are those in best.safetensors beside best.json (any
NAME.safetensors beside NAME.json), or the file that --weights names. Batch norm is folded. The model takes "image"
(batch, channels, pixels, pixels) float32 and gives "logits"; it is run once by ONNX Runtime and compared with the torch
network before it is written. Needs the extra: pip install "phinas[onnx]"."""

_EPILOG = """\
examples:
  python -m searchspace.export studies/digits-20ms/best.json           writes studies/digits-20ms/best.onnx
  python -m searchspace.export net.json --weights weights.safetensors --batch any --out net.onnx
  python -m searchspace.export mobilenet_v3_large --untrained          random weights: to time it on a device
exit codes: 0 done, 2 the input is wrong (nothing is written then)."""

TOLERANCE = 1e-3


class Exported(NamedTuple):
    """What was written, and how far its logits are from the torch network's (share of the largest logit).

    `notes` say which of several sets of weights was taken.
    """

    spec: NetworkSpec
    path: Path
    size: int
    difference: float
    about: dict[str, Any]
    notes: tuple[str, ...] = ()


def parser() -> CommandParser:
    """The command line of searchspace.export."""
    cli = CommandParser("python -m searchspace.export", description=_DESCRIPTION, epilog=_EPILOG)
    add = cli.add_argument
    add("network", type=str, metavar="NETWORK", help="a spec file or a name of python -m searchspace.zoo")
    add("--weights", type=Path, metavar="FILE", help="safetensors or a torch checkpoint under this project's names")
    add("--ema", action=BooleanOptionalAction, help=EMA_HELP)
    add("--untrained", action="store_true", help="random weights")
    add("--out", type=Path, metavar="FILE.onnx", help="where to write (default: beside NETWORK)")
    add(
        "--resolution",
        type=positive_integer,
        metavar="PX",
        help="pixels of the model's input (default: the network's own)",
    )
    add("--batch", type=_batch, default=1, metavar="N|any", help="images at once (default: 1)")
    return cli


def _batch(text: str) -> int | None:
    return None if text == "any" else integer(text)


def export(
    network: str,
    *,
    weights: Path | None = None,
    ema: bool | None = None,
    untrained: bool = False,
    out: Path | None = None,
    resolution: int | None = None,
    batch: int | None = 1,
) -> Exported:
    """Write a network as an ONNX model that ONNX Runtime has checked; arguments are the flags. Raises PhinasError."""
    if out is not None and out.suffix != ".onnx":
        raise InvalidArgument(f"--out must end in .onnx, got {out}: name the file so")
    check_flag("--batch", batch, batch is None or batch >= 1, "at least 1, or any")
    spec = zoo.load(network)
    pixels = spec.resolution if resolution is None else spec.with_resolution(resolution).resolution
    out = out or Path(network).with_suffix(".onnx")
    weights = _weights_path(network, weights, untrained=untrained)
    if ema is not None and weights is None:
        raise InvalidArgument("--ema and --no-ema choose between the weights in a file, got --untrained: leave it out")
    from searchspace import nn  # torch is slow to import: --help and mistakes do without
    from searchspace.nn.onnx_model import logits_difference, to_onnx

    notes: list[str] = []
    module = nn.untrained(spec) if weights is None else nn.load_network(spec, weights, ema=ema, note=notes.append)
    module.spec = module.spec.with_resolution(pixels)
    about = nn.read_about(weights) if weights else {}
    model = to_onnx(module, batch=batch)
    for key, value in about.items():
        model.metadata_props.add(key=key, value=json.dumps(value))
    if "preprocessing" not in about and (how := preprocessing_of(module.spec, about)) and weights:
        model.metadata_props.add(key="preprocessing", value=json.dumps(how.to_dict()))
    content = model.SerializeToString()
    difference = logits_difference(module, content, images=batch or 1)
    if not difference <= TOLERANCE:
        raise InvalidArgument(
            f"ONNX Runtime must give the torch network's logits within {TOLERANCE:.1%} of the largest one, got "
            f"{difference:.1%}; nothing is written. Weights that give infinite values do that; if yours do not, please "
            "report it with the network's file"
        )
    write_atomic(out, content)
    return Exported(module.spec, out, len(content), difference, about, tuple(notes))


def _weights_path(network: str, weights: Path | None, *, untrained: bool) -> Path | None:
    if untrained and weights:
        raise InvalidArgument(f"--untrained means random weights, got --weights {weights} too: give one")
    if weights or untrained:
        return weights
    is_file, beside = network.endswith(".json"), Path(network).with_suffix(".safetensors")
    if is_file and beside.exists():
        return beside
    where = f"{beside} does not exist" if is_file else f"{network} is a name"
    raise InvalidArgument(
        f"the weights must be given, got none ({where}): name them with --weights FILE, or give --untrained for "
        "random ones, to time the network on a device"
    )


def preprocessing_of(spec: NetworkSpec, about: dict[str, Any]) -> Preprocessing | None:
    """How an image becomes the model's input: what is written beside the weights, else in the spec; None if unknown.

    Weights of before 2026-11-29 have one centre and scale for all channels, which are those of OWN.
    """
    if "preprocessing" in about:
        return Preprocessing.from_dict(about["preprocessing"])
    return spec.preprocessing or (OWN if "pixel_centre" in about else None)


def as_text(done: Exported) -> str:
    """What was written, and what to do next."""
    spec, about = done.spec, done.about
    shape = f"{spec.in_channels} x {spec.resolution} x {spec.resolution} pixels"
    pairs = [
        ("written", f"{done.path}, {megabytes_text(done.size)}: {spec.name}, {spec.classes} classes, {shape}"),
        (
            "checked",
            f"ONNX Runtime gives the torch network's logits, largest difference {done.difference:.1e} of the "
            "largest one",
        ),
    ]
    pairs += [("weights", text) for text in done.notes]
    if how := preprocessing_of(spec, about):
        pairs.append(("images", f"{how.sentence()}, resized to {spec.resolution} px ({how.interpolation})"))
    pixels = about.get("deployed_at_px") or about.get("trained_at_px")
    if pixels and pixels != spec.resolution:
        note = (
            f"the weights are good at {pixels} px, where they were trained and their accuracy was measured; the model "
            f"takes {spec.resolution} px, where its latency was: --resolution {pixels} writes one for {pixels} px"
        )
        pairs.append(("note", note))
    steps = [
        "next, in Python:",
        "  import onnxruntime",
        f"  session = onnxruntime.InferenceSession({str(done.path)!r})",
        '  (logits,) = session.run(None, {"image": images})',
    ]
    return paragraphs(fields(pairs), "\n".join(steps))


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(
        parser(), argv, run=lambda args: as_text(export(**vars(args))), stopped="stopped; nothing is written"
    )


if __name__ == "__main__":
    sys.exit(main())
