"""python -m tests.benchmarks.latency_session_effect: what does a moment of the machine do to measured networks?

Networks of the default space and of the zoo are timed in turn beside the reference, again and again, the anchors
(search.latency.probe_networks) among them. The time is cut into windows, and a network's latency in each is stated in
three
ways: as its ratio to the reference; with the drift taken out; with what anchors and reference together took more than
usual taken off besides. Told is by how much latencies then differ from window to window: what all networks share, and
each network. A machine on which nothing else happens tells nothing; one hour is unlike the next.
"""

import json
import math
import random
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median, pstdev
from typing import TYPE_CHECKING

from search.latency.time_base import USUAL
from searchspace.command import CommandParser, guarded, integer, number, show, show_progress
from searchspace.errors import InvalidArgument
from searchspace.files import write_atomic

if TYPE_CHECKING:
    from search.latency.interleave import Runtime
    from searchspace.spec import NetworkSpec

ZOO = ("mobilenet_v1", "mnasnet_a1", "mobilenet_v3_small", "shufflenet_v1")
WINDOWS = (5.0, 20.0, 60.0)
FEWEST = 4  # rounds that make a window

Round = tuple[float, list[tuple[float, float]]]  # seconds since the start; each network's reference ns and ratio


def parser() -> CommandParser:
    """The command line."""
    cli = CommandParser(
        "python -m tests.benchmarks.latency_session_effect",
        description=__doc__ or "",
        epilog="exit codes: 0 done, 2 wrong",
    )
    add = cli.add_argument
    add("--seconds", type=number, default=420.0, metavar="S", help="of timing (default: %(default)g)")
    add("--networks", type=integer, default=9, metavar="N", help="random ones of the space (default: %(default)s)")
    add("--runtime", default="eager", metavar="NAME", help="default: %(default)s")
    add("--threads", type=integer, metavar="N", help="default: as many as torch uses")
    add("--resolution", type=integer, default=224, metavar="PX", help="default: %(default)s")
    add("--json", type=Path, metavar="FILE", help="keep every reading there")
    return cli


def run(args: Namespace) -> str:
    """Time the networks; what was found, for people."""
    from search.latency.probe_networks import NAMES, probe_networks
    from search.latency.runtimes import runtime as named
    from searchspace import zoo
    from searchspace.spaces.mnasnet import mnasnet_space

    for flag in ("networks", "seconds", "resolution"):
        if getattr(args, flag) <= 0:
            raise InvalidArgument(f"--{flag} must be above 0, got {getattr(args, flag):g}")
    space, rng = mnasnet_space(resolution=args.resolution), random.Random(7)
    specs = [space.spec(space.sample(rng)) for _ in range(args.networks)]
    specs += [zoo.get(name, resolution=args.resolution) for name in ZOO]
    specs += probe_networks(args.resolution)
    rounds = timed(specs, args, named(args.runtime, threads=args.threads))
    names = [f"random {place}" for place in range(args.networks)] + [*ZOO, *NAMES]
    if args.json:
        write_atomic(args.json, json.dumps({"networks": names, "rounds": rounds}))
    return report(rounds, anchors=len(NAMES))


def timed(specs: Sequence["NetworkSpec"], args: Namespace, runtime: "Runtime") -> list[Round]:
    """Rounds of all networks for the seconds asked for."""
    from search.latency.interleave import Interleaver
    from search.latency.reference import REFERENCE

    timers = [runtime.network(spec) for spec in specs]
    interleaver, rounds = Interleaver(runtime.network(REFERENCE), seed=0), list[Round]()
    with runtime.quiet():
        interleaver.warm(timers)
        began = time.monotonic()
        while not rounds or time.monotonic() - began < args.seconds:
            at = time.monotonic() - began
            rounds.append((at, [(one.reference_ns, one.ratios[0]) for one in interleaver.round(timers)]))
            show_progress(min(1.0, at / args.seconds), f"round {len(rounds)}")
    return rounds


def windows(rounds: Sequence[Round], seconds: float) -> list[tuple[float, list[float]]]:
    """Of each window: the log of the reference's time, and the log of each network's ratio to it."""
    cut: dict[int, list[Round]] = {}
    for each in rounds:
        cut.setdefault(int(each[0] / seconds), []).append(each)
    found = []
    for own in cut.values():
        if len(own) >= FEWEST:
            speed = median(math.log(ns) for _, readings in own for ns, _ in readings)
            columns = zip(*(readings for _, readings in own), strict=True)
            found.append((speed, [median(math.log(ratio) for _, ratio in column) for column in columns]))
    return found


def shares(found: Sequence[tuple[float, list[float]]], anchors: int) -> dict[str, tuple[float, float]]:
    """By way of stating: (deviation of what networks share, mean deviation of each) from window to window. The last
    `anchors` networks are the anchors."""
    speed = fmean(speed for speed, _ in found)
    drifted = [[ratio + USUAL * (own - speed) for ratio in ratios] for own, ratios in found]
    usual = [fmean(column) for column in zip(*drifted, strict=True)]
    moments = [
        fmean([*(ratio - mean for ratio, mean in zip(row[-anchors:], usual[-anchors:], strict=True)), 0.0])
        for row in drifted
    ]
    ways = {
        "beside the reference": [ratios for _, ratios in found],
        f"and a drift of {USUAL:g} out": drifted,
        "and the anchors' moment off": [
            [ratio - moment for ratio in row] for row, moment in zip(drifted, moments, strict=True)
        ],
    }
    return {way: _spread([row[:-anchors] for row in rows]) for way, rows in ways.items()}


def _spread(rows: Sequence[Sequence[float]]) -> tuple[float, float]:
    usual = [fmean(column) for column in zip(*rows, strict=True)]
    shared = [fmean(ratio - mean for ratio, mean in zip(row, usual, strict=True)) for row in rows]
    return pstdev(shared), fmean(pstdev(column) for column in zip(*rows, strict=True))


def report(rounds: Sequence[Round], *, anchors: int) -> str:
    """The figures for people."""
    slowness = [median(ns for ns, _ in readings) for _, readings in rounds]
    lines = [
        f"{len(rounds)} rounds; the reference took {min(slowness) / 1e6:.2f} to {max(slowness) / 1e6:.2f} ms",
        f"{'window':>8}  {'latency stated':30}{'shared':>8}{'each':>8}",
    ]
    for seconds in WINDOWS:
        found = windows(rounds, seconds)
        if len(found) < 2:
            lines.append(f"{seconds:6g} s  too few windows: give more --seconds")
            continue
        for way, (shared, each) in shares(found, anchors).items():
            lines.append(f"{seconds:6g} s  {way:30}{shared:8.2%}{each:8.2%}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; the exit code."""
    return guarded(
        "latency_session_effect", lambda: show(run(parser().parse_args(argv))), stopped="stopped; nothing is kept"
    )


if __name__ == "__main__":
    sys.exit(main())
