"""The command line of python -m search.latency, and which flags go together."""

import argparse
from pathlib import Path

from search.latency.build import MANY_S
from search.latency.runtimes import DTYPES, names
from searchspace.command import CommandParser, integer, number
from searchspace.errors import InvalidArgument

ONNX_TIMES = 2  # the seconds of a build of ONNX models
DEFAULT_CLASSES, DEFAULT_SEED = 1000, 1
ACTIONS = ("build", "check", "measure", "predict", "adapt", "export", "import")
_EPILOG = """\
examples:
  python -m search.latency build                     measure this machine, or say what was measured before
  python -m search.latency build --no-zoo            without the published networks' kernels
  python -m search.latency check --networks 60       predict and measure 60 random networks, and the zoo's
  python -m search.latency measure --network mobilenet_v3_large --network studies/NAME/best.json
  python -m search.latency build --out phone.json          the table as a file, for other machines
  python -m search.latency predict --network mobilenet_v2 --latency phone.json
  python -m search.latency adapt --latency eager.json --runtime onnxruntime --out ort.json    from 10 networks
  python -m search.latency export --folder phone/    ONNX files and a CSV to fill, for a device without Python
  python -m search.latency import --folder phone/ --device "my phone" --threads 4 --out phone.json
  python -m search.latency adapt --latency phone.json --folder tv/ --device "my TV" --threads 4 --out tv.json
                                                     the same from the times of networks/ alone
  python -m search.latency build --threads 1         a table for one thread
  python -m search.latency build --device cuda       and for a GPU, timed by its own events
  python -m search.latency check --runtime onnxruntime --networks 40
The table lies in ~/.cache/phinas (or $PHINAS_CACHE); Ctrl-C keeps what was measured, the same command goes on.
exit codes: 0 done, 2 the input is wrong, 130 interrupted."""


def parser() -> CommandParser:
    """The command line of search.latency."""
    cli = CommandParser(
        "python -m search.latency",
        description="The latency of networks on this machine: a table that predicts it, and measurements.",
        epilog=_EPILOG,
    )
    add = cli.add_argument
    add(
        "action",
        choices=ACTIONS,
        help="build: measure the kernels that the table lacks; check: predict and measure "
        "random networks; measure: time given networks, interleaved; predict: what a table says of given networks; "
        "adapt: make of another device's table one for this, by a few networks measured here, or for the device whose "
        "times of networks stand in --folder; export, import: a table of a device that runs no Python",
    )
    add(
        "--network",
        action="append",
        metavar="NAME",
        help="measure, predict: a network of the zoo or a spec file (.json); give it again for more",
    )
    add(
        "--latency",
        type=Path,
        metavar="FILE",
        help="predict, check, adapt: a table that build --out wrote (default: this device's own; adapt: needed)",
    )
    add(
        "--folder",
        type=Path,
        metavar="DIR",
        help="export: where to write; import: what was exported and filled in; "
        "adapt: the same, of which only the networks' times are needed",
    )
    add(
        "--kernels",
        type=integer,
        metavar="N",
        help="export: so many kernels, those of the networks at least; others are estimated (default: 500)",
    )
    add(
        "--device",
        metavar="NAME",
        help="what eager torch computes on: cpu, cuda or mps (default: cpu; check "
        "--latency: the table's); import, adapt --folder: what the device is called in the table",
    )
    add("--out", type=Path, metavar="FILE.json", help="build, adapt, import: write the table there, to take it along")
    add(
        "--resolution",
        type=integer,
        metavar="PX",
        help="pixels of the networks (default: 224, or --latency's; measure, predict: their own)",
    )
    add("--classes", type=integer, metavar="N", help=f"classes of the network (default: {DEFAULT_CLASSES})")
    add("--space", type=Path, metavar="FILE", help="a TOML file that narrows or widens the default space")
    add(
        "--runtime",
        metavar="NAME",
        help=f"what runs the networks: {', '.join(names())} (default: eager; check --latency: the table's); import, "
        "adapt --folder: what ran them there, any name",
    )
    add(
        "--dtype",
        choices=DTYPES,
        help="what the runtime computes in; not every one has each (default: fp32; check "
        "--latency: the table's); import, adapt --folder: what it computed in there",
    )
    add(
        "--threads",
        type=integer,
        metavar="N",
        help="threads of the runtime (default: as torch has here; check --latency: the table's)",
    )
    add(
        "--zoo",
        action=argparse.BooleanOptionalAction,
        help="build: measure the published networks' kernels, too, "
        "and narrower ones'; check: add the networks at three other widths and resolutions (default: yes)",
    )
    add("--plot", type=Path, metavar="FILE", help="check: predicted against measured, as .png, .svg or .pdf")
    add("--again", action="store_true", help="build: measure everything anew (after a table made on a busy machine)")
    add(
        "--networks",
        type=integer,
        metavar="N",
        help="check: how many random ones (default: 40); adapt, export: how many (default: 10)",
    )
    add(
        "--seconds",
        type=number,
        metavar="S",
        help="time for it (default: 3 a network, adapt 6, check 1.5, "
        f"build {MANY_S:g} in all, ONNX Runtime and OpenVINO {ONNX_TIMES * MANY_S:g}; at least 4 readings of each "
        "kernel, even if that takes longer)",
    )
    add("--seed", type=integer, metavar="N", help=f"check, adapt, export: which networks (default: {DEFAULT_SEED})")
    add("--cache-dir", type=Path, metavar="DIR", help="where tables lie")
    add("--json", action="store_true", help="print the same as JSON")
    return cli


def check_flags(args: argparse.Namespace) -> None:
    """Raises InvalidArgument for flags that are missing, out of range, or of another action."""
    for name in ("networks", "seconds", "resolution", "classes", "threads", "kernels"):
        if getattr(args, name) is not None and getattr(args, name) <= 0:
            raise InvalidArgument(f"--{name} must be above 0, got {getattr(args, name)}; see {parser().prog} --help")
    action, given = args.action, ", ".join(args.network or ())
    if action in ("measure", "predict") and not given:
        raise InvalidArgument(f"{action} needs at least one --network: a name of python -m searchspace.zoo or a spec")
    if action == "adapt" and not (args.latency and args.out):
        raise InvalidArgument(
            "adapt makes a table of another one: name that with --latency, and the new one with --out"
        )
    if action in ("export", "import") and not args.folder:
        raise InvalidArgument(f"{action} needs --folder, the place of the ONNX files")
    if action == "import" and not (args.out and args.device and args.threads):
        raise InvalidArgument("import needs --device NAME, --threads N and --out FILE.json, for the table's identity")
    if action == "adapt" and args.folder:
        _check_folder_flags(args)
    belongs = (
        ("--network", given, ("measure", "predict")),
        ("--again", args.again, ("build",)),
        ("--out", args.out, ("build", "adapt", "import")),
        ("--folder", args.folder, ("adapt", "export", "import")),
        ("--kernels", args.kernels, ("export",)),
        ("--dtype", args.dtype, tuple(action for action in ACTIONS if action != "export")),
        ("--device", args.device, tuple(action for action in ACTIONS if action != "export")),
        ("--runtime", args.runtime, tuple(action for action in ACTIONS if action != "export")),
        ("--threads", args.threads, tuple(action for action in ACTIONS if action != "export")),
        ("--plot", args.plot, ("check",)),
        ("--seconds", args.seconds, ("build", "check", "measure", "adapt")),
        ("--zoo", args.zoo is not None, ("build", "check")),
        ("--space", args.space, ("build", "check", "adapt", "export")),
        ("--networks", args.networks, ("check", "adapt", "export")),
        ("--seed", args.seed is not None, ("check", "adapt", "export")),
        ("--resolution", args.resolution, tuple(action for action in ACTIONS if action != "import")),
        ("--classes", args.classes, tuple(action for action in ACTIONS if action != "import")),
        ("--cache-dir", args.cache_dir, ("build", "check", "measure", "predict", "adapt")),
        ("--latency", args.latency, ("predict", "check", "adapt")),
    )
    for flag, value, actions in belongs:
        if value and action not in actions:
            raise InvalidArgument(f"{flag} belongs to {_listed(actions)}, got {action}; see --help")


def _check_folder_flags(args: argparse.Namespace) -> None:
    if not (args.device and args.threads):
        raise InvalidArgument("adapt --folder needs --device NAME and --threads N, for the table's identity")
    for name in ("networks", "seconds", "resolution", "space", "classes", "seed", "cache_dir"):
        if getattr(args, name) is not None:
            raise InvalidArgument(
                f"--{name.replace('_', '-')} belongs to what is measured here, adapt --folder takes what {args.folder} "
                "holds"
            )


def _listed(actions: tuple[str, ...]) -> str:
    *first, last = actions
    return f"{', '.join(first)} and {last}" if first else last
