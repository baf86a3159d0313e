"""python -m scaling.efficientdet --phi 0: a detector part by part; train, evaluate, predict, export are beside it."""

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from scaling.base import separate_files
from scaling.efficientdet import fitting, report
from scaling.efficientdet.presets import CLASSES
from scaling.efficientdet.spec import DetectorSpec, write_detector
from search.latency.runtimes import DEFAULT, names
from searchspace.command import (
    CommandParser,
    integer,
    positive_integer,
    positive_number,
    run_command,
    show_progress,
    word,
)
from searchspace.errors import InvalidArgument
from searchspace.latency.table import LatencyTable, read_table
from searchspace.report import next_steps, paragraphs

COMMANDS = ("train", "evaluate", "predict", "export")  # each has a module of its own
_DESCRIPTION = """\
EfficientDet (arXiv:1911.09070): a detector from a backbone, a BiFPN neck and shared heads, scaled by
one phi. It prints the parts with their parameters and MACs (to the unit those of the published D0 to
D7), with --measure or --latency also their time on this machine, decoding and non-maximum
suppression included. --backbone puts a network of yours under it, --budget-ms finds the largest
detector that this machine runs within a budget."""

_EPILOG = """\
commands of their own, each with --help:
  python -m scaling.efficientdet train --data photos/ --phi 0 --resolution 320 --minutes 20
  python -m scaling.efficientdet evaluate --detector detectors/NAME --data photos/
  python -m scaling.efficientdet predict IMAGE... --detector detectors/NAME --out drawn/
  python -m scaling.efficientdet export --detector detectors/NAME --out detector.onnx

examples:
  python -m scaling.efficientdet --phi 0 --measure
  python -m scaling.efficientdet --phi 0 --backbone studies/NAME/best.json --classes 3 --out mine.json
  python -m scaling.efficientdet --budget-ms 80 --classes 20
in Python: scaling.efficientdet.get("d0", classes=20), then scaling.efficientdet.build(spec)
exit codes: 0 done, 2 the input is wrong, 130 stopped by Ctrl-C."""


def parser() -> CommandParser:
    """The command line of the command without a name."""
    cli = CommandParser("python -m scaling.efficientdet", description=_DESCRIPTION, epilog=_EPILOG)
    cli.add_argument("--phi", type=integer, metavar="N", help="D0 to D7 (default: 0)")
    cli.add_argument(
        "--backbone",
        type=Path,
        metavar="NAME",
        help="a spec file, such as a search's best.json, or a name of the zoo (default: the published EfficientNet)",
    )
    cli.add_argument("--resolution", type=integer, metavar="PX", help="a multiple of 32 (default: the phi's own)")
    cli.add_argument("--classes", type=positive_integer, metavar="N", default=CLASSES, help="default: %(default)s")
    cli.add_argument("--budget-ms", type=positive_number, metavar="MS", help="find phi and pixels for this latency")
    cli.add_argument("--measure", action="store_true", help="time it on this machine, part by part")
    cli.add_argument(
        "--latency", type=Path, metavar="FILE", help="predict the backbone by a table of this device; the rest is timed"
    )
    cli.add_argument(
        "--runtime", type=word, metavar="NAME", help="that it is timed with: eager (default), onnxruntime, openvino"
    )
    cli.add_argument("--threads", type=positive_integer, metavar="N", help="that it is timed with")
    cli.add_argument("--out", type=Path, metavar="FILE.json", help="write the detector's spec")
    cli.add_argument("--json", action="store_true", help="print the same as one JSON document")
    return cli


def run(args: argparse.Namespace) -> str:
    """Do what the flags ask for; what to print. Raises PhinasError."""
    _check(args)
    table = read_table(args.latency) if args.latency else None
    if args.budget_ms is not None:
        spec, _ = fitting.within(
            args.budget_ms,
            lambda each: _rows(each, args, table)["whole"]["high_ms"],
            backbone=args.backbone,
            classes=args.classes,
            note=lambda text: print(text, file=sys.stderr),
        )
    else:
        spec = fitting.detector(args.phi or 0, backbone=args.backbone, classes=args.classes, resolution=args.resolution)
    latency = None
    if args.measure or table is not None or args.budget_ms is not None:
        threads = f", {args.threads} threads" if args.threads else ""
        runtime = "eager torch" if args.runtime in (None, DEFAULT) else args.runtime
        latency = {"about": f"{runtime} on this machine{threads}", "rows": _rows(spec, args, table, by_part=True)}
    if args.out:
        write_detector(args.out, spec)
    if args.json:
        return json.dumps(report.as_dict(spec, latency) | {"written": args.out and str(args.out)}, indent=1)
    return paragraphs(report.as_text(spec, latency), _next(args, spec, latency))


def _check(args: argparse.Namespace) -> None:
    if args.budget_ms is not None and (args.phi is not None or args.resolution is not None):
        flag = "--phi" if args.phi is not None else "--resolution"
        raise InvalidArgument(f"--budget-ms finds phi and pixels, got {flag} as well: leave one of them out")
    for flag, value in (("--threads", args.threads), ("--runtime", args.runtime)):
        if value and not (args.measure or args.latency or args.budget_ms):
            raise InvalidArgument(f"{flag} says how it is timed, got {value} and nothing to time: add --measure")
    if args.runtime not in (None, *names()):
        raise InvalidArgument(f"--runtime must be one of {', '.join(names())}, got {args.runtime!r}")
    if args.latency and args.runtime not in (None, DEFAULT):
        raise InvalidArgument(
            f"--latency predicts in eager torch, got --runtime {args.runtime}: leave one of them out, or --measure"
        )
    separate_files({"--out": args.out}, {"--backbone": args.backbone, "--latency": args.latency})


def _rows(
    spec: DetectorSpec, args: argparse.Namespace, table: LatencyTable | None, *, by_part: bool = False
) -> dict[str, dict[str, Any]]:
    """Latency and interval of the whole and, where they are asked for, of the parts."""
    from scaling.efficientdet import timing

    if table is not None:
        timing.check_device(table, threads=args.threads)
    (found,) = timing.measure(
        [timing.untrained(spec)],
        by_part=by_part,
        runtime=args.runtime or DEFAULT,
        threads=args.threads,
        seconds=2.0,
        progress=show_progress,
    )
    rows = {name: _row(one) for name, one in found.parts.items() if name != "rest"}
    rows["whole"] = _row(found.whole)
    if table is not None:
        rows["whole, predicted"] = _row(timing.predict(spec, table, found.rest))
    return rows


def _row(found: Any) -> dict[str, Any]:
    return {name: getattr(found, name) for name in ("latency_ms", "low_ms", "high_ms")}


def _next(args: argparse.Namespace, spec: DetectorSpec, latency: dict[str, Any] | None) -> str:
    steps: list[str | tuple[str, str]] = []
    if args.out:
        steps.append(f"python -m scaling.efficientdet train --detector {args.out} --data photos/ --minutes 20")
    else:
        phi = f"--phi {args.phi or 0}" if args.budget_ms is None else f"--budget-ms {args.budget_ms:g}"
        backbone = f" --backbone {args.backbone}" if args.backbone else ""
        steps.append(f"python -m scaling.efficientdet {phi}{backbone} --classes {spec.classes} --out detector.json")
    if args.budget_ms is not None and latency is not None:
        behind = [
            latency["rows"][name]["latency_ms"] for name in ("neck and heads", "boxes") if name in latency["rows"]
        ]
        left = args.budget_ms - sum(behind)
        if behind and left > 0:
            steps.append(
                (
                    f"python -m search.run --budget-ms {left:.3g} --resolution {spec.resolution} --data photos/",
                    "a backbone for what neck, heads and boxes leave of the budget",
                )
            )
    return next_steps(steps)


def main(argv: list[str] | None = None) -> int:
    """Run the command, or the one that is named first; the exit code."""
    words = sys.argv[1:] if argv is None else argv
    if words and words[0] in COMMANDS:
        found: int = import_module(f"scaling.efficientdet.{words[0]}_command").main(words[1:])
        return found
    return run_command(parser(), words, run=run)


if __name__ == "__main__":
    sys.exit(main())
