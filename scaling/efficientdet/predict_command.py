"""python -m scaling.efficientdet predict IMAGE... --detector FOLDER --out drawn/: boxes drawn on pictures."""

import argparse
import json
import os
from itertools import count
from pathlib import Path

from scaling.efficientdet.data_flags import DETECTOR_HELP
from searchspace.arguments import check_flag
from searchspace.command import CommandParser, number, positive_integer, run_command
from searchspace.errors import InvalidArgument
from searchspace.files import check_writable
from searchspace.report import paragraphs, table

_EPILOG = """\
example:
  python -m scaling.efficientdet predict photos/*.jpg --detector detectors/bccd-d0-320px --out drawn/
in Python: scaling.efficientdet.predict(images, "detectors/bccd-d0-320px")"""


def parser() -> CommandParser:
    """The command line."""
    cli = CommandParser(
        "python -m scaling.efficientdet predict",
        description="Find objects on image files with a trained detector, and draw them.",
        epilog=_EPILOG,
    )
    cli.add_argument("images", type=Path, metavar="IMAGE", nargs="+", help="image files")
    cli.add_argument("--detector", type=Path, metavar="FOLDER", required=True, help=DETECTOR_HELP)
    cli.add_argument("--out", type=Path, metavar="FOLDER", help="write each picture with its boxes here, as .png")
    cli.add_argument("--score", type=number, metavar="P", default=0.3, help="least score of a box (default: 0.3)")
    cli.add_argument("--most", type=positive_integer, metavar="N", default=100, help="boxes of an image (default: 100)")
    cli.add_argument("--json", action="store_true", help="print what is found as one JSON document")
    return cli


def run(args: argparse.Namespace) -> str:
    """Look for objects; what to print. Raises PhinasError."""
    from scaling.efficientdet.predicting import draw, found_on
    from scaling.efficientdet.saved import load_detector

    check_flag("--score", args.score, 0 <= args.score < 1, "a number from 0 to less than 1")
    for image in args.images:
        if image.is_dir():
            raise InvalidArgument(f"cannot read {image}: IMAGE must be a file, name those in that folder: {image}/*")
        if not image.is_file():
            raise InvalidArgument(f"cannot read {image}: IMAGE must be a file that exists, name another")
    drawn = [None] * len(args.images) if args.out is None else _drawn(args.images, args.out)
    saved = load_detector(args.detector)
    rows = []
    looked = found_on(saved, args.images, score_threshold=args.score, max_detections=args.most)
    for (name, image, found), path in zip(looked, drawn, strict=True):
        written = None if path is None else draw(image, found, saved.classes, path)
        rows.append((name, found, written))
    if args.json:
        return json.dumps(
            [
                {"image": name, "objects": found.as_dicts(saved.classes), "drawn": written and str(written)}
                for name, found, written in rows
            ],
            indent=1,
        )
    lines = [
        [name if number == 0 else "", label, f"{score:.0%}", ", ".join(f"{edge:.0f}" for edge in box)]
        for name, found, _ in rows
        for number, (label, score, box) in enumerate(found.rows(saved.classes) or [("nothing found", 0.0, ())])
    ]
    text = table(["image", "object", "score", "y1, x1, y2, x2"], lines, text_columns=(0, 1, 3))
    return paragraphs(text, f"Drawn in {args.out}/" if args.out else "")


def _drawn(images: list[Path], out: Path) -> list[Path | None]:
    """A file for each image; of one name they are numbered. Raises InvalidArgument where an image would be replaced."""
    check_writable(out / "image.png")
    drawn: list[Path | None] = []
    given, taken = {os.path.realpath(image) for image in images}, set[str]()
    for image in images:
        names = (f"{image.stem}{'' if number == 1 else f'-{number}'}.png" for number in count(1))
        chosen = next(name for name in names if name not in taken)
        taken.add(chosen)
        if os.path.realpath(out / chosen) in given:
            raise InvalidArgument(f"--out must not replace an IMAGE, got {out / chosen}: choose another folder")
        drawn.append(out / chosen)
    return drawn


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code."""
    return run_command(parser(), argv, run=run)
