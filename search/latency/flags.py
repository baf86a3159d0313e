"""The command line of python -m search.latency: every flag once, and which commands have it."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search.latency.runtimes import DTYPES, names
from searchspace.command import CommandParser, Run, positive_integer, seconds, seed, threads
from searchspace.spaces.presets import PRESETS

_KEPT = "stopped; the kernels measured so far are kept: the same command goes on"
_EPILOG = """\
examples:
  python -m search.latency build                     measure this machine, or say what was measured before
  python -m search.latency check --networks 60       predict and measure 60 random networks, and the zoo's
  python -m search.latency measure --network mobilenet_v3_large --network studies/NAME/best.json
  python -m search.latency build --out phone.json    the table as a file, for other machines
  python -m search.latency predict --network mobilenet_v2 --latency phone.json
  python -m search.latency adapt --latency eager.json --runtime onnxruntime --out ort.json    from 10 networks
  python -m search.latency export --folder phone/    ONNX files and a CSV to fill, for a device without Python
  python -m search.latency import --folder phone/ --device "my phone" --threads 4 --out phone.json
python -m search.latency COMMAND --help says more of each.
Tables lie in ~/.cache/phinas (or $PHINAS_CACHE); Ctrl-C keeps what was measured, the same command goes on.
exit codes: 0 done, 2 the input is wrong, 130 interrupted."""
_PATH, _COUNT, _NAME = {"type": Path}, {"type": positive_integer, "metavar": "N"}, {"type": str, "metavar": "NAME"}
_THREADS = {"type": threads, "metavar": "N"}
_FILE, _FOLDER = _PATH | {"metavar": "FILE"}, _PATH | {"metavar": "DIR"}
_FLAGS: dict[str, dict[str, Any]] = {
    "network": _NAME
    | {
        "action": "append",
        "required": True,
        "help": "a network of the zoo (python -m searchspace.zoo) or a spec file (.json); give it again for more",
    },
    "latency": _FILE | {"help": "a table that build --out wrote (default: this device's own)"},
    "out": _FILE | {"help": "write the table there"},
    "folder": _FOLDER | {"help": "the folder that export writes, filled in for import and adapt"},
    "kernels": _COUNT
    | {"default": 500, "help": "kernels, those of the networks at least; others are estimated (default: 500)"},
    "again": {"action": "store_true", "help": "measure everything anew (after a table made on a busy machine)"},
    "zoo": {
        "action": argparse.BooleanOptionalAction,
        "default": True,
        "help": "measure the published networks, too, at other widths and resolutions (default: yes)",
    },
    "plot": _FILE | {"help": "draw predicted against measured, as .png, .svg or .pdf"},
    "networks": _COUNT | {"default": 10, "help": "how many random networks (default: %(default)s)"},
    "seed": {"type": seed, "default": 1, "metavar": "N", "help": "which random networks (default: %(default)s)"},
    "seconds": {
        "type": seconds,
        "metavar": "S",
        "help": "time of measuring (default: build 80 in all, ONNX Runtime and OpenVINO 160; a network check 1.5, "
        "measure 3, adapt 6); build takes at least 4 readings of each kernel",
    },
    "space": _FILE
    | {"metavar": "NAME|FILE.toml", "help": f"{', '.join(PRESETS)}, or a TOML file that changes the default space"},
    "resolution": _COUNT | {"metavar": "PX", "help": "pixels of the networks (default: --latency's or their own; 224)"},
    "classes": _COUNT | {"default": 1000, "help": "classes of the networks (default: %(default)s)"},
    "runtime": _NAME | {"help": "what runs the networks: RUNTIMES (default: --latency's, else eager)"},
    "device": _NAME | {"help": "what torch computes on: cpu, cuda or mps (default: --latency's, else cpu)"},
    "dtype": {"choices": DTYPES, "help": "what it computes in, not every runtime has each (default: fp32)"},
    "threads": _THREADS | {"help": "threads of the runtime (default: --latency's, else as many as torch uses)"},
    "cache-dir": _FOLDER | {"help": "where tables lie (default: $PHINAS_CACHE, else ~/.cache/phinas)"},
    "json": {"action": "store_true", "help": "print the same as JSON"},
}
_SIZES, _SETTING = ("resolution", "classes"), ("runtime", "device", "dtype", "threads", "cache-dir")
_SAMPLE = ("networks", "seed", "space")
_FOREIGN: dict[str, dict[str, Any]] = {
    "device": {"required": True, "help": "what the device is called in the table"},
    "threads": {"required": True, "help": "threads that the files were timed with"},
    "runtime": {"help": "what ran the files, any name (default: onnx)"},
}
_NEEDED = {"required": True}
_OF_A_FOLDER = "; with --folder: what the networks were timed with there, any name"
MEASURED = {  # flags of adapt without --folder, and their defaults
    flag: _FLAGS[flag].get("default") for flag in ("networks", "seconds", "space", "seed", *_SIZES, "cache-dir")
}
# Each command: what it does, its flags, and how they differ from _FLAGS.
_COMMANDS: dict[str, tuple[str, tuple[str, ...], dict[str, dict[str, Any]]]] = {
    "build": (
        "measure the kernels that this device's table lacks",
        ("out", "again", "zoo", "seconds", "space", *_SIZES, *_SETTING),
        {},
    ),
    "check": (
        "predict and measure networks that the table was not fitted to",
        ("latency", *_SAMPLE, "zoo", "plot", "seconds", *_SIZES, *_SETTING),
        {"networks": {"default": 40}},
    ),
    "measure": ("time given networks, interleaved", ("network", "seconds", *_SIZES, *_SETTING), {}),
    "predict": ("what a table says of given networks", ("network", "latency", *_SIZES, *_SETTING), {}),
    "adapt": (
        "a table made of another device's, by a few networks measured here or timed as --folder says",
        ("latency", "out", "folder", *_SAMPLE, "seconds", *_SIZES, *_SETTING),
        {
            "latency": _NEEDED | {"help": "the table to adapt"},
            "out": _NEEDED,
            "runtime": {"help": _FLAGS["runtime"]["help"] + _OF_A_FOLDER},
            "device": {"help": _FLAGS["device"]["help"] + "; with --folder: what the device is called in the table"},
            "folder": {"help": "what export wrote, of which only the times of the networks are needed"},
        },
    ),
    "export": (
        "ONNX files to time on a device that runs no Python",
        ("folder", "kernels", *_SAMPLE, *_SIZES),
        {"folder": _NEEDED},
    ),
    "import": (
        "a table of the times that were filled in after export",
        ("folder", "out", "runtime", "device", "dtype", "threads"),
        {"folder": _NEEDED, "out": _NEEDED, **_FOREIGN},
    ),
}


def parser(runs: Mapping[str, Run]) -> CommandParser:
    """The command line; `runs` are the functions of the commands, by name."""
    cli = CommandParser(
        "python -m search.latency",
        description="The latency of networks on this machine: a table that predicts it, and measurements.",
        epilog=_EPILOG,
    )
    for name, (help, flags, changes) in _COMMANDS.items():
        kept = _KEPT if name in ("build", "check") else ""
        command = cli.subcommand(name, run=runs[name], help=help, stopped=kept)
        for flag in (*flags, "json"):
            options = _FLAGS[flag] | changes.get(flag, {})
            text = options["help"].replace("RUNTIMES", ", ".join(names()))
            command.add_argument(f"--{flag}", **options | {"help": text})
    return cli
