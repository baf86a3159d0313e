"""Does a refinement survive being killed? The same command is killed at random moments and started again.

A small network is pruned once without disturbance. Then again, with the outcomes of its timing tests replayed, killed
(SIGKILL) at random moments of the time that it takes, and started again each time. Every iteration that was on disk
must stay as it is, byte for byte, and the end must be the undisturbed run's: the same history (but for the seconds
that trainings took) and the same weights. Everything happens in a folder of its own.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from searchspace.command import CommandParser, guarded, integer, number, show
from searchspace.errors import InvalidArgument, PhinasError


def parser() -> CommandParser:
    """The command line."""
    cli = CommandParser(
        "python -m studies.benchmarks.netadapt_kill", description=__doc__ or "",
        epilog="asked: 20 kills, nothing lost, the same history. About 5 minutes on a quiet machine.",
    )  # fmt: skip
    add = cli.add_argument
    add("--kills", type=integer, default=20, metavar="N", help="default: %(default)s")
    add("--share", type=number, default=0.7, help="of the start's cost: the budget (default: %(default)g)")
    add("--unit", default="ms", choices=("ms", "macs"), help="of the budget; macs times nothing (default: %(default)s)")
    add(
        "--latency", type=Path, metavar="TABLE.json", help="table for ms (default: this machine's, measured if need be)"
    )
    add("--seed", type=integer, default=0, help="of the moments (default: %(default)s)")
    add("--json", action="store_true", help="print JSON")
    return cli


def make_network(folder: Path) -> Path:
    """A small network with random weights; its spec file. Digits at 32 px."""
    import torch

    from searchspace import zoo
    from searchspace.nn import build, network_bytes

    spec = zoo.get("mobilenet_v3_small", width=0.35, classes=10).with_resolution(64)
    network = build(spec, generator=torch.Generator().manual_seed(0))
    path = folder / "small.json"
    path.write_text(spec.to_json())
    about = {"classes": [str(digit) for digit in range(10)], "trained_at_px": 32, "split_seed": 0}
    path.with_suffix(".safetensors").write_bytes(network_bytes(network, about))
    return path


def command(args: Any, network: Path, study: str, *more: str) -> list[str]:
    """The command line of one run."""
    from search.netadapt.costing import Costing
    from searchspace.graph import lower
    from searchspace.latency import read_table
    from searchspace.serialize import read_spec

    table = ["--latency", str(args.latency)] if args.latency and args.unit == "ms" else []
    graph = lower(read_spec(network))
    if args.unit == "macs":
        budget = args.share * Costing("macs").of(graph)
    else:
        budget = args.share * (Costing("ms", read_table(args.latency)).of(graph) if args.latency else 1.0)
    quick = "--short-steps 2 --shortlist 2 --validation-images 200 --epochs 1 --step 0.1"
    return [
        sys.executable, "-m", "search.netadapt", "--network", str(network), f"--budget-{args.unit}", f"{budget:.6g}",
        *quick.split(), *table, "--study", study, *more,
    ]  # fmt: skip


def committed(folder: Path) -> dict[str, bytes]:
    """The files of finished iterations."""
    return {path.name: path.read_bytes() for path in sorted((folder / "iterations").glob("*.iteration.json"))}


def plain(folder: Path) -> list[Any]:
    """The history without what trainings took."""
    rows = [json.loads(content) for content in committed(folder).values()]
    for row in rows:
        for tried in row["tried"]:
            tried["seconds"] = None
    return rows


def run(args: Any, place: Path) -> dict[str, Any]:
    """The whole study in `place`. Raises PhinasError where a run fails by itself."""
    environment = {**os.environ, "PHINAS_STUDIES": str(place / "studies")}
    network = make_network(place)
    began = time.monotonic()
    _finish(command(args, network, "whole"), environment)
    whole_s = time.monotonic() - began
    rng = random.Random(args.seed)
    replay = ("--replay", "whole") if args.unit == "ms" else ()
    again = command(args, network, "killed", *replay)
    folder, changed, moments = place / "studies" / "killed", 0, []
    kept: dict[str, bytes] = {}
    for _ in range(args.kills):
        moment = rng.uniform(0.1, 0.9) * whole_s
        with subprocess.Popen(again, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                process.wait(moment)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
        now = committed(folder)
        changed += sum(now.get(name) != content for name, content in kept.items())
        kept = now
        moments.append(moment)
    _finish(again, environment)
    files = [place / "studies" / name / "best.safetensors" for name in ("whole", "killed")]
    return {
        "kills": args.kills, "seconds_undisturbed": whole_s, "iterations": len(plain(folder)),
        "files_that_changed": changed, "same_history": plain(folder) == plain(place / "studies" / "whole"),
        "same_weights": files[0].read_bytes() == files[1].read_bytes(),
    }  # fmt: skip


def _finish(line: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(line, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise PhinasError(f"{' '.join(line)} ended with {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code: 1 where something was lost."""

    def job() -> int:
        args = parser().parse_args(argv)
        if args.kills < 1 or not 0 < args.share < 1:
            raise InvalidArgument(
                f"--kills must be at least 1 and --share between 0 and 1, got {args.kills}, {args.share}"
            )
        if args.unit == "ms" and args.latency is None:
            raise InvalidArgument("a budget in ms needs --latency TABLE.json of this machine, or give --unit macs")
        with tempfile.TemporaryDirectory() as place:
            found = run(args, Path(place))
        good = not found["files_that_changed"] and found["same_history"] and found["same_weights"]
        text = (
            json.dumps(found, indent=1) if args.json else "\n".join(f"{key}: {value}" for key, value in found.items())
        )
        return show(text) or int(not good)

    return guarded("netadapt_kill", job, stopped="stopped; nothing is kept")


if __name__ == "__main__":
    sys.exit(main())
