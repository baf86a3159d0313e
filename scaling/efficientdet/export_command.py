"""python -m scaling.efficientdet export --detector FOLDER --out FILE.onnx: decoded boxes and NMS in one model."""

import argparse
from pathlib import Path

from scaling.efficientdet.data_flags import DETECTOR_HELP
from searchspace.arguments import check_flag
from searchspace.command import CommandParser, number, positive_integer, run_command
from searchspace.errors import InvalidArgument
from searchspace.report import fields, paragraphs

_DESCRIPTION = """\
Write a trained detector as an ONNX model, checked against torch. Input: "image" (1, 3, PX, PX) float32,
letterboxed and normalised. Outputs: "boxes" (1, N, 4) in pixels, "scores" (1, N, classes) and, by the
standard NonMaxSuppression operator, "selected" (n, 3): rows (0, class, anchor)."""


def parser() -> CommandParser:
    """The command line."""
    cli = CommandParser("python -m scaling.efficientdet export", description=_DESCRIPTION)
    cli.add_argument("--detector", type=Path, metavar="FOLDER", required=True, help=DETECTOR_HELP)
    cli.add_argument("--out", type=Path, metavar="FILE.onnx", required=True, help="the model's file")
    cli.add_argument("--no-nms", action="store_true", help="leave non-maximum suppression out")
    cli.add_argument("--score", type=number, metavar="P", default=0.05, help="least score of a box (default: 0.05)")
    cli.add_argument("--most", type=positive_integer, metavar="N", default=100, help="boxes of a class (default: 100)")
    return cli


def run(args: argparse.Namespace) -> str:
    """Export; what to print. Raises PhinasError."""
    from scaling.efficientdet.feeding import preprocessing_of
    from scaling.efficientdet.onnx_detector import difference, to_onnx
    from scaling.efficientdet.saved import load_detector
    from searchspace.files import write_atomic

    if args.out.suffix != ".onnx":
        raise InvalidArgument(f"--out must end in .onnx, got {args.out}: name the file so")
    check_flag("--score", args.score, 0 <= args.score < 1, "a number from 0 to less than 1")
    saved = load_detector(args.detector)
    model = to_onnx(saved.detector, nms=not args.no_nms, score_threshold=args.score, max_per_class=args.most)
    content = model.SerializeToString()
    boxes, scores = difference(saved.detector, content)
    write_atomic(args.out, content)
    spec = saved.detector.spec
    return paragraphs(
        f"Written to {args.out} ({len(content) / 1e6:.1f} MB)",
        fields(
            [
                ("checked", f"boxes differ from torch's by {boxes:.2g} px at most, scores by {scores:.2g}"),
                ("input", f"(1, 3, {spec.resolution}, {spec.resolution}): {preprocessing_of(spec).sentence()}"),
                ("classes", ", ".join(saved.classes[:20])),
            ]
        ),
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code."""
    return run_command(parser(), argv, run=run)
