"""python -m tests.benchmarks.netadapt_resume: does a pruning survive being killed (SIGKILL)?

A small network is pruned once without disturbance. Then again, with the outcomes of its timing tests replayed, killed
at random moments of the time that it takes, and started again each time; a run that ends before its moment
is compared, set aside and begun anew until so many were killed. Every file of an iteration that was on disk must stay
as it is, byte for byte, and each end must be the undisturbed run's: the same history (but for the seconds that
trainings took) and the same weights. Everything happens in a folder of its own.
"""

import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
from argparse import Namespace
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from searchspace.errors import InvalidArgument, PhinasError
from searchspace.report import fields
from searchspace.strict_json import parsed
from tests.benchmarks.harness import BenchmarkParser, Row, Verdict, benchmark


def parser() -> BenchmarkParser:
    """The command line."""
    note = "asked: 20 kills, nothing lost, the same history. About 8 minutes on a quiet machine."
    cli = BenchmarkParser("netadapt_resume", __doc__, note=note)
    cli.count("--kills", 20, "how often a run is killed")
    cli.number("--share", 0.7, "of the start's cost: the budget")
    units = ("ms", "macs")
    cli.add_argument("--unit", default="ms", choices=units, help="of the budget; macs times nothing (default: ms)")
    table = "this machine's table, for ms: search.latency build --out"
    cli.flag("--latency", None, table, type=Path, metavar="TABLE.json")
    cli.count("--seed", 0, "of the moments", least=0)
    cli.add_argument("--json", action="store_true", help="print JSON")
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


def command(args: Namespace, network: Path, study: str, *more: str) -> list[str]:
    """The flags of search.netadapt, of one run."""
    from search.budget import CostModel
    from searchspace.graph import lower
    from searchspace.latency.table import read_table
    from searchspace.spec import read_spec

    table = ["--latency", str(args.latency)] if args.latency and args.unit == "ms" else []
    graph = lower(read_spec(network))
    if args.unit == "macs":
        budget = args.share * CostModel("macs").cost(graph)
    else:
        budget = args.share * (CostModel("ms", read_table(args.latency)).cost(graph) if args.latency else 1.0)
    quick = "--short-steps 2 --shortlist 2 --data digits:300 --augment shift --validation-images 60 --epochs 1"
    given = ["--network", str(network), f"--budget-{args.unit}", f"{budget:.6g}", "--study", study]
    return [*given, *quick.split(), "--step", "0.1", "--family", *table, *more]


def committed(folder: Path) -> dict[str, bytes]:
    """The files of finished iterations: what was tried, networks and their weights."""
    rows = sorted((folder / "iterations").glob("*.iteration.json"))
    stems = [path.name.removesuffix(".iteration.json") for path in rows]
    kept = [path for stem in stems for path in (folder / "iterations").glob(f"{stem}.*")]
    return {path.name: path.read_bytes() for path in kept}


def plain(folder: Path) -> list[Any]:
    """The history without what trainings took, and without checksums, which count that in."""
    texts = [content.decode() for name, content in committed(folder).items() if name.endswith(".iteration.json")]
    rows = [parsed(text)[0] for text in texts]
    for row in rows:
        for proposal in row["proposals"]:
            proposal["seconds"] = None
    return rows


def kill_and_resume(args: Namespace, place: Path) -> Row:
    """The whole benchmark in `place`. Raises PhinasError where a run fails by itself."""
    network = make_network(place)
    _killed(["--help"], place / "studies", None)  # what runs are forked from has imported all it needs: no run waits
    began = time.monotonic()
    _killed(command(args, network, "whole"), place / "studies", None)
    whole_s = time.monotonic() - began
    rng = random.Random(args.seed)
    replay = ("--replay", "whole") if args.unit == "ms" else ()
    whole, kills, runs, changed, differ = place / "studies" / "whole", 0, 0, 0, 0
    while kills < args.kills:
        folder, ended, kept = place / "studies" / f"killed{runs}", False, dict[str, bytes]()
        again = command(args, network, folder.name, *replay)
        while not ended:
            ended = not _killed(
                again, place / "studies", rng.uniform(0.05, 0.6) * whole_s if kills < args.kills else None
            )
            kills += not ended
            now = committed(folder)
            changed += sum(now.get(name) != content for name, content in kept.items())
            kept = now
        differ += not _same(folder, whole)
        runs += 1
    return {
        "kills": kills,
        "runs": runs,
        "seconds_undisturbed": whole_s,
        "iterations": len(plain(whole)),
        "files_that_changed": changed,
        "runs_that_ended_otherwise": differ,
    }


def _same(folder: Path, other: Path) -> bool:
    """Whether two studies came to the same: history, and the weights of the end."""
    ends = [(each / "best.safetensors").read_bytes() for each in (folder, other)]
    return plain(folder) == plain(other) and ends[0] == ends[1]


def _killed(argv: list[str], studies: Path, moment: float | None) -> bool:
    """Run search.netadapt, killed at that moment; False if it ended before. Raises PhinasError where it failed.

    In a process forked from one that has imported torch and done nothing else: it starts at once.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch._dynamo", "sklearn.datasets", "optuna", "search.netadapt.api"])
    run = context.Process(target=_netadapt, args=(argv, studies))
    run.start()
    run.join(moment)
    if run.exitcode is None:
        run.kill()
        run.join()
        return True
    if run.exitcode:
        raise PhinasError(f"search.netadapt {' '.join(argv)} ended with {run.exitcode}; see above")
    return False


def _netadapt(argv: list[str], studies: Path) -> None:
    from search.netadapt.__main__ import main

    os.environ["PHINAS_STUDIES"] = str(studies)
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        code = main(argv)
    sys.exit(code)


def run(args: Namespace) -> Verdict:
    """The figures, and whether nothing was lost."""
    if not args.share < 1:
        raise InvalidArgument(f"--share must be between 0 and 1, got {args.share}")
    if args.unit == "ms" and args.latency is None:
        raise InvalidArgument("a budget in ms needs --latency TABLE.json of this machine, or give --unit macs")
    with tempfile.TemporaryDirectory() as place:
        found = kill_and_resume(args, Path(place))
    text = json.dumps(found, indent=1) if args.json else fields((key, str(value)) for key, value in found.items())
    return Verdict(text, not found["files_that_changed"] and not found["runs_that_ended_otherwise"])


main = benchmark(parser, run)


if __name__ == "__main__":
    sys.exit(main())
