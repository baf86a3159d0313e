"""python -m scaling.efficientdet evaluate --detector FOLDER --data SOURCE: COCO's average precision."""

import argparse
import json
from pathlib import Path
from typing import Any

from scaling.efficientdet.data_flags import DATA_HELP, DETECTOR_HELP
from searchspace.arguments import check_flag
from searchspace.command import CommandParser, run_command, seed, show_progress, word
from searchspace.errors import InvalidArgument
from searchspace.report import paragraphs

_EPILOG = """\
example:
  python -m scaling.efficientdet evaluate --detector detectors/bccd-d0-320px --data bccd.tar --split validation"""
SPLITS = ("train", "validation", "test")


def parser() -> CommandParser:
    """The command line."""
    cli = CommandParser(
        "python -m scaling.efficientdet evaluate",
        description="Mean average precision of a trained detector on images with boxes, as COCO counts it.",
        epilog=_EPILOG,
    )
    cli.add_argument("--detector", type=Path, metavar="FOLDER", required=True, help=DETECTOR_HELP)
    cli.add_argument("--data", type=word, metavar="SOURCE", help=DATA_HELP)
    cli.add_argument("--split", type=word, metavar="NAME", default="test", help=f"{', '.join(SPLITS)} (default: test)")
    cli.add_argument("--seed", type=seed, metavar="N", default=0, help="of splits that the data lacks (default: 0)")
    cli.add_argument("--json", action="store_true", help="print the same as one JSON document")
    return cli


def run(args: argparse.Namespace) -> str:
    """Evaluate; what to print. Raises PhinasError."""
    from scaling.efficientdet.detection_data import load
    from scaling.efficientdet.evaluating import evaluate
    from scaling.efficientdet.results import scores_text
    from scaling.efficientdet.saved import load_detector

    check_flag("--split", args.split, args.split in SPLITS, f"one of {', '.join(SPLITS)}")
    saved = load_detector(args.detector)
    data = load(args.data, seed=args.seed, resolution=saved.detector.spec.resolution)
    if data.classes != saved.classes:
        raise InvalidArgument(
            f"the detector tells {_few(saved.classes)} apart, the data has {_few(data.classes)}: give data of the same "
            "classes"
        )
    examples = getattr(data, args.split)
    found: dict[str, Any] = evaluate(saved.detector, examples, data.classes, on_progress=show_progress)._asdict()
    if args.json:
        return json.dumps({"split": args.split, "images": len(examples), **found}, indent=1)
    return paragraphs(scores_text(found, len(examples), title=args.split), *data.notes)


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code."""
    return run_command(parser(), argv, run=run)
